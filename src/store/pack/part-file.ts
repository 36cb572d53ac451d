/** @file A file that is being made, written past the system's cache where that is possible. */
import { alignUp } from "../../tensor/align.ts";
import { type DirectWriter, type FileStamp, PAGE_BYTES, type StoreFile, type StoreFs } from "../fs.ts";

/**
 * Whole pages of the writer's memory that are to become whole pages of the file are written directly; all else, and everything once
 * a direct write was refused, goes through the cache.
 */
export class PartFile implements StoreFile {
  readonly #file: StoreFile;
  #direct: DirectWriter | undefined;

  /** `direct`: into the same file. */
  constructor(file: StoreFile, direct: DirectWriter | undefined) {
    this.#file = file;
    this.#direct = direct;
  }

  async write(bytes: Uint8Array, at: number): Promise<number> {
    const [from, to] = this.#wholePages(bytes, at);
    if (from === to) return await this.#file.write(bytes, at);
    // At once, since they have no page in common.
    const [head, pages, tail] = [bytes.subarray(0, from), bytes.subarray(from, to), bytes.subarray(to)];
    const writes = [
      head.byteLength > 0 ? this.#file.write(head, at) : 0,
      this.#writePages(pages, at + from),
      tail.byteLength > 0 ? this.#file.write(tail, at + to) : 0,
    ];
    // The memory is in use until the last of them has ended, whatever became of the others.
    await Promise.allSettled(writes);
    const [headBytes, pagesBytes, tailBytes] = await Promise.all(writes);
    if (headBytes! < head.byteLength) return headBytes!;
    return head.byteLength + pagesBytes! + (pagesBytes! < pages.byteLength ? 0 : tailBytes!);
  }

  /** What of it can be written directly: from where to where, in its bytes. */
  #wholePages(bytes: Uint8Array, at: number): readonly [number, number] {
    const memory = this.#direct?.memory;
    const fits = memory?.buffer === bytes.buffer && (bytes.byteOffset - memory.byteOffset - at) % PAGE_BYTES === 0;
    if (!fits) return [0, 0];
    const from = alignUp(at, PAGE_BYTES) - at;
    const to = bytes.byteLength - ((at + bytes.byteLength) % PAGE_BYTES);
    return from < to ? [from, to] : [0, 0];
  }

  async #writePages(pages: Uint8Array, at: number): Promise<number> {
    try {
      return await this.#direct!.write(pages, at);
    } catch (error) {
      if (!isRefused(error)) throw error;
      this.#direct = undefined;
      return await this.#file.write(pages, at);
    }
  }

  read(into: Uint8Array, at: number): Promise<number> {
    return this.#file.read(into, at);
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#file.truncate(sizeBytes);
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  stat(): Promise<FileStamp> {
    return this.#file.stat();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

export interface OpenPart<B extends ArrayBufferLike> extends AsyncDisposable {
  readonly file: StoreFile;
  /** What is written from: directly, where there is such a thing. */
  readonly memory: Uint8Array<B>;
}

/** The first page may be overwritten. `whole`: memory to write from, and a page more. */
export async function openPart<B extends ArrayBufferLike>(
  fs: StoreFs,
  path: string,
  mode: "create" | "edit",
  whole: Uint8Array<B>,
): Promise<OpenPart<B>> {
  await using owned = new AsyncDisposableStack();
  const file = owned.adopt(await fs.open(path, mode), (opened) => opened.close());
  const direct = await fs.openDirect?.(path, whole);
  if (direct) owned.adopt(direct, (opened) => opened.close());
  const kept = owned.move();
  return {
    file: new PartFile(file, direct),
    memory: direct?.memory ?? whole,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Some file systems take the flag and then no write. */
function isRefused(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "EINVAL" || code === "ENOTSUP" || code === "EOPNOTSUPP";
}
