/** @file A file in the making, which is written past the system's cache where that can be. */
import { type DirectWriter, type FileStamp, PAGE_BYTES, type StoreFile, type StoreFs } from "./fs.ts";

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
    const memory = this.#direct?.memory;
    const fits = memory?.buffer === bytes.buffer && (bytes.byteOffset - memory.byteOffset - at) % PAGE_BYTES === 0;
    if (!fits) return await this.#file.write(bytes, at);
    const toPage = (PAGE_BYTES - (at % PAGE_BYTES)) % PAGE_BYTES;
    if (toPage > 0) return await this.#file.write(bytes.subarray(0, toPage), at);
    const pages = bytes.subarray(0, bytes.byteLength - (bytes.byteLength % PAGE_BYTES));
    if (pages.byteLength === 0) return await this.#file.write(bytes, at);
    try {
      return await this.#direct!.write(pages, at);
    } catch (error) {
      if (!isRefused(error)) throw error;
      this.#direct = undefined;
      return await this.#file.write(bytes, at);
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

export interface OpenPart extends AsyncDisposable {
  readonly file: StoreFile;
  /** What can be written from directly. Absent where there is no such thing. */
  readonly memory?: Uint8Array<ArrayBuffer>;
}

/** The first page may be overwritten. */
export async function openPart(
  fs: StoreFs,
  path: string,
  mode: "create" | "edit",
  memoryBytes: number,
): Promise<OpenPart> {
  await using owned = new AsyncDisposableStack();
  const file = owned.adopt(await fs.open(path, mode), (opened) => opened.close());
  const direct = await fs.openDirect?.(path, memoryBytes);
  if (direct) owned.adopt(direct, (opened) => opened.close());
  const kept = owned.move();
  return {
    file: new PartFile(file, direct),
    ...(direct ? { memory: direct.memory } : {}),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Some file systems take the flag and then no write. */
function isRefused(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "EINVAL" || code === "ENOTSUP" || code === "EOPNOTSUPP";
}
