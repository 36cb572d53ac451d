/**
 * @file The store's file operations in memory: with a log from which crash states are made (what was not synced may be lost, in
 * any order), and with a hook that makes single operations fail.
 */
import { DeviceError } from "../../src/errors.ts";
import type { FileStamp, StoreFile, StoreFs } from "../../src/store/fs.ts";
import type { Store, WriterLock } from "../../src/store/store.ts";

export type LogEntry =
  | { readonly op: "write"; readonly inode: number; readonly at: number; readonly bytes: Uint8Array }
  | { readonly op: "truncate"; readonly inode: number; readonly sizeBytes: number }
  | { readonly op: "sync"; readonly inode: number }
  | { readonly op: "create"; readonly path: string; readonly inode: number }
  | { readonly op: "rename"; readonly path: string; readonly to: string }
  | { readonly op: "remove"; readonly path: string }
  | { readonly op: "syncFolder"; readonly path: string };

/** What a hook may say about an operation: throw, or shorten a write to so many bytes. */
export type Hook = (op: string, path: string) => { readonly shortBytes: number } | undefined;

interface Inode {
  readonly number: number;
  bytes: Uint8Array;
  changes: number;
}

export class MemoryFs implements StoreFs {
  readonly names = new Map<string, number>();
  readonly inodes = new Map<number, Inode>();
  readonly log: LogEntry[] = [];
  hook: Hook = () => undefined;
  free = 1e12;
  #next = 1;

  async open(path: string, mode: "read" | "create" | "edit"): Promise<StoreFile> {
    this.hook("open", path);
    let number = this.names.get(path);
    if (mode === "create") {
      number = this.#next++;
      this.inodes.set(number, { number, bytes: new Uint8Array(0), changes: 0 });
      this.names.set(path, number);
      this.log.push({ op: "create", path, inode: number });
    }
    if (number === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" });
    return new MemoryFile(this, this.inodes.get(number)!, path);
  }

  async stat(path: string): Promise<FileStamp | undefined> {
    this.hook("stat", path);
    const number = this.names.get(path);
    return number === undefined ? undefined : stampOf(this.inodes.get(number)!);
  }

  async list(folder: string): Promise<string[]> {
    const inside = [...this.names.keys()].filter((path) => path.startsWith(`${folder}/`));
    return [...new Set(inside.map((path) => path.slice(folder.length + 1).split("/")[0]!))];
  }

  async makeFolder(folder: string): Promise<void> {
    this.hook("makeFolder", folder);
  }

  async rename(from: string, to: string): Promise<void> {
    this.hook("rename", from);
    const number = this.names.get(from);
    if (number === undefined) throw Object.assign(new Error(`ENOENT: ${from}`), { code: "ENOENT" });
    this.names.delete(from);
    this.names.set(to, number);
    this.log.push({ op: "rename", path: from, to });
  }

  async remove(path: string): Promise<void> {
    this.hook("remove", path);
    if (this.names.delete(path)) this.log.push({ op: "remove", path });
  }

  async removeFolder(folder: string): Promise<void> {
    this.hook("removeFolder", folder);
    for (const path of [...this.names.keys()]) {
      if (!path.startsWith(`${folder}/`)) continue;
      this.names.delete(path);
      this.log.push({ op: "remove", path });
    }
  }

  async syncFolder(folder: string): Promise<void> {
    this.hook("syncFolder", folder);
    this.log.push({ op: "syncFolder", path: folder });
  }

  async freeBytes(): Promise<number> {
    return this.free;
  }

  /** Pages of zeros count as holes. */
  async usedBytes(folder: string): Promise<number> {
    let pages = 0;
    for (const [path, number] of this.names) {
      if (!path.startsWith(`${folder}/`)) continue;
      const { bytes } = this.inodes.get(number)!;
      for (let at = 0; at < bytes.length; at += 4096) {
        if (bytes.subarray(at, at + 4096).some((byte) => byte !== 0)) pages++;
      }
    }
    return pages * 4096;
  }

  /** The bytes of a file, to look at or to damage. */
  bytes(path: string): Uint8Array {
    return this.inodes.get(this.names.get(path)!)!.bytes;
  }

  /** Marks a file as changed, as a real system would. */
  touch(path: string): void {
    this.inodes.get(this.names.get(path)!)!.changes++;
  }

  paths(): string[] {
    return [...this.names.keys()].sort();
  }

  /**
   * The disk after a crash once `length` operations of the log were asked for: synced content and synced names are there, of the
   * rest whatever `random` (0..1) says, writes also in part.
   */
  crashed(length: number, random: () => number): MemoryFs {
    const log = this.log.slice(0, length);
    const lastSync = new Map<number, number>();
    const lastFolderSync = new Map<string, number>();
    for (const [i, entry] of log.entries()) {
      if (entry.op === "sync") lastSync.set(entry.inode, i);
      if (entry.op === "syncFolder") lastFolderSync.set(entry.path, i);
    }
    const after = new MemoryFs();
    after.#next = this.#next;
    const content = (number: number) => {
      const inode = after.inodes.get(number) ?? { number, bytes: new Uint8Array(0), changes: 0 };
      after.inodes.set(number, inode);
      return inode;
    };
    for (const [i, entry] of log.entries()) {
      if (entry.op === "write") {
        const durable = i < (lastSync.get(entry.inode) ?? -1);
        const kept =
          durable || random() < 0.4
            ? entry.bytes.length
            : Math.floor(random() * 2) * Math.floor(random() * entry.bytes.length);
        if (kept > 0) put(content(entry.inode), entry.bytes.subarray(0, kept), entry.at);
      } else if (entry.op === "truncate") {
        const durable = i < (lastSync.get(entry.inode) ?? -1);
        if (durable || random() < 0.5) resize(content(entry.inode), entry.sizeBytes);
      } else if (entry.op === "create" || entry.op === "rename" || entry.op === "remove") {
        const folder = entry.path.slice(0, entry.path.lastIndexOf("/"));
        const target = entry.op === "rename" ? entry.to.slice(0, entry.to.lastIndexOf("/")) : folder;
        // A rename is one step for both folders: it lasts when the folder that it leads to was synced.
        const durable = i < (lastFolderSync.get(target) ?? -1);
        if (!durable && random() < 0.5) continue;
        if (entry.op === "create") {
          content(entry.inode);
          after.names.set(entry.path, entry.inode);
        } else if (entry.op === "remove") {
          after.names.delete(entry.path);
        } else {
          // The source's own name may have been lost before: what it meant then is known from the log.
          const number = after.names.get(entry.path) ?? nameAt(log, i, entry.path);
          after.names.delete(entry.path);
          if (number !== undefined) {
            content(number);
            after.names.set(entry.to, number);
          }
        }
      }
    }
    return after;
  }
}

function nameAt(log: readonly LogEntry[], end: number, path: string): number | undefined {
  let number: number | undefined;
  for (const entry of log.slice(0, end)) if (entry.op === "create" && entry.path === path) number = entry.inode;
  return number;
}

class MemoryFile implements StoreFile {
  readonly #fs: MemoryFs;
  readonly #inode: Inode;
  readonly #path: string;
  #open = true;

