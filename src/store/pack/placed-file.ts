/** @file A pack that is being made, in which every block has its place from the start: so tensors can come in any order. */
import { crc32 } from "#zlib";
import type { TensorTable } from "../../container/table.ts";
import type { PlacedTensor } from "../../tensor/placement.ts";
import { readFully, type StoreFile, writeFully } from "../fs.ts";
import { type BlockLayout, CHUNK_BYTES } from "./block-layout.ts";
import { cutAtChunks } from "./chunk-sums.ts";
import { HEADER_BYTES } from "./pack-format.ts";
import type { PlainReader } from "./pack-writer.ts";

export interface Place {
  /** Index of the block. */
  readonly block: number;
  readonly tensor: PlacedTensor;
  /** In the file. */
  readonly startByte: number;
}

/** Every tensor of SDXL is one call: the event loop, which starts the next call, is busy with decoding meanwhile. */
const MAX_WRITE_BYTES = 64 * 1024 ** 2;

const SUBJECT = "the part of an import";

export class PlacedFile {
  readonly file: StoreFile;
  readonly layouts: readonly BlockLayout[];
  /** Of each block. */
  readonly starts: readonly number[];
  readonly endByte: number;
  readonly places = new Map<string, Place>();
  /** One tensor after the other: the system lets one thread at a time write to a file, and more would only block each other. */
  readonly #writing: Promise<void>[] = [];
  #failure: { readonly error: unknown } | undefined;

  constructor(file: StoreFile, layouts: readonly BlockLayout[]) {
    this.file = file;
    this.layouts = layouts;
    let end = HEADER_BYTES;
    this.starts = layouts.map((layout, block) => {
      const start = end;
      for (const tensor of layout.tensors) {
        this.places.set(tensor.name, { block, tensor, startByte: start + tensor.offsetBytes });
      }
      end += layout.plainBytes;
      return start;
    });
    this.endByte = end;
  }

  /** Writes a tensor, after those before it. Resolves when its bytes are free; what failed is thrown by `written`. */
  write(startByte: number, bytes: Uint8Array): Promise<void> {
    const before = this.#writing.at(-1);
    const work = async () => {
      await before;
      try {
        if (!this.#failure) await writeFully(this.file, bytes, startByte, MAX_WRITE_BYTES);
      } catch (error) {
        this.#failure ??= { error };
      } finally {
        void this.#writing.shift();
      }
    };
    const writing = work();
    this.#writing.push(writing);
    return writing;
  }

  /** What was started before the call is written when this resolves. */
  async written(): Promise<void> {
    await this.#writing.at(-1);
    this.throwFailure();
  }

  /** What an earlier write failed with. */
  throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  reader(index: number): PlainReader {
    return (startByte, into) => readFully(this.file, into, this.starts[index]! + startByte, SUBJECT);
  }

  /** Whether a tensor of so many bytes is in place, piece by piece. */
  async hasPieces({ startByte, tensor }: Place, lengthBytes: number, crcs: readonly number[]): Promise<boolean> {
    const buffer = new Uint8Array(CHUNK_BYTES);
    const pieces = cutAtChunks(tensor.offsetBytes, lengthBytes);
    if (pieces.length !== crcs.length) return false;
    for (const [i, [from, to]] of pieces.entries()) {
      const piece = buffer.subarray(0, to - from);
      await readFully(this.file, piece, startByte + from - tensor.offsetBytes, SUBJECT);
      if (crc32(piece) !== crcs[i]) return false;
    }
    return true;
  }

  /** Copies a tensor from a table to its place. */
  async copy(name: string, table: TensorTable, signal?: AbortSignal): Promise<void> {
    const { source, startByte, endByte } = table.get(name)!;
    const to = this.places.get(name)!.startByte;
    const buffer = new Uint8Array(Math.min(CHUNK_BYTES, endByte - startByte));
    for (let at = startByte; at < endByte; at += CHUNK_BYTES) {
      const piece = buffer.subarray(0, Math.min(CHUNK_BYTES, endByte - at));
      await source.read(at, piece, signal);
      await writeFully(this.file, piece, to + (at - startByte));
    }
  }

  async zero(index: number): Promise<void> {
    const { plainBytes } = this.layouts[index]!;
    const zeros = new Uint8Array(Math.min(plainBytes, CHUNK_BYTES));
    for (let done = 0; done < plainBytes; done += zeros.byteLength) {
      const piece = zeros.subarray(0, Math.min(zeros.byteLength, plainBytes - done));
      await writeFully(this.file, piece, this.starts[index]! + done);
    }
  }
}
