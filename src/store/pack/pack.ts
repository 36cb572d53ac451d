/**
 * @file Reads blocks from a pack. Each chunk is checked against its CRC32 the first time it is read, and again when the file
 * changed; whole chunks of plain blocks go straight into the caller's memory.
 */
import { sha256Digest } from "#hash";
import { crc32 } from "#zlib";
import { unpackPlanes } from "../../codec/byte-planes.ts";
import type { ByteRange } from "../../source/source.ts";
import { damaged, MAX_IO_BYTES, readFully, type StoreFile, type StoreFs } from "../fs.ts";
import { CHUNK_BYTES, chunkLength } from "./block-layout.ts";
import { BufferPool, forEachConcurrent, mapAhead } from "./concurrency.ts";
import { blockId } from "./digest.ts";
import {
  type ChunkPlace,
  chunkPlaces,
  decodeFooter,
  decodeIndex,
  extentBytes,
  FOOTER_BYTES,
  HEADER_BYTES,
  largestChunkBytes,
  type PackBlock,
  requireHeader,
} from "./pack-format.ts";
import type { ReadMeter } from "./read-meter.ts";

/** Reads in flight: as many as libuv has threads by default. */
const LANES = 4;

export interface ReadOptions {
  readonly signal?: AbortSignal;
  readonly meter?: ReadMeter;
}

interface OpenBlock {
  readonly block: PackBlock;
  readonly chunks: readonly ChunkPlace[];
  /** One flag a chunk: read and found sound since the file last changed. */
  readonly checked: Uint8Array;
}

export class Pack implements AsyncDisposable {
  readonly name: string;
  /** In the order of the file. */
  readonly blocks: readonly PackBlock[];
  readonly sizeBytes: number;
  readonly #file: StoreFile;
  readonly #subject: string;
  readonly #indexStart: number;
  readonly #open = new Map<string, OpenBlock>();
  readonly #scratch: BufferPool;
  #stamp: string;

  private constructor(
    file: StoreFile,
    name: string,
    sizeBytes: number,
    stamp: string,
    indexStart: number,
    blocks: PackBlock[],
  ) {
    this.#file = file;
    this.name = name;
    this.#subject = packSubject(name);
    this.sizeBytes = sizeBytes;
    this.#scratch = new BufferPool(largestChunkBytes(blocks));
    this.#stamp = stamp;
    this.#indexStart = indexStart;
    this.blocks = blocks;
    for (const block of blocks)
      this.#open.set(block.id, { block, chunks: chunkPlaces(block), checked: new Uint8Array(block.crcs.length) });
  }

