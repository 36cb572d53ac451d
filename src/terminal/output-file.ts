/** @file Where pictures and artifacts go: checked before the work, numbered where no name was given. */
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { UsageError } from "../errors.ts";
import { createFile } from "../node/disk/atomic-file.ts";

const OUTPUT = /^output_(\d{3,})\.png$/i;

/** Writes `bytes` as the next free `output_NNN.png` of `folder`, overwriting nothing. Returns the file's name. */
export async function writeNextOutput(folder: string, bytes: Uint8Array): Promise<string> {
  const taken = (await readdir(folder)).map((name) => Number(OUTPUT.exec(name)?.[1] ?? 0));
  const last = taken.reduce((largest, n) => Math.max(largest, n), 0);
  return await createFile(folder, namesAfter(last), (file) => file.writeFile(bytes));
}

function* namesAfter(last: number): Generator<string> {
  for (let number = last + 1; ; number++) yield `output_${String(number).padStart(3, "0")}.png`;
}

/** Throws UsageError early if `target` can't become a file: better before the work than after it. */
export async function checkOutput(target: string): Promise<void> {
  const refuse = (problem: string, next: string) =>
    new UsageError({ code: "E_OUTPUT", subject: target, problem, next });
  const folder = await stat(path.dirname(target)).catch(() => undefined);
  if (!folder?.isDirectory()) throw refuse("its folder does not exist", "create the folder first");
  const there = await stat(target).catch(() => undefined);
  if (there && !there.isFile()) throw refuse("is there and is no file", "name a file");
}
