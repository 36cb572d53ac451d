/**
 * @file The bytes of a pack: header, blocks, index, footer (docs/formats/block-store.md). Every byte is under some checksum:
 * blocks by CRC32 a chunk, the index by its sha256, which is the pack's name, the footer by a CRC32, the header by being known.
 */

import { sha256Hex } from "#hash";
import { crc32 } from "#zlib";
import { fromHex, toHex } from "../../source/hex.ts";
import { alignUp } from "../../tensor/align.ts";
import { Field, HEX64 } from "../fields.ts";
import { damaged } from "../fs.ts";
import { BLOCK_ALIGNMENT_BYTES, chunkCount, chunkLength } from "./block-layout.ts";

/** "plain": the bytes themselves. "planes": 16-bit weights by byte planes (codec/byte-planes.ts). */
export type BlockCodec = "plain" | "planes";

/** A block within a pack. */
export interface PackBlock {
  /** Content address: blockId() of the plain bytes. */
  readonly id: string;
  readonly codec: BlockCodec;
  /** In the pack; a multiple of `BLOCK_ALIGNMENT_BYTES`. */
  readonly startByte: number;
  readonly plainBytes: number;
  /** CRC32 of the first plain chunk: tells most other blocks of this length apart without reading them. */
  readonly headCrc: number;
  /** CRC32 of each chunk as stored; the last one covers the zeros up to the next block too. */
  readonly crcs: readonly number[];
  /** Stored length of each chunk; absent for plain blocks. */
  readonly sizes?: readonly number[];
}

const HEADER_TEXT = "SLVPACK1\nSolvay block store; see docs/formats/block-store.md\n";
const FOOTER_MAGIC = "SLVFOOT1";
const FORMAT = "solvay pack 1";
export const HEADER_BYTES = BLOCK_ALIGNMENT_BYTES;
export const FOOTER_BYTES = 64;
/** Full SDXL's index is below 200 kB. */
const MAX_INDEX_BYTES = 64 * 1024 ** 2;
const MAX_BLOCKS = 1_000_000;
const MAX_BLOCK_BYTES = 2 ** 40;

export function encodeHeader(): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(HEADER_BYTES);
  header.set(new TextEncoder().encode(HEADER_TEXT));
  return header;
}

const HEADER = encodeHeader();

export function requireHeader(header: Uint8Array, subject: string): void {
  for (let at = 0; at < HEADER_BYTES; at++)
    if (header[at] !== HEADER[at]) throw damaged(subject, `the header is damaged at byte ${at}`);
}

export interface EncodedIndex {
  readonly bytes: Uint8Array;
  /** sha256 of the bytes: the pack's name. */
  readonly name: string;
}

export function encodeIndex(blocks: readonly PackBlock[]): EncodedIndex {
  // The order of the fields is part of the format: the pack's name is a checksum of this text.
  const rows = blocks.map(({ id, codec, startByte, plainBytes, headCrc, crcs, sizes }) => {
    return { id, codec, startByte, plainBytes, headCrc, crcs, sizes };
  });
  const bytes = new TextEncoder().encode(JSON.stringify({ format: FORMAT, blocks: rows }));
  return { bytes, name: sha256Hex(bytes) };
}

export function encodeFooter(index: EncodedIndex, indexStart: number, blocks: number): Uint8Array {
  const footer = new Uint8Array(FOOTER_BYTES);
  const view = new DataView(footer.buffer);
  footer.set(new TextEncoder().encode(FOOTER_MAGIC));
  view.setBigUint64(8, BigInt(indexStart), true);
  view.setBigUint64(16, BigInt(index.bytes.byteLength), true);
  footer.set(fromHex(index.name), 24);
  view.setUint32(56, blocks, true);
  view.setUint32(60, crc32(footer.subarray(0, 60)), true);
  return footer;
}

export interface Footer {
  readonly indexStart: number;
  readonly indexBytes: number;
  readonly name: string;
  readonly blocks: number;
}

/** Throws ArtifactError `E_STORE_DAMAGED`. */
export function decodeFooter(footer: Uint8Array, sizeBytes: number, subject: string): Footer {
  const view = new DataView(footer.buffer, footer.byteOffset, FOOTER_BYTES);
  const found = crc32(footer.subarray(0, 60));
  if (found !== view.getUint32(60, true))
    throw damaged(subject, `the footer is damaged at byte ${sizeBytes - FOOTER_BYTES}`);
  const magic = String.fromCharCode(...footer.subarray(0, 8));
  if (magic !== FOOTER_MAGIC) throw damaged(subject, `not a pack (found ${JSON.stringify(magic)} in its footer)`);
  const indexStart = Number(view.getBigUint64(8, true));
  const indexBytes = Number(view.getBigUint64(16, true));
  if (
    indexBytes > MAX_INDEX_BYTES ||
    indexStart < HEADER_BYTES ||
    indexStart + indexBytes + FOOTER_BYTES !== sizeBytes
  ) {
    throw damaged(subject, `its footer places ${indexBytes} bytes of index at byte ${indexStart} of ${sizeBytes}`);
  }
  return {
    indexStart,
    indexBytes,
    name: toHex(footer.subarray(24, 56)),
    blocks: view.getUint32(56, true),
  };
}

