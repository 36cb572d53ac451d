/** @file What the file of a picture says of it, whatever container it is in. Reads headers and texts, no pixels. */
import { ArtifactError } from "../../errors.ts";
import type { ByteSource } from "../../source/source.ts";
import { bytesAt, latin1Text, type PictureTexts } from "./bounds.ts";
import { readJpegTexts } from "./jpeg-texts.ts";
import { readPngTexts } from "./png-texts.ts";
import { readWebpTexts } from "./webp-texts.ts";

export type { PictureText, PictureTexts } from "./bounds.ts";

/** Damaged or endless texts become notes. Rejects with ArtifactError `E_IMAGE_KIND` for what is no PNG, JPEG or WebP. */
export async function readPictureTexts(source: ByteSource, signal?: AbortSignal): Promise<PictureTexts> {
  const start = latin1Text(await bytesAt(source, 0, 12, signal));
  if (start.startsWith("\x89PNG\r\n\x1a\n")) return await readPngTexts(source, signal);
  if (start.startsWith("\xff\xd8\xff")) return await readJpegTexts(source, signal);
  if (start.startsWith("RIFF") && start.slice(8) === "WEBP") return await readWebpTexts(source, signal);
  throw new ArtifactError({
    code: "E_IMAGE_KIND",
    subject: source.name,
    problem: "this is no picture that is known here (allowed: PNG, JPEG, WebP)",
    next: "name a picture",
  });
}
