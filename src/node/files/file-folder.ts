/** @file A model folder on this machine's disk. */
import { realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { ArtifactError } from "../../errors.ts";
import type { Folder } from "../../source/folder.ts";
import { openFileSource } from "./file.ts";
import { mayLeadTo } from "./links.ts";

/** Throws ArtifactError `E_MISSING` or `E_NOT_A_FOLDER`. */
export async function openFileFolder(path: string): Promise<Folder> {
  const info = await stat(path).catch(() => undefined);
  if (!info) {
    throw new ArtifactError({
      code: "E_MISSING",
      subject: path,
      problem: "there is no such model folder",
      next: "check the path, or fetch the model with: solvay pull HUB-ID",
    });
  }
  if (!info.isDirectory()) {
    throw new ArtifactError({
      code: "E_NOT_A_FOLDER",
      subject: path,
      problem: "a model is a diffusers folder, and this is not a folder",
      next: "name the folder that holds model_index.json",
    });
  }
  const root = await realpath(path);

  const locate = async (relativePath: string): Promise<string | undefined> => {
    const real = await realpath(join(root, relativePath)).catch(() => undefined);
    if (real === undefined) return undefined;
    if (!mayLeadTo(root, relativePath, real)) {
      throw new ArtifactError({
        code: "E_SYMLINK",
        subject: join(path, relativePath),
        problem: `the link leads out of the model folder (to ${real})`,
        next: "put the file itself into the folder",
      });
    }
    return real;
  };

  return {
    name: path,
    async readText(relativePath, maxBytes) {
      const file = await locate(relativePath);
      if (file === undefined) return undefined;
      await using source = await openFileSource(file, relativePath, join(path, relativePath));
      if (source.byteLength > maxBytes) {
        throw new ArtifactError({
          code: "E_SIZE",
          subject: join(path, relativePath),
          problem: `too large for a config file (found ${source.byteLength} bytes, allowed ${maxBytes})`,
          next: "fetch the model's config files again",
        });
      }
      const bytes = new Uint8Array(source.byteLength);
      await source.read(0, bytes);
      try {
        return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      } catch (cause) {
        throw new ArtifactError({
          code: "E_CONFIG",
          subject: join(path, relativePath),
          problem: "not UTF-8 text",
          next: "fetch the model's config files again",
          cause,
        });
      }
    },
    async open(relativePath) {
      const file = await locate(relativePath);
      return file === undefined ? undefined : await openFileSource(file, relativePath, join(path, relativePath));
    },
  };
}