/** Throws ArtifactError `E_STORE_DAMAGED`: the index must be the one that gave the pack its name, and make sense. */
export function decodeIndex(bytes: Uint8Array, footer: Footer, name: string, subject: string): PackBlock[] {
  const found = sha256Hex(bytes);
  if (found !== footer.name || found !== name)
    throw damaged(subject, `the index is damaged at byte ${footer.indexStart}`);
  const root = Field.parse(subject, new TextDecoder().decode(bytes));
  root.get("format").oneOf(FORMAT);
  const blocks = root.get("blocks").list(MAX_BLOCKS).map(decodePackBlock);
  let end = HEADER_BYTES;
  for (const block of blocks) {
    if (block.startByte < end) throw damaged(subject, `block ${block.id} overlaps the one before it`);
    end = block.startByte + extentBytes(block);
  }
  if (end > footer.indexStart) throw damaged(subject, `its blocks end at byte ${end}, behind the index`);
  if (blocks.length !== footer.blocks)
    throw damaged(subject, `${blocks.length} blocks, ${footer.blocks} in the footer`);
  return blocks;
}

/** Also read from a journal: hence strict by itself. */
export function decodePackBlock(field: Field): PackBlock {
  const codec = field.get("codec").oneOf("plain", "planes");
  const plainBytes = field.get("plainBytes").whole(1, MAX_BLOCK_BYTES);
  const startByte = field.get("startByte").whole(HEADER_BYTES, Number.MAX_SAFE_INTEGER);
  const chunks = chunkCount(plainBytes);
  const crcs = field
    .get("crcs")
    .list(chunks)
    .map((crc) => crc.whole(0, 0xffffffff));
  const sizes =
    codec === "plain"
      ? undefined
      : field
          .get("sizes")
          .list(chunks)
          .map((size, i) => size.whole(1, chunkLength(plainBytes, i)));
  const aligned = startByte % BLOCK_ALIGNMENT_BYTES === 0 && plainBytes % BLOCK_ALIGNMENT_BYTES === 0;
  if (!aligned || crcs.length !== chunks || (sizes && sizes.length !== chunks)) {
    throw damaged("block index", `a block of ${plainBytes} bytes at byte ${startByte} with ${crcs.length} checksums`);
  }
  return {
    id: field.get("id").text(HEX64),
    codec,
    startByte,
    plainBytes,
    headCrc: field.get("headCrc").whole(0, 0xffffffff),
    crcs,
    sizes,
  };
}

/** Stored bytes, without the zeros up to the next block. */
export function storedBytes({ plainBytes, sizes }: Pick<PackBlock, "plainBytes" | "sizes">): number {
  return sizes ? sizes.reduce((sum, size) => sum + size, 0) : plainBytes;
}

/** All that the block takes in the pack. */
export function extentBytes(block: Pick<PackBlock, "plainBytes" | "sizes">): number {
  return alignUp(storedBytes(block), BLOCK_ALIGNMENT_BYTES);
}

export interface ChunkPlace {
  /** In the pack. */
  readonly startByte: number;
  readonly storedBytes: number;
  /** What its checksum covers: with the zeros behind the last chunk. */
  readonly coveredBytes: number;
}

/** Of the largest chunk of these blocks, plain or as it is stored, whichever takes more. */
export function largestChunkBytes(blocks: readonly PackBlock[]): number {
  let largest = BLOCK_ALIGNMENT_BYTES;
  for (const block of blocks) {
    largest = Math.max(largest, chunkLength(block.plainBytes, 0));
    for (const { coveredBytes } of chunkPlaces(block)) largest = Math.max(largest, coveredBytes);
  }
  return largest;
}

export function chunkPlaces(block: PackBlock): ChunkPlace[] {
  const end = block.startByte + extentBytes(block);
  let at = block.startByte;
  return block.crcs.map((_, i) => {
    const stored = block.sizes?.[i] ?? chunkLength(block.plainBytes, i);
    const startByte = at;
    at += stored;
    const covered = i === block.crcs.length - 1 ? end - startByte : stored;
    return { startByte, storedBytes: stored, coveredBytes: covered };
  });
}
