/** @file Files that are either whole or not there: made under another name in the same folder, synced, then given their own. */
import { randomBytes } from "node:crypto";
import { type FileHandle, link, open, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";

export interface AtomicFileOptions {
  /**
   * Content and name are on the disk when the call resolves. Without: a crash of the machine may leave an empty or damaged file, which
   * its reader has to bear. Default true.
   */
  readonly durable?: boolean;
}

/**
 * Writes `target` by `fill`, replacing what is there; no partial file is ever seen under that name. Resolves to what `fill` resolved
 * to.
 */
export async function replaceFile<T>(
  target: string,
  fill: (file: FileHandle) => Promise<T>,
  options: AtomicFileOptions = {},
): Promise<T> {
  return await withTemporary(
    { folder: dirname(target), name: target },
    fill,
    async (temporary, filled) => {
      await renamePatiently(temporary, target);
      return filled;
    },
    options,
  );
}

/** Writes a new file under the first of `names` that is free in its folder, overwriting nothing. Returns that name. */
export async function createFile(
  folder: string,
  names: Iterable<string>,
  fill: (file: FileHandle) => Promise<void>,
  options: AtomicFileOptions = {},
): Promise<string> {
  return await withTemporary(
    { folder, name: folder },
    fill,
    async (temporary) => {
      for (const name of names) if (await publishNew(temporary, join(folder, name))) return name;
      throw new Error("no name is free");
    },
    options,
  );
}

/** Runs `fill` on a new temporary file in `folder` and hands its path to `publish`; always cleans up. `name`: for errors. */
async function withTemporary<T, R>(
  { folder, name }: { readonly folder: string; readonly name: string },
  fill: (file: FileHandle) => Promise<T>,
  publish: (temporary: string, filled: T) => Promise<R>,
  { durable = true }: AtomicFileOptions,
): Promise<R> {
  const temporary = temporaryIn(folder);
  let published: R;
  try {
    const file = await open(temporary, "wx");
    let filled: T;
    try {
      filled = await fill(file);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    published = await publish(temporary, filled);
  } catch (error) {
    throw namingInstead(error, temporary, name);
  } finally {
    await unlink(temporary).catch(() => {});
  }
  if (durable) await syncFolder(folder);
  return published;
}

/** Of one length, whatever name the file is to get: a name that the system just allows leaves no room for more. */
function temporaryIn(folder: string): string {
  return join(folder, `.solvay-${randomBytes(6).toString("hex")}.partial`);
}

/** Rejects with the system's error where no file can be made in `folder`, by making one as `replaceFile` would. */
export async function tryFolder(folder: string): Promise<void> {
  const temporary = temporaryIn(folder);
  try {
    await (await open(temporary, "wx")).close();
  } catch (error) {
    throw namingInstead(error, temporary, folder);
  } finally {
    await unlink(temporary).catch(() => {});
  }
}

/** An error of the system's about `hidden`, as one about `named`: nobody knows the other. */
function namingInstead(error: unknown, hidden: string, named: string): unknown {
  if (!(error instanceof Error) || !error.message.includes(hidden)) return error;
  const { code, errno, syscall } = error as NodeJS.ErrnoException;
  return Object.assign(new Error(error.message.replaceAll(hidden, named)), { code, errno, syscall, path: named });
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
  await renamePatiently(temporary, target);
  return true;
}

/** Replaces `to`. Virus scanners on Windows hold new files open for a moment. */
export async function renamePatiently(from: string, to: string): Promise<void> {
  for (let waitMs = 5; ; waitMs *= 2) {
    try {
      return await rename(from, to);
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (waitMs > 160 || !["EPERM", "EACCES", "EBUSY"].includes(code)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

/**
 * Makes new names in a folder durable. Windows lets no folder be opened, and makes names durable by itself.
 * @param required rejects where another system can't; else that is borne
 */
export async function syncFolder(folder: string, { required = false } = {}): Promise<void> {
  const bear = (error: unknown) => {
    if (required && process.platform !== "win32") throw error;
    return undefined;
  };
  const handle = await open(folder, "r").catch(bear);
  try {
    await handle?.sync().catch(bear);
  } finally {
    await handle?.close();
  }
}
