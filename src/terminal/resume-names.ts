/** @file Where files of unfinished pictures lie: beside what the picture will be called, or in the folder for state. */
import { mkdir, readdir } from "node:fs/promises";
import path from "node:path";
import type { PictureEncoding } from "../image/picture-writer.ts";
import { defaultStateFolder } from "../node/state/folder.ts";
import { followingNames, type Target } from "./output-file.ts";

const ENDING = ".resume";

/** Of the same unfinished picture, asked for once more. */
const MOST_OF_ONE_NAME = 100;

/** The name of such a file, and of the picture that it will be. */
export interface ResumeName {
  readonly name: string;
  readonly output: string;
}

/** Names to try in `folder`, one after the other. */
export async function* resumeNames(
  folder: string,
  target: Target | undefined,
  format?: PictureEncoding,
): AsyncGenerator<ResumeName> {
  if (target) {
    const { base, name } = path.parse(target.file);
    for (let at = 1; at <= MOST_OF_ONE_NAME; at++) {
      yield { name: `${name}${at === 1 ? "" : `.${at}`}${ENDING}`, output: base };
    }
    return;
  }
  for (const output of await followingNames(folder, format))
    yield { name: `${path.parse(output).name}${ENDING}`, output };
}

/** The folder for those whose own takes none; made where it is missing. */
export async function unfinishedFolder(env: Readonly<Record<string, string | undefined>>): Promise<string> {
  const folder = stateFolderOf(env);
  await mkdir(folder, { recursive: true });
  return folder;
}

export function stateFolderOf(env: Readonly<Record<string, string | undefined>>): string {
  return path.join(defaultStateFolder(env), "unfinished");
}

/** Absolute paths of those in `folder`, none where there is no such folder. */
export async function unfinishedIn(folder: string): Promise<string[]> {
  return await filesEndingIn(folder, ENDING);
}

export async function filesEndingIn(folder: string, ending: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => name.endsWith(ending))
    .toSorted()
    .map((name) => path.join(folder, name));
}
