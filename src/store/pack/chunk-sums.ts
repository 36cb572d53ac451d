/**
 * @file Checksums of a block's chunks, taken while its tensors pass through memory: only chunks that several tensors share have
 * to be read back from the disk.
 */

import { sha256Digest } from "#hash";
import { crc32 } from "#zlib";
import { CHUNK_BYTES, chunkCount, chunkLength } from "./block-layout.ts";
import { mapAhead } from "./concurrency.ts";
import { blockId } from "./digest.ts";
import type { Hasher } from "./hasher.ts";
import { type BlockDigest, CHUNKS_AHEAD, chunkPool, type PlainReader } from "./pack-writer.ts";

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
  /** Of chunks that one tensor covers as a whole. */
  readonly #known = new Map<number, Promise<{ readonly crc: number; readonly digest: Uint8Array }>>();

  constructor(plainBytes: number) {
    this.#plainBytes = plainBytes;
  }

  /**
   * A tensor's bytes, which belong at `offsetBytes` of the block and stay as they are until this resolves: to the CRC32 of each of
   * its pieces.
   */
  async add(offsetBytes: number, bytes: Uint8Array, hasher: Hasher): Promise<number[]> {
    const cuts = cutAtChunks(offsetBytes, bytes.byteLength);
    const chunkOf = (from: number) => Math.floor(from / CHUNK_BYTES);
    const pieces = cuts.map(([from, to]) => ({
      from: from - offsetBytes,
      to: to - offsetBytes,
      digest: to - from === chunkLength(this.#plainBytes, chunkOf(from)),
    }));
    const sums = hasher.sums(bytes, pieces);
    for (const [i, [from]] of cuts.entries()) {
      if (!pieces[i]!.digest) continue;
      const known = sums.then((all) => ({ crc: all[i]!.crc, digest: all[i]!.digest! }));
      known.catch(() => undefined); // reported by `add`
      this.#known.set(chunkOf(from), known);
    }
    return (await sums).map(({ crc }) => crc);
  }

  /** Name and checksums of the block; `read` gives what no tensor covered as a whole. */
  async finish(read: PlainReader, signal?: AbortSignal): Promise<BlockDigest> {
    const work = async (chunk: number) => {
      const known = this.#known.get(chunk);
      if (known) return await known;
      signal?.throwIfAborted();
      const buffer = chunkPool.take();
      try {
        const plain = buffer.subarray(0, chunkLength(this.#plainBytes, chunk));
        await read(chunk * CHUNK_BYTES, plain);
        return { crc: crc32(plain), digest: await sha256Digest(plain) };
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