  /** Checks header, footer, index and sizes. Throws ArtifactError `E_STORE_DAMAGED`. */
  static async open(fs: StoreFs, path: string, name: string): Promise<Pack> {
    const subject = packSubject(name);
    if (!(await fs.stat(path))) throw damaged(subject, "the pack is not there");
    const file = await fs.open(path, "read");
    try {
      const { sizeBytes, stamp } = await file.stat();
      if (sizeBytes < HEADER_BYTES + FOOTER_BYTES) throw damaged(subject, `cut off (found ${sizeBytes} bytes)`);
      const read = async (startByte: number, lengthBytes: number) => {
        const bytes = new Uint8Array(lengthBytes);
        await readFully(file, bytes, startByte, subject);
        return bytes;
      };
      requireHeader(await read(0, HEADER_BYTES), subject);
      const footer = decodeFooter(await read(sizeBytes - FOOTER_BYTES, FOOTER_BYTES), sizeBytes, subject);
      const blocks = decodeIndex(await read(footer.indexStart, footer.indexBytes), footer, name, subject);
      return new Pack(file, name, sizeBytes, stamp, footer.indexStart, blocks);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get(id: string): PackBlock | undefined {
    return this.#open.get(id)?.block;
  }

  /** Fills `into` with plain bytes of the block from `startByte` on. `label` is for messages. */
  async readPlain(
    id: string,
    startByte: number,
    into: Uint8Array,
    label: string,
    { signal, meter }: ReadOptions = {},
  ): Promise<void> {
    const open = this.#open.get(id);
    if (!open) throw damaged(this.#subject, `block ${label} is not in this pack`);
    const endByte = startByte + into.byteLength;
    if (startByte < 0 || endByte > open.block.plainBytes) {
      throw new RangeError(`block ${label}: bytes ${startByte}..${endByte} of ${open.block.plainBytes}`);
    }
    if (into.byteLength === 0) return;
    signal?.throwIfAborted();
    await this.#noticeChange();
    await forEachConcurrent(this.#pieces(open, startByte, endByte), LANES, async ({ first, last, from, to }) => {
      signal?.throwIfAborted();
      const target = into.subarray(from - startByte, to - startByte);
      const direct = open.block.codec === "plain" && this.#coversOrChecked(open, first, last, from, to);
      if (direct) {
        await readFully(this.#file, target, open.block.startByte + from, this.#subject);
        if (meter) meter.diskBytes += target.byteLength;
        for (let chunk = first; chunk <= last; chunk++) {
          if (open.checked[chunk]) continue;
          const at = chunk * CHUNK_BYTES - from;
          this.#check(open, chunk, target.subarray(at, at + open.chunks[chunk]!.coveredBytes), label);
        }
      } else {
        await this.#readChunk(open, first, from - first * CHUNK_BYTES, target, label, meter);
      }
    });
  }

  /** Reads the whole block: its checksums, its decoding and its name. Returns what is wrong, or undefined. */
  async problemOf(id: string, label: string, signal?: AbortSignal): Promise<string | undefined> {
    const open = this.#open.get(id);
    if (!open) return `block ${label} is not in pack ${this.name}`;
    open.checked.fill(0);
    const digests: Uint8Array[] = [];
    const work = async (chunk: number) => {
      const buffer = this.#scratch.take();
      try {
        const plain = buffer.subarray(0, chunkLength(open.block.plainBytes, chunk));
        await this.readPlain(id, chunk * CHUNK_BYTES, plain, label, { signal });
        return await sha256Digest(plain);
      } finally {
        this.#scratch.give(buffer);
      }
    };
    try {
      for await (const digest of mapAhead(open.chunks.keys(), LANES, work)) digests.push(digest);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof Error && "code" in error && error.code === "E_STORE_DAMAGED") return error.message;
      throw error;
    }
    const found = blockId(open.block.plainBytes, digests);
    return found === id
      ? undefined
      : `block ${label}: content ${found.slice(0, 12)}..., its name is ${id.slice(0, 12)}...`;
  }

  /** Room between blocks that was never written. */
  gaps(): ByteRange[] {
    const gaps: ByteRange[] = [];
    let end = HEADER_BYTES;
    for (const block of this.blocks) {
      if (block.startByte > end) gaps.push({ startByte: end, endByte: block.startByte });
      end = block.startByte + extentBytes(block);
    }
    if (this.#indexStart > end) gaps.push({ startByte: end, endByte: this.#indexStart });
    return gaps;
  }

  /** Gaps must be zero. Returns what is wrong, or undefined. */
  async problemOfGaps(signal?: AbortSignal): Promise<string | undefined> {
    const buffer = this.#scratch.take();
    try {
      for (const { startByte, endByte } of this.gaps()) {
        for (let at = startByte; at < endByte; at += buffer.byteLength) {
          signal?.throwIfAborted();
          const part = buffer.subarray(0, Math.min(buffer.byteLength, endByte - at));
          await readFully(this.#file, part, at, this.#subject);
          const bad = part.findIndex((byte) => byte !== 0);
          if (bad >= 0) return `${this.#subject}: unused bytes are not zero at byte ${at + bad}`;
        }
      }
    } finally {
      this.#scratch.give(buffer);
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #noticeChange(): Promise<void> {
    const { sizeBytes, stamp } = await this.#file.stat();
    if (sizeBytes !== this.sizeBytes)
      throw damaged(this.#subject, `its size changed from ${this.sizeBytes} to ${sizeBytes}`);
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    for (const { checked } of this.#open.values()) checked.fill(0);
  }

  /** One chunk each where chunks must be decoded or looked at whole; else as large as a read call gets. */
  #pieces(open: OpenBlock, startByte: number, endByte: number): Piece[] {
    const pieces: Piece[] = [];
    for (let from = startByte; from < endByte; ) {
      const first = Math.floor(from / CHUNK_BYTES);
      let to = Math.min(endByte, (first + 1) * CHUNK_BYTES);
      let last = first;
      if (open.block.codec === "plain" && this.#coversOrChecked(open, first, first, from, to)) {
        while (to < endByte && to - from < MAX_IO_BYTES - CHUNK_BYTES) {
          const more = Math.min(endByte, to + CHUNK_BYTES);
          if (!this.#coversOrChecked(open, last + 1, last + 1, to, more)) break;
          last++;
          to = more;
        }
      }
      pieces.push({ first, last, from, to });
      from = to;
    }
    return pieces;
  }

  /** Whether each of these chunks is either known to be sound or read as a whole. */
  #coversOrChecked(open: OpenBlock, first: number, last: number, from: number, to: number): boolean {
    for (let chunk = first; chunk <= last; chunk++) {
      const start = chunk * CHUNK_BYTES;
      const whole = from <= start && to >= start + chunkLength(open.block.plainBytes, chunk);
      if (!whole && !open.checked[chunk]) return false;
    }
    return true;
  }

  /** Part of one chunk by way of a scratch buffer. */
  async #readChunk(
    open: OpenBlock,
    chunk: number,
    skipBytes: number,
    target: Uint8Array,
    label: string,
    meter: ReadMeter | undefined,
  ): Promise<void> {
    const { startByte, storedBytes, coveredBytes } = open.chunks[chunk]!;
    const length = chunkLength(open.block.plainBytes, chunk);
    const scratch = this.#scratch.take();
    const plainScratch = target.byteLength === length ? undefined : this.#scratch.take();
    try {
      const covered = scratch.subarray(0, coveredBytes);
      await readFully(this.#file, covered, startByte, this.#subject);
      if (meter) meter.diskBytes += coveredBytes;
      if (!open.checked[chunk]) this.#check(open, chunk, covered, label);
      const stored = covered.subarray(0, storedBytes);
      if (open.block.codec === "plain") {
        target.set(stored.subarray(skipBytes, skipBytes + target.byteLength));
        return;
      }
      const plain = plainScratch?.subarray(0, length) ?? target;
      const unpack = () => unpackPlanes(stored, plain);
      const problem = await (meter?.unpacking(unpack) ?? unpack());
      if (problem) throw this.#damagedChunk(open, chunk, label, problem);
      if (plainScratch) target.set(plain.subarray(skipBytes, skipBytes + target.byteLength));
    } finally {
      this.#scratch.give(scratch);
      if (plainScratch) this.#scratch.give(plainScratch);
    }
  }

  #check(open: OpenBlock, chunk: number, bytes: Uint8Array, label: string): void {
    const found = crc32(bytes);
    const expected = open.block.crcs[chunk]!;
    if (found !== expected) {
      const hex = (crc: number) => crc.toString(16).padStart(8, "0");
      throw this.#damagedChunk(open, chunk, label, `checksum differs (found ${hex(found)}, expected ${hex(expected)})`);
    }
    open.checked[chunk] = 1;
  }

  #damagedChunk(open: OpenBlock, chunk: number, label: string, problem: string): Error {
    const at = open.chunks[chunk]!.startByte;
    return damaged(this.#subject, `block ${label}, chunk ${chunk}: ${problem} at byte ${at}`);
  }
}

interface Piece {
  readonly first: number;
  readonly last: number;
  /** Plain bytes of the block. */
  readonly from: number;
  readonly to: number;
}

function packSubject(name: string): string {
  return `pack ${name.slice(0, 12)}`;
}
