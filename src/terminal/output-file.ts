/** @file Files that are either whole or not there: temporary file in the same folder, fsync, then rename or link. */
import { randomBytes } from "node:crypto";
import { type FileHandle, link, open, readdir, rename, stat, unlink } from "node:fs/promises";
import path from "node:path";
import { UsageError } from "../errors.ts";

/** Runs `fill` on a new temporary file beside `target`, syncs it and hands its path to `publish`; always cleans up. */
async function withTemporary(
  target: string,
  fill: (file: FileHandle) => Promise<void>,
  publish: (temporary: string) => Promise<void>,
): Promise<void> {
  const folder = path.dirname(target);
  const temporary = path.join(folder, `.${path.basename(target)}.${randomBytes(6).toString("hex")}.partial`);
  const file = await open(temporary, "wx");
  try {
    try {
      await fill(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await publish(temporary);
  } finally {
    await unlink(temporary).catch(() => {});
  }
  await syncFolder(folder);
}

/** Makes the new name itself durable, where the system lets a folder be opened. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

/** Writes `target` by `fill`, replacing what is there; no partial file is ever seen under that name. */
export function replaceFile(target: string, fill: (file: FileHandle) => Promise<void>): Promise<void> {
  return withTemporary(target, fill, (temporary) => rename(temporary, target));
}

const OUTPUT = /^output_(\d{3,})\.png$/i;

/** Writes `bytes` as the next free `output_NNN.png` of `folder`, overwriting nothing. Returns the file's name. */
export async function writeNextOutput(folder: string, bytes: Uint8Array): Promise<string> {
  const taken = (await readdir(folder)).map((name) => Number(OUTPUT.exec(name)?.[1] ?? 0));
  let number = taken.reduce((largest, n) => Math.max(largest, n), 0) + 1;
  const nameOf = (n: number) => `output_${String(n).padStart(3, "0")}.png`;
  await withTemporary(
    path.join(folder, nameOf(number)),
    (file) => file.writeFile(bytes),
    async (temporary) => {
      while (!(await publishNew(temporary, path.join(folder, nameOf(number))))) number++;
    },
  );
  return nameOf(number);
}

/** Gives `temporary` the new name `target`; false if that name is taken. */
async function publishNew(temporary: string, target: string): Promise<boolean> {
  try {
    await link(temporary, target);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
  }
  // File systems without hard links: a name taken in this instant by another program would be lost.
  if (await stat(target).catch(() => undefined)) return false;
  await rename(temporary, target);
  return true;
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
