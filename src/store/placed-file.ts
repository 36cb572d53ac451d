/** @file A pack in the making where every block has its place from the start, so that tensors can come in any order. */
import type { TensorTable } from "../container/table.ts";
import { cutAtChunks } from "./chunk-sums.ts";
import { crc32 } from "./digest.ts";
import { readFully, type StoreFile, writeFully } from "./fs.ts";
import { type BlockLayout, CHUNK_BYTES, type StoredTensor } from "./layout.ts";
import { HEADER_BYTES } from "./pack-format.ts";
import type { PlainReader } from "./pack-writer.ts";

export interface Place {
  /** Index of the block. */
  readonly block: number;
  readonly tensor: StoredTensor;
  /** In the file. */
  readonly startByte: number;
}

/** Decoded tensors that wait to be written; beyond this, whoever decodes waits. */
const MAX_WRITING_BYTES = 32 * 1024 ** 2;
const SUBJECT = "the part of an import";

export class PlacedFile {
  readonly file: StoreFile;
  readonly layouts: readonly BlockLayout[];
  /** Of each block. */
  readonly starts: readonly number[];
  readonly endByte: number;
  readonly places = new Map<string, Place>();
  readonly #writing = new Set<Promise<void>>();
  #writingBytes = 0;
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

  /** Starts to write a tensor; `after` is called when its bytes are free. Resolves when there is room for the next one. */
  async write(place: Place, bytes: Uint8Array, after: () => void): Promise<void> {
    const writing = writeFully(this.file, bytes, place.startByte).finally(() => {
      this.#writing.delete(writing);
      this.#writingBytes -= bytes.byteLength;
      after();
    });
    writing.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    this.#writing.add(writing);
    this.#writingBytes += bytes.byteLength;
    while (this.#writingBytes > MAX_WRITING_BYTES) await Promise.race(this.#writing);
    this.#throwFailure();
  }

  /** What was started before the call is written when this resolves. */
  async written(): Promise<void> {
    await Promise.all([...this.#writing]);
    this.#throwFailure();
  }

  /** Also of a write that ended before anybody waited for it. */
  #throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Nothing is being written any more when this resolves, whatever became of it. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#writing]);
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
