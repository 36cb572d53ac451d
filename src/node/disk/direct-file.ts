/**
 * @file Reads and writes past the system's page cache, where the system allows for it: gigabytes that nobody reads soon need then neither
 * be copied nor push other things out of memory (docs/decisions/direct-writes.md). Whole pages only, from memory at a page's start.
 */
import { constants, type FileHandle, open } from "node:fs/promises";
import { type DirectWriter, PAGE_BYTES } from "../../store/fs.ts";

/** Addresses of typed arrays are multiples of this. */
const ADDRESS_BYTES = 16;

/**
 * A writer from so many bytes of the memory, or undefined where there is no such thing. The file must be there; its first page
 * is overwritten, because the right place in memory is found by trying. `whole` has a page more than is asked for.
 */
export async function openDirect<B extends ArrayBufferLike>(
  path: string,
  whole: Uint8Array<B>,
): Promise<DirectWriter<B> | undefined> {
  const handle = await openPastCache(path, constants.O_WRONLY);
  if (!handle) return undefined;
  const write = async (bytes: Uint8Array, at: number) =>
    (await handle.write(bytes, 0, bytes.byteLength, at)).bytesWritten;
  const offset = await pageOffset(whole, (page) => write(page, 0));
  if (offset === undefined) {
    await handle.close();
    return undefined;
  }
  return {
    memory: whole.subarray(offset, offset + whole.byteLength - PAGE_BYTES),
    write,
    close: () => handle.close(),
  };
}

/** Undefined where the system or the file system has no such thing. `access`: read, or write. */
export async function openPastCache(path: string, access: number): Promise<FileHandle | undefined> {
  if (constants.O_DIRECT === undefined) return undefined;
  return await open(path, access | constants.O_DIRECT).catch(() => undefined);
}

/**
 * Where in `memory` a page of the system begins: nobody tells its address, but the system refuses direct transfers at all other places.
 * @param transfer tries it with a page of memory; resolves to the bytes that were read or written
 * @returns bytes from the start of `memory`, or undefined where the file takes no direct transfers after all
 */
export async function pageOffset(
  memory: Uint8Array,
  transfer: (page: Uint8Array) => Promise<number>,
): Promise<number | undefined> {
  for (let offset = 0; offset < PAGE_BYTES; offset += ADDRESS_BYTES) {
    try {
      const bytes = await transfer(memory.subarray(offset, offset + PAGE_BYTES));
      return bytes === PAGE_BYTES ? offset : undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") return undefined;
    }
  }
  return undefined;
}
