/**
 * @file The few file operations that the store needs. Tests make each of them fail in turn, record them, and lose what was not
 * synced. Those of a machine's disk: node/disk/node-fs.ts.
 */
import { ArtifactError, BudgetError, SolvayError } from "../errors.ts";
import { diskFailure } from "../source/disk-failure.ts";

export interface FileStamp {
  readonly sizeBytes: number;
  /** Differs when the file was changed or replaced: size, time of change, inode. */
  readonly stamp: string;
}

export interface StoreFile {
  /** Bytes read; 0 at the end of the file. May be fewer than asked for. */
  read(into: Uint8Array, at: number): Promise<number>;
  /** Bytes written, perhaps fewer than given. */
  write(bytes: Uint8Array, at: number): Promise<number>;
  /** Cuts the file, or lengthens it by zeros. */
  truncate(sizeBytes: number): Promise<void>;
  /** Content and length are on the disk when this resolves. */
  sync(): Promise<void>;
  stat(): Promise<FileStamp>;
  close(): Promise<void>;
}

/** Pages of the system's memory, and of files. */
export const PAGE_BYTES = 4096;

/** Writes whole pages past the system's cache; whoever reads the file sees them all the same. */
export interface DirectWriter<B extends ArrayBufferLike = ArrayBufferLike> {
  /** What can be written from: its pages are pages of the system. */
  readonly memory: Uint8Array<B>;
  /** Pages of `memory` to pages of the file. Bytes written, perhaps fewer than given; rejects where the system won't. */
  write(pages: Uint8Array, at: number): Promise<number>;
  close(): Promise<void>;
}

export interface StoreFs {
  /** "create": a new, empty file in place of whatever was there; "edit": one that exists, for reading and writing. */
  open(path: string, mode: "read" | "create" | "edit"): Promise<StoreFile>;
  /**
   * Writes from all but a page of `whole` to a file that exists, whose first page is overwritten. Undefined or absent where there is
   * no such thing.
   */
  readonly openDirect?: <B extends ArrayBufferLike>(
    path: string,
    whole: Uint8Array<B>,
  ) => Promise<DirectWriter<B> | undefined>;
  /** Undefined if there is no such file. */
  stat(path: string): Promise<FileStamp | undefined>;
  /** Names in a folder; empty if there is no such folder. */
  list(folder: string): Promise<readonly string[]>;
  /** With its parents; no error if it is there. */
  makeFolder(folder: string): Promise<void>;
  /** Replaces `to`. */
  rename(from: string, to: string): Promise<void>;
  /** No error if it is not there. */
  remove(path: string): Promise<void>;
  /** With all that is in it; no error if it is not there. */
  removeFolder(folder: string): Promise<void>;
  /** Names in the folder are on the disk when this resolves. */
  syncFolder(folder: string): Promise<void>;
  freeBytes(folder: string): Promise<number>;
  /** What the files in a folder take of the disk: holes take nothing. 0 if there is no such folder. */
  usedBytes(folder: string): Promise<number>;
}

/** One read call stays below this, so that several threads share the work and an abort is noticed. */
export const MAX_IO_BYTES = 8 * 1024 ** 2;

/** Fills all of `into`. Throws ArtifactError `E_STORE_DAMAGED` if the file ends sooner, DeviceError `E_DISK` if it can't be read. */
export async function readFully(file: StoreFile, into: Uint8Array, at: number, subject: string): Promise<void> {
  for (let done = 0; done < into.byteLength; ) {
    const count = await file.read(into.subarray(done, done + MAX_IO_BYTES), at + done).catch((error: unknown) => {
      throw storeFailure(error, subject);
    });
    if (count === 0) throw damaged(subject, `ends too soon (needs ${at + into.byteLength} bytes) at byte ${at + done}`);
    done += count;
  }
}

export async function writeFully(
  file: Pick<StoreFile, "write">,
  bytes: Uint8Array,
  at: number,
  maxBytes = MAX_IO_BYTES,
): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const count = await file.write(bytes.subarray(done, done + maxBytes), at + done);
    if (count === 0) throw Object.assign(new Error("a write wrote nothing"), { code: "EIO" });
    done += count;
  }
}

/** The whole of a small file, or undefined if there is none. */
export async function readSmallFile(
  fs: StoreFs,
  path: string,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const there = await fs.stat(path);
  if (!there) return undefined;
  if (there.sizeBytes > maxBytes)
    throw damaged(path, `too large (found ${there.sizeBytes}, allowed ${maxBytes} bytes)`);
  const file = await fs.open(path, "read");
  try {
    const bytes = new Uint8Array(there.sizeBytes);
    await readFully(file, bytes, 0, path);
    return bytes;
  } finally {
    await file.close();
  }
}

/** Ending of files that don't have their final names yet. */
export const PARTIAL = ".partial";

/** Puts a small file under its name whole, synced, or not at all. */
export async function publishSmallFile(fs: StoreFs, folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const partial = `${folder}/${name}${PARTIAL}`;
  try {
    const file = await fs.open(partial, "create");
    try {
      await writeFully(file, bytes, 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await fs.rename(partial, `${folder}/${name}`);
  } catch (error) {
    await fs.remove(partial).catch(() => undefined);
    throw error;
  }
  await fs.syncFolder(folder);
}

export function damaged(subject: string, problem: string, next?: string): ArtifactError {
  const action = next ?? "repair the store with: solvay store repair";
  return new ArtifactError({ code: "E_STORE_DAMAGED", subject, problem, next: action });
}

/** What the operating system refused, as an error that says what to do. Other errors pass through. */
export function storeFailure(error: unknown, folder: string, freeBytes?: number): unknown {
  if (error instanceof SolvayError || !(error instanceof Error) || !("code" in error)) return error;
  const code = String(error.code);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const free = freeBytes === undefined ? "" : ` (${freeBytes} bytes free)`;
    const next = "free some space and run it again: what was finished is kept, and checked before use";
    return new BudgetError({
      code: "E_DISK_FULL",
      subject: folder,
      problem: `the disk is full${free}`,
      next,
      cause: error,
    });
  }
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
    const next = "check its access rights, or choose another folder with --store";
    return new ArtifactError({
      code: "E_ACCESS",
      subject: folder,
      problem: `no permission (${code})`,
      next,
      cause: error,
    });
  }
  if (code === "ENOTDIR" || code === "EEXIST") {
    const problem = "it is no folder, or lies in none";
    const next = "choose another folder with --store";
    return new ArtifactError({ code: "E_STORE_FOLDER", subject: folder, problem, next, cause: error });
  }
  if (!/^E[A-Z0-9]+$/.test(code)) return error;
  const what = error.message.startsWith(code) ? error.message : `${code}: ${error.message}`;
  return diskFailure(folder, `(${what})`, error);
}
