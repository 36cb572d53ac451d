/** @file Files that are found by name in a folder of the user's, in it or deeper; names never lead out of it. */
import { readdir, realpath } from "node:fs/promises";
import path from "node:path";

/** Folders within folders are looked through so deep, and so many entries at most. */
const MAX_DEPTH = 8;
const MAX_ENTRIES = 100_000;

/** Absolute paths of the files with one of these endings. Rejects as the system does where the folder itself can't be read. */
export async function* filesIn(
  folder: string,
  endings: readonly string[],
  signal?: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  let entries = 0;
  const look = async function* (dir: string, depth: number): AsyncGenerator<string, void, undefined> {
    signal?.throwIfAborted();
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (++entries > MAX_ENTRIES) return;
      const file = path.join(dir, entry.name);
      if (entry.isDirectory() && depth < MAX_DEPTH) yield* look(file, depth + 1);
      else if (!entry.isDirectory() && endings.includes(path.extname(entry.name).toLowerCase())) yield file;
    }
  };
  yield* look(await realpath(folder), 0);
}

/** A file's name without folder and ending: what it is called by. */
export function stemOf(file: string): string {
  return path.basename(file, path.extname(file));
}
