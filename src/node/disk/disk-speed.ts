/** @file How fast the disk under a folder reads, past the page cache where the system allows for it. */

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { DiskSpeed } from "./codec-choice.ts";

const PROBE_BYTES = 96 * 1024 ** 2;
const READ_BYTES = 8 * 1024 ** 2;
const PAGE_BYTES = 4096;

/** Writes a probe file, syncs it and reads it once, four reads at a time. The file is removed. */
export async function measureDisk(folder: string, signal?: AbortSignal): Promise<DiskSpeed> {
  const path = join(folder, "probe");
  try {
    await writeProbe(path, signal);
    const direct = constants.O_DIRECT === undefined ? undefined : await openDirect(path);
    const { handle, offset } = direct ?? { handle: await open(path, "r"), offset: 0 };
    try {
      const startedMs = performance.now();
      const lane = async (first: number) => {
        const memory = new Uint8Array(new ArrayBuffer(READ_BYTES + PAGE_BYTES));
        const shift = direct ? await alignedOffset(handle, memory) : offset;
        if (shift === undefined) return;
        for (let at = first * READ_BYTES; at < PROBE_BYTES; at += 4 * READ_BYTES) {
          signal?.throwIfAborted();
          await handle.read(memory, shift, READ_BYTES, at);
        }
      };
      await Promise.all([0, 1, 2, 3].map(lane));
      const seconds = (performance.now() - startedMs) / 1000;
      return { bytesPerSecond: PROBE_BYTES / seconds, direct: direct !== undefined };
    } finally {
      await handle.close();
    }
  } finally {
    await rm(path, { force: true });
  }
}

async function writeProbe(path: string, signal?: AbortSignal): Promise<void> {
  const bytes = randomBytes(READ_BYTES);
  await using handle = await open(path, "w");
  for (let at = 0; at < PROBE_BYTES; at += READ_BYTES) {
    signal?.throwIfAborted();
    await handle.write(bytes, 0, READ_BYTES, at);
  }
  await handle.sync();
}

/** Undefined where the file system has no such thing. */
async function openDirect(path: string): Promise<{ handle: FileHandle; offset: number } | undefined> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECT).catch(() => undefined);
  if (!handle) return undefined;
  const offset = await alignedOffset(handle, new Uint8Array(READ_BYTES + PAGE_BYTES));
  if (offset !== undefined) return { handle, offset };
  await handle.close();
  return undefined;
}

/** Direct reads need memory at a page's start, whose address nobody tells: the system refuses all other places. */
async function alignedOffset(handle: FileHandle, memory: Uint8Array): Promise<number | undefined> {
  for (let offset = 0; offset < PAGE_BYTES; offset += 16) {
    const read = await handle.read(memory, offset, PAGE_BYTES, 0).catch(() => undefined);
    if (read?.bytesRead === PAGE_BYTES) return offset;
  }
  return undefined;
}
