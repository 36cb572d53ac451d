/** @file The bytes of the pictures that a job names, read where the files are. */
import path from "node:path";
import { ArtifactError, UsageError } from "../errors.ts";
import { MAX_PICTURE_BYTES } from "../image/picture-header.ts";
import { pictureReference } from "../job/picture.ts";
import { openFileSource } from "./files/file.ts";

/** Pictures by their hash, as a server keeps them; undefined for one that it hasn't. */
export type AssetStore = (sha256: string) => Promise<Uint8Array<ArrayBuffer> | undefined>;

export interface PictureFilesOptions {
  /** What relative paths are relative to. */
  readonly cwd: string;
  /** A command line has none. */
  readonly assets?: AssetStore;
  readonly signal?: AbortSignal;
}

/** An encoded picture, not looked at yet, and its name for messages. */
export interface EncodedPicture {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Reads what `text` stands for (job/picture.ts). Rejects with UsageError `E_PICTURE`, ArtifactError `E_MISSING`, `E_NOT_A_FILE`,
 * `E_EMPTY`, `E_IMAGE_SIZE`.
 * @param subject the field or flag that names it
 */
export async function readPictureBytes(
  subject: string,
  text: string,
  { cwd, assets, signal }: PictureFilesOptions,
): Promise<EncodedPicture> {
  const reference = pictureReference(subject, text);
  switch (reference.kind) {
    case "data":
      return { name: subject, bytes: reference.bytes };
    case "asset": {
      const bytes = await assets?.(reference.sha256);
      if (bytes) return { name: `sha256:${reference.sha256.slice(0, 12)}`, bytes };
      const problem = assets ? `there is no asset ${reference.sha256}` : "pictures by their hash are a server's";
      throw new UsageError({ code: "E_PICTURE", subject, problem, next: assets ? "upload it first" : "name its file" });
    }
    case "file": {
      await using source = await openFileSource(path.resolve(cwd, reference.path), reference.path);
      if (source.byteLength > MAX_PICTURE_BYTES) {
        const problem = `the file is too large for a picture (found ${source.byteLength} bytes, allowed ${MAX_PICTURE_BYTES})`;
        throw new ArtifactError({ code: "E_IMAGE_SIZE", subject: reference.path, problem, next: "scale it down" });
      }
      const bytes = new Uint8Array(source.byteLength);
      await source.read(0, bytes, signal);
      return { name: reference.path, bytes };
    }
  }
}
