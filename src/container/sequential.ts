/**
 * @file Reads a ByteSource from front to back in large chunks, one chunk ahead, with exact offsets. Two buffers take turns,
 * whatever the file's size.
 */
import type { ByteSource } from "../source/source.ts";

/** Large enough that a disk's latency does not show, small beside one tensor. */
const CHUNK_BYTES = 4 * 1024 ** 2;

interface Chunk {
  readonly startByte: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const NO_CHUNK: Chunk = { startByte: 0, bytes: new Uint8Array(0) };

/** Every `fill`, `take` and `u32` expects that the caller compared with `remainingBytes` first. */
export class SequentialReader {
  readonly source: ByteSource;
  readonly #signal: AbortSignal | undefined;
  readonly #chunkBytes: number;
  readonly #buffers: Uint8Array<ArrayBuffer>[] = [];
  #chunk: Chunk = NO_CHUNK;
  #ahead: { readonly startByte: number; readonly chunk: Promise<Chunk> } | undefined;
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

  /** Fills `into` with the next bytes. */
  async fill(into: Uint8Array): Promise<void> {
    let done = 0;
    while (done < into.byteLength) {
      if (this.#bufferedBytes() === 0) await this.#advance();
      const within = this.#offset - this.#chunk.startByte;
      const part = this.#chunk.bytes.subarray(within, within + into.byteLength - done);
      into.set(part, done);
      done += part.byteLength;
      this.#offset += part.byteLength;
    }
  }

  /** The next `lengthBytes` in a new array. */
  async take(lengthBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(lengthBytes);
    await this.fill(bytes);
    return bytes;
  }

  /** Little-endian. */
  async u32(): Promise<number> {
    return new DataView((await this.take(4)).buffer).getUint32(0, true);
  }

  /** Passes over bytes; those that are not yet buffered are never read. */
  skip(lengthBytes: number): void {
    this.#offset += lengthBytes;
  }

  #bufferedBytes(): number {
    return Math.max(0, this.#chunk.startByte + this.#chunk.bytes.byteLength - this.#offset);
  }

  async #advance(): Promise<void> {
    if (this.remainingBytes <= 0) throw new RangeError(`read past the end of ${this.source.name}`);
    let chunk: Chunk | undefined;
    if (this.#ahead) {
      const { startByte, chunk: arriving } = this.#ahead;
      this.#ahead = undefined;
      const arrived = await arriving; // also if a skip made it useless: its buffer is busy until then
      if (this.#offset >= startByte && this.#offset < startByte + arrived.bytes.byteLength) chunk = arrived;
    }
    this.#chunk = chunk ?? (await this.#read(this.#offset));
    const next = this.#chunk.startByte + this.#chunk.bytes.byteLength;
    if (next >= this.source.byteLength) return;
    this.#ahead = { startByte: next, chunk: this.#read(next) };
    this.#ahead.chunk.catch(() => undefined); // reported when its turn comes
  }

  async #read(startByte: number): Promise<Chunk> {
    const other = this.#buffers.findIndex((buffer) => buffer.buffer !== this.#chunk.bytes.buffer);
    const buffer = this.#buffers[other] ?? new Uint8Array(Math.min(this.#chunkBytes, this.source.byteLength));
    if (other < 0) this.#buffers.push(buffer);
    const bytes = buffer.subarray(0, Math.min(buffer.byteLength, this.source.byteLength - startByte));
    await this.source.read(startByte, bytes, this.#signal);
    return { startByte, bytes };
  }
}
