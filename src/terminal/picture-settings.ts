/** @file What a picture's file says of how it was made, read where the user stands. */
import { ArtifactError } from "../errors.ts";
import { readPictureTexts } from "../image/metadata/picture-texts.ts";
import type { PictureSettings } from "../job/picture-settings.ts";
import { readPicture } from "../job/read-picture.ts";
import { type CliContext, libraryOf } from "./context.ts";

/** Rejects with ArtifactError `E_NO_SETTINGS`, or as files and pictures do. */
export async function readSettings(
  context: Pick<CliContext, "cwd" | "env">,
  file: string,
  signal: AbortSignal,
): Promise<PictureSettings> {
  const host = libraryOf(context);
  await using source = await host.openFile(host.absolute(file));
  const settings = readPicture(await readPictureTexts(source, signal));
  if (settings) return settings;
  throw new ArtifactError({
    code: "E_NO_SETTINGS",
    subject: source.name,
    problem: "nothing in it says how it was made",
    next: "see what it holds: solvay show FILE",
  });
}
