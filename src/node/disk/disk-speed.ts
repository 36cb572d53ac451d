/** @file How fast the disk under a folder reads, past the page cache where the system allows for it. */
import { randomBytes } from "node:crypto";
import { constants, type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { PAGE_BYTES } from "../../store/fs.ts";
import type { DiskSpeed } from "../../store/store.ts";
import { openPastCache, pageOffset } from "./direct-file.ts";

const PROBE_BYTES = 96 * 1024 ** 2;
const READ_BYTES = 8 * 1024 ** 2;
/** Reads in flight. */
const LANES = 4;

/** Writes a probe file, syncs it and reads it once, a few reads at a time. The file is removed. */
export async function measureDisk(folder: string, signal?: AbortSignal): Promise<DiskSpeed> {
  const path = join(folder, "probe");
  try {
    await writeProbe(path, signal);
    const { handle, lanes, direct } = (await openDirectly(path)) ?? {
      handle: await open(path, "r"),
      lanes: laneMemories(),
      direct: false,
    };
    try {
      const startedMs = performance.now();
      const read = async (memory: Uint8Array, lane: number) => {
        for (let at = lane * READ_BYTES; at < PROBE_BYTES; at += LANES * READ_BYTES) {
          signal?.throwIfAborted();
          await handle.read(memory, 0, READ_BYTES, at);
        }
      };
      await Promise.all(lanes.map(read));
      const seconds = (performance.now() - startedMs) / 1000;
      return { bytesPerSecond: PROBE_BYTES / seconds, direct };
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

interface OpenProbe {
  readonly handle: FileHandle;
  /** Memory that each lane reads into: so many bytes or more. */
  readonly lanes: readonly Uint8Array[];
  readonly direct: boolean;
}

/** Undefined where the file can't be read past the cache. */
async function openDirectly(path: string): Promise<OpenProbe | undefined> {
  const handle = await openPastCache(path, constants.O_RDONLY);
  if (!handle) return undefined;
  const lanes: Uint8Array[] = [];
  for (const memory of laneMemories()) {
    const offset = await pageOffset(memory, async (page) => (await handle.read(page, 0, PAGE_BYTES, 0)).bytesRead);
    if (offset !== undefined) lanes.push(memory.subarray(offset));
  }
  if (lanes.length === LANES) return { handle, lanes, direct: true };
  await handle.close();
  return undefined;
}

function laneMemories(): Uint8Array[] {
  return Array.from({ length: LANES }, () => new Uint8Array(READ_BYTES + PAGE_BYTES));
}
