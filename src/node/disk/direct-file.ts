/**
 * @file Writes past the system's page cache, where the system allows for it: gigabytes that nobody reads soon need then neither
 * be copied nor push other things out of memory (docs/decisions/direct-writes.md). Whole pages only, from memory at a page's start.
 */
import { constants, type FileHandle, open } from "node:fs/promises";
import { type DirectWriter, PAGE_BYTES } from "./fs.ts";

/** Addresses in memory are multiples of this at least. */
const STEP_BYTES = 16;

/**
 * A writer from so many bytes of the memory, or undefined where there is no such thing. The file must be there; its first page
 * is overwritten, because the right place in memory is found by trying. `whole` has a page more than is asked for.
 */
export async function openDirect<B extends ArrayBufferLike>(
  path: string,
  whole: Uint8Array<B>,
): Promise<DirectWriter<B> | undefined> {
  if (constants.O_DIRECT === undefined) return undefined;
  const handle = await open(path, constants.O_WRONLY | constants.O_DIRECT).catch(() => undefined);
  if (!handle) return undefined;
  const offset = await alignedOffset(handle, whole);
  if (offset === undefined) {
    await handle.close();
    return undefined;
  }
  return {
    memory: whole.subarray(offset, offset + whole.byteLength - PAGE_BYTES),
    write: async (bytes, at) => (await handle.write(bytes, 0, bytes.byteLength, at)).bytesWritten,
    close: () => handle.close(),
  };
}

/** Nobody tells the address of memory, but the system refuses all places that don't fit. */
async function alignedOffset(handle: FileHandle, memory: Uint8Array): Promise<number | undefined> {
  for (let offset = 0; offset < PAGE_BYTES; offset += STEP_BYTES) {
    try {
      const { bytesWritten } = await handle.write(memory, offset, PAGE_BYTES, 0);
      return bytesWritten === PAGE_BYTES ? offset : undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") return undefined;
    }
  }
  return undefined;
}
