/** @file The store's file operations on this machine's disk. */

import { type BigIntStats, fstatSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rm, stat, statfs, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { FileStamp, StoreFile, StoreFs } from "../../store/fs.ts";
import { renamePatiently, syncFolder } from "./atomic-file.ts";
import { openDirect } from "./direct-file.ts";

const FLAGS = { read: "r", create: "w+", edit: "r+" } as const;

export const NODE_FS: StoreFs = {
  async open(path, mode) {
    return new NodeFile(await open(path, FLAGS[mode]));
  },
  openDirect,
  async stat(path) {
    const info = await stat(path, { bigint: true }).catch(absent);
    return info && stampOf(info);
  },
  list: async (folder) => (await readdir(folder).catch(absent)) ?? [],
  async makeFolder(folder) {
    await mkdir(folder, { recursive: true });
  },
  rename: renamePatiently,
  async remove(path) {
    await unlink(path).catch(absent);
  },
  async removeFolder(folder) {
    // Virus scanners on Windows hold files open for a moment.
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  },
  syncFolder: (folder) => syncFolder(folder, { required: true }),
  async freeBytes(folder) {
    for (let at = folder; ; at = dirname(at)) {
      const info = await statfs(at).catch(absent);
      if (info) return info.bavail * info.bsize;
      if (at === dirname(at)) return Number.POSITIVE_INFINITY;
    }
  },
  async usedBytes(folder) {
    let bytes = 0;
    for (const name of (await readdir(folder).catch(absent)) ?? []) {
      bytes += ((await stat(join(folder, name)).catch(absent))?.blocks ?? 0) * STAT_BLOCK_BYTES;
    }
    return bytes;
  },
};

/** stat's own unit, whatever the file system's. */
const STAT_BLOCK_BYTES = 512;

class NodeFile implements StoreFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async read(into: Uint8Array, at: number): Promise<number> {
    return (await this.#handle.read(into, 0, into.byteLength, at)).bytesRead;
  }

  async write(bytes: Uint8Array, at: number): Promise<number> {
    return (await this.#handle.write(bytes, 0, bytes.byteLength, at)).bytesWritten;
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#handle.truncate(sizeBytes);
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  async stat(): Promise<FileStamp> {
    // Asked for at every read: a thread of libuv's takes longer to say it than the system does.
    return stampOf(fstatSync(this.#handle.fd, { bigint: true }));
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

function stampOf(info: BigIntStats): FileStamp {
  return { sizeBytes: Number(info.size), stamp: `${info.size}-${info.mtimeNs}-${info.ino}` };
}

function absent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
  throw error;
}
