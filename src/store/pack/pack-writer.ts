/** @file Writes blocks into a pack that is not published yet, a few chunks in memory at a time. */
import { sha256Digest } from "#hash";
import { crc32 } from "#zlib";
import { packPlanes } from "../../codec/byte-planes.ts";
import { alignUp } from "../../tensor/align.ts";
import { type StoreFile, writeFully } from "../fs.ts";
import { BLOCK_ALIGNMENT_BYTES, CHUNK_BYTES, chunkCount, chunkLength } from "./block-layout.ts";
import { BufferPool, mapAhead } from "./concurrency.ts";
import { blockId } from "./digest.ts";
import { type BlockCodec, encodeFooter, encodeHeader, encodeIndex, type PackBlock } from "./pack-format.ts";

/** Fills `into` with plain bytes of a block from `startByte` on. */
export type PlainReader = (startByte: number, into: Uint8Array<ArrayBuffer>) => Promise<void>;

/** Chunks in work at a time: reading, hashing and packing happen in libuv's threads. */
export const CHUNKS_AHEAD = 8;
export const chunkPool = new BufferPool(CHUNK_BYTES);
/** Memory for those: each as it is, copied for its hash, and in planes twice. */
export const CHUNKS_BYTES = CHUNKS_AHEAD * 4 * CHUNK_BYTES;

interface Chunk {
  readonly digest: Uint8Array;
  /** Of the plain bytes. */
  readonly crc: number;
  readonly payload: Uint8Array;
  readonly buffer: Uint8Array<ArrayBuffer>;
}

async function* chunksOf(
  plainBytes: number,
  read: PlainReader,
  pack: ((plain: Uint8Array) => Promise<Uint8Array>) | undefined,
  pool: BufferPool,
  signal: AbortSignal | undefined,
): AsyncGenerator<Chunk, void, undefined> {
  const work = async (index: number): Promise<Chunk> => {
    signal?.throwIfAborted();
    const buffer = pool.take();
    try {
      const plain = buffer.subarray(0, chunkLength(plainBytes, index));
      await read(index * CHUNK_BYTES, plain);
      const [digest, payload] = await Promise.all([sha256Digest(plain), pack ? pack(plain) : plain]);
      return { digest, crc: crc32(plain), payload, buffer };
    } catch (error) {
      pool.give(buffer);
      throw error;
    }
  };
  yield* mapAhead(Array(chunkCount(plainBytes)).keys(), CHUNKS_AHEAD, work);
}

export interface BlockDigest {
  readonly id: string;
  /** CRC32 of each plain chunk. */
  readonly crcs: readonly number[];
}

/** Name and checksums of a block, without storing it. */
export async function digestBlock(plainBytes: number, read: PlainReader, signal?: AbortSignal): Promise<BlockDigest> {
  const digests: Uint8Array[] = [];
  const crcs: number[] = [];
  for await (const { digest, crc, buffer } of chunksOf(plainBytes, read, undefined, chunkPool, signal)) {
    digests.push(digest);
    crcs.push(crc);
    chunkPool.give(buffer);
  }
  return { id: blockId(plainBytes, digests), crcs };
}

/** Writes a block at `startByte` of the part; the file is not synced. */
export async function writeBlock(
  part: StoreFile,
  startByte: number,
  { plainBytes, codec }: { readonly plainBytes: number; readonly codec: BlockCodec },
  read: PlainReader,
  { signal, pool = chunkPool }: { readonly signal?: AbortSignal | undefined; readonly pool?: BufferPool } = {},
): Promise<PackBlock> {
  const digests: Uint8Array[] = [];
  const crcs: number[] = [];
  const sizes: number[] = [];
  let headCrc = 0;
  let at = startByte;
  const pack = codec === "planes" ? packPlanes : undefined;
  for await (const { digest, crc, payload, buffer } of chunksOf(plainBytes, read, pack, pool, signal)) {
    try {
      await writeFully(part, payload, at);
      at += payload.byteLength;
      if (digests.length === 0) headCrc = crc;
      digests.push(digest);
      crcs.push(pack ? crc32(payload) : crc);
      sizes.push(payload.byteLength);
    } finally {
      pool.give(buffer);
    }
  }
  const padding = new Uint8Array(startByte + alignUp(at - startByte, BLOCK_ALIGNMENT_BYTES) - at);
  if (padding.byteLength > 0) {
    await writeFully(part, padding, at);
    crcs.push(crc32(padding, crcs.pop()));
  }
  const id = blockId(plainBytes, digests);
  return { id, codec, startByte, plainBytes, headCrc, crcs, sizes: pack && sizes };
}

/** Header, index and footer around blocks that are in place, which end before `endByte`. Syncs. Returns the pack's name. */
export async function finishPack(part: StoreFile, blocks: readonly PackBlock[], endByte: number): Promise<string> {
  const index = encodeIndex(blocks);
  await writeFully(part, encodeHeader(), 0);
  await part.truncate(endByte);
  await writeFully(part, index.bytes, endByte);
  await writeFully(part, encodeFooter(index, endByte, blocks.length), endByte + index.bytes.byteLength);
  await part.sync();
  return index.name;
}
