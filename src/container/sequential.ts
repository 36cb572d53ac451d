/**
 * @file Reads a ByteSource from front to back in large chunks, some chunks ahead, with exact offsets. A few buffers take turns,
 * whatever the file's size.
 */
import type { ByteSource } from "../source/source.ts";

/** Large enough that a disk's latency does not show, small beside one tensor. */
export const CHUNK_BYTES = 4 * 1024 ** 2;

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
  readonly #depth: number;
  readonly #buffers: Uint8Array<ArrayBuffer>[] = [];
  #chunk: Chunk = NO_CHUNK;
  readonly #ahead: { readonly buffer: ArrayBuffer; readonly chunk: Promise<Chunk> }[] = [];
  #offset = 0;

  /** `depth`: chunks read ahead; one where much will be skipped. */
  constructor(source: ByteSource, signal?: AbortSignal, chunkBytes = CHUNK_BYTES, depth = 2) {
    this.source = source;
    this.#signal = signal;
    this.#chunkBytes = chunkBytes;
    this.#depth = depth;
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
    while (!chunk && this.#ahead.length > 0) {
      const arrived = await this.#ahead.shift()!.chunk; // also if a skip made it useless: its buffer is busy until then
      const endByte = arrived.startByte + arrived.bytes.byteLength;
      if (this.#offset >= arrived.startByte && this.#offset < endByte) chunk = arrived;
    }
    let next = chunk ? this.#aheadEnd(chunk) : this.#offset;
    if (!chunk) {
      this.#chunk = NO_CHUNK;
      const started = this.#start(next);
      next = this.#endOf(next);
      chunk = await started.chunk;
    }
    this.#chunk = chunk;
    while (this.#ahead.length < this.#depth && next < this.source.byteLength) {
      const started = this.#start(next);
      started.chunk.catch(() => undefined); // reported when its turn comes
      this.#ahead.push(started);
      next = this.#endOf(next);
    }
  }

  /** Where the chunks that are here or on their way end. */
  #aheadEnd(chunk: Chunk): number {
    let end = chunk.startByte + chunk.bytes.byteLength;
    for (const _ of this.#ahead) end = this.#endOf(end);
    return end;
  }

  #endOf(startByte: number): number {
    return Math.min(startByte + this.#chunkBytes, this.source.byteLength);
  }

  #start(startByte: number): { readonly buffer: ArrayBuffer; readonly chunk: Promise<Chunk> } {
    const busy = (buffer: Uint8Array<ArrayBuffer>) =>
      buffer.buffer === this.#chunk.bytes.buffer || this.#ahead.some((ahead) => ahead.buffer === buffer.buffer);
    let buffer = this.#buffers.find((candidate) => !busy(candidate));
    if (!buffer) {
      buffer = new Uint8Array(Math.min(this.#chunkBytes, this.source.byteLength));
      this.#buffers.push(buffer);
    }
    const bytes = buffer.subarray(0, this.#endOf(startByte) - startByte);
    const read = async () => {
      await this.source.read(startByte, bytes, this.#signal);
      return { startByte, bytes };
    };
    return { buffer: buffer.buffer, chunk: read() };
  }
}
