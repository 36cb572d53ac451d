/**
 * @file Checksums of a block's chunks, taken while its tensors pass through memory: only chunks that several tensors share have
 * to be read back from the disk.
 */
import { mapAhead } from "./concurrency.ts";
import { blockId, chunkDigest, crc32 } from "./digest.ts";
import { CHUNK_BYTES, chunkCount, chunkLength } from "./layout.ts";
import { type BlockDigest, CHUNKS_AHEAD, chunkPool, type PlainReader } from "./pack-writer.ts";

/** Copies of chunks that wait for a thread to hash them; beyond this, decoding waits. */
const MAX_HASHING = 64;
export const HASHING_BYTES = MAX_HASHING * CHUNK_BYTES;

/** Hashing jobs of one import. */
export class HashQueue {
  readonly #running = new Set<Promise<unknown>>();

  /** Resolves when the job has started, which is when the bytes have been copied. */
  async start(bytes: Uint8Array<ArrayBuffer>): Promise<{ readonly digest: Promise<Uint8Array> }> {
    while (this.#running.size >= MAX_HASHING) await Promise.race(this.#running);
    const digest = chunkDigest(bytes).finally(() => this.#running.delete(digest));
    digest.catch(() => undefined); // reported where it is needed
    this.#running.add(digest);
    return { digest };
  }
}

/** A stretch of a block cut where its chunks end, in bytes of the block. */
export function cutAtChunks(startByte: number, lengthBytes: number): (readonly [from: number, to: number])[] {
  const pieces: (readonly [number, number])[] = [];
  const endByte = startByte + lengthBytes;
  for (let from = startByte; from < endByte; ) {
    const to = Math.min(endByte, (Math.floor(from / CHUNK_BYTES) + 1) * CHUNK_BYTES);
    pieces.push([from, to]);
    from = to;
  }
  return pieces;
}

export class ChunkSums {
  readonly #plainBytes: number;
  readonly #known = new Map<number, { readonly crc: number; readonly digest: Promise<Uint8Array> }>();

  constructor(plainBytes: number) {
    this.#plainBytes = plainBytes;
  }

  /** A tensor's bytes, which belong at `offsetBytes` of the block. Returns the CRC32 of each of its pieces. */
  async add(offsetBytes: number, bytes: Uint8Array<ArrayBuffer>, queue: HashQueue): Promise<number[]> {
    const crcs: number[] = [];
    for (const [from, to] of cutAtChunks(offsetBytes, bytes.byteLength)) {
      const piece = bytes.subarray(from - offsetBytes, to - offsetBytes);
      const crc = crc32(piece);
      crcs.push(crc);
      const chunk = Math.floor(from / CHUNK_BYTES);
      if (piece.byteLength !== chunkLength(this.#plainBytes, chunk)) continue;
      this.#known.set(chunk, { crc, ...(await queue.start(piece)) });
    }
    return crcs;
  }

  /** Name and checksums of the block; `read` gives what no tensor covered as a whole. */
  async finish(read: PlainReader, signal?: AbortSignal): Promise<BlockDigest> {
    const work = async (chunk: number) => {
      const known = this.#known.get(chunk);
      if (known) return { crc: known.crc, digest: await known.digest };
      signal?.throwIfAborted();
      const buffer = chunkPool.take();
      try {
        const plain = buffer.subarray(0, chunkLength(this.#plainBytes, chunk));
        await read(chunk * CHUNK_BYTES, plain);
        return { crc: crc32(plain), digest: await chunkDigest(plain) };
      } finally {
        chunkPool.give(buffer);
      }
    };
    const digests: Uint8Array[] = [];
    const crcs: number[] = [];
    const chunks = Array(chunkCount(this.#plainBytes)).keys();
    for await (const { crc, digest } of mapAhead(chunks, CHUNKS_AHEAD, work)) {
      digests.push(digest);
      crcs.push(crc);
    }
    return { id: blockId(this.#plainBytes, digests), crcs };
  }
}
