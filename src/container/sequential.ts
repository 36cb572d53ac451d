/** @file Reads a ByteSource from front to back in large chunks, one chunk ahead, with exact offsets. */
import type { ByteSource } from "../source/source.ts";

const CHUNK_BYTES = 4 * 1024 ** 2;

interface Chunk {
  readonly startByte: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export class SequentialReader {
  readonly source: ByteSource;
  readonly #signal: AbortSignal | undefined;
  readonly #chunkBytes: number;
  #chunk: Chunk = { startByte: 0, bytes: new Uint8Array(0) };
  #ahead: Promise<Chunk> | undefined;
  #offset = 0;

  constructor(source: ByteSource, signal?: AbortSignal, chunkBytes = CHUNK_BYTES) {
    this.source = source;
    this.#signal = signal;
    this.#chunkBytes = chunkBytes;
  }

  /** Absolute position of the next byte. */
  get offset(): number {
    return this.#offset;
  }

  get remainingBytes(): number {
    return this.source.byteLength - this.#offset;
  }

  /** Fills `into`; the caller has checked that so many bytes remain. */
  async fill(into: Uint8Array): Promise<void> {
    let done = 0;
    while (done < into.byteLength) {
      const part = await this.#part(into.byteLength - done);
      into.set(part, done);
      done += part.byteLength;
    }
  }

  /** The next `lengthBytes` in a new array. */
  async take(lengthBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(lengthBytes);
    await this.fill(bytes);
    return bytes;
  }

  async u32(): Promise<number> {
    return new DataView((await this.take(4)).buffer).getUint32(0, true);
  }

  async #part(wantedBytes: number): Promise<Uint8Array> {
    let within = this.#offset - this.#chunk.startByte;
    if (within >= this.#chunk.bytes.byteLength) {
      this.#chunk = await (this.#ahead ?? this.#read(this.#offset));
      this.#ahead = undefined;
      const next = this.#chunk.startByte + this.#chunk.bytes.byteLength;
      if (next < this.source.byteLength) {
        this.#ahead = this.#read(next);
        this.#ahead.catch(() => undefined); // awaited when its turn comes
      }
      within = 0;
    }
    const part = this.#chunk.bytes.subarray(within, within + wantedBytes);
    this.#offset += part.byteLength;
    return part;
  }

  async #read(startByte: number): Promise<Chunk> {
    const bytes = new Uint8Array(Math.min(this.#chunkBytes, this.source.byteLength - startByte));
    await this.source.read(startByte, bytes, this.#signal);
    return { startByte, bytes };
  }
}