  constructor(fs: MemoryFs, inode: Inode, path: string) {
    this.#fs = fs;
    this.#inode = inode;
    this.#path = path;
  }

  #use(op: string): ReturnType<Hook> {
    if (!this.#open) throw new Error(`${op} on a closed file: ${this.#path}`);
    return this.#fs.hook(op, this.#path);
  }

  async read(into: Uint8Array, at: number): Promise<number> {
    this.#use("read");
    const part = this.#inode.bytes.subarray(at, at + into.byteLength);
    into.set(part);
    return part.byteLength;
  }

  async write(bytes: Uint8Array, at: number): Promise<number> {
    const copy = Uint8Array.from(bytes); // what happens to the caller's memory later is not our business
    const answer = this.#use("write");
    await null; // really later, as on a disk
    if (!this.#open) throw new Error(`a write was left running behind a close: ${this.#path}`);
    const part = copy.subarray(0, answer?.shortBytes ?? copy.byteLength);
    put(this.#inode, part, at);
    this.#fs.log.push({ op: "write", inode: this.#inode.number, at, bytes: part });
    return part.byteLength;
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#use("truncate");
    resize(this.#inode, sizeBytes);
    this.#fs.log.push({ op: "truncate", inode: this.#inode.number, sizeBytes });
  }

  async sync(): Promise<void> {
    this.#use("sync");
    this.#fs.log.push({ op: "sync", inode: this.#inode.number });
  }

  async stat(): Promise<FileStamp> {
    this.#use("fstat");
    return stampOf(this.#inode);
  }

  async close(): Promise<void> {
    this.#open = false;
  }
}

function put(inode: Inode, bytes: Uint8Array, at: number): void {
  if (at + bytes.byteLength > inode.bytes.byteLength) resize(inode, at + bytes.byteLength);
  inode.bytes.set(bytes, at);
  inode.changes++;
}

function resize(inode: Inode, sizeBytes: number): void {
  const bytes = new Uint8Array(sizeBytes);
  bytes.set(inode.bytes.subarray(0, sizeBytes));
  inode.bytes = bytes;
  inode.changes++;
}

function stampOf(inode: Inode): FileStamp {
  return { sizeBytes: inode.bytes.byteLength, stamp: `${inode.bytes.byteLength}-${inode.changes}-${inode.number}` };
}

/** The lock of a store in memory: one holder at a time, as on a machine's disk. */
export class MemoryLock {
  /** Holders so far, and how many of them have let go. */
  taken = 0;
  released = 0;
  /** Looks at the lock so far. */
  checks = 0;
  /** From this look on another process has it: for processes that were stopped for long. */
  lostAtCheck = Number.POSITIVE_INFINITY;
  #free: Promise<void> = Promise.resolve();

  get isHeld(): boolean {
    return this.taken > this.released;
  }

  readonly take: WriterLock = async ({ signal, onWait }) => {
    const before = this.#free;
    if (this.isHeld) onWait("another test");
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#free = before.then(() => promise);
    const stopped = Promise.withResolvers<never>();
    const stop = () => stopped.reject(signal?.reason);
    signal?.addEventListener("abort", stop);
    try {
      signal?.throwIfAborted();
      await Promise.race([before, stopped.promise]);
    } catch (error) {
      resolve();
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
    this.taken++;
    return {
      check: async () => {
        if (this.checks++ < this.lostAtCheck) return;
        throw new DeviceError({
          code: "E_STORE_LOCK",
          problem: "another process took the store over",
          next: "run it again",
        });
      },
      [Symbol.asyncDispose]: async () => {
        this.released++;
        resolve();
      },
    };
  };
}

/** A store over such a disk. */
export function memoryStore(fs: MemoryFs, lock = new MemoryLock()): Store {
  return { folder: "s", fs, lock: lock.take };
}
