/** @file Tensors that lie within others, or otherwise than they are read: entries of a table as any other, nothing is copied ahead. */
import type { TensorEntry } from "../container/table.ts";
import type { ByteSource } from "../source/source.ts";
import { DTYPE_BYTES, elementCount } from "../tensor/dtype.ts";

/** Memory that a read through a view takes for itself. */
export const VIEW_BYTES = 256 * 1024;

/** Rows [from, to) of a tensor of one axis or more. */
export function rowsOf(entry: TensorEntry, from: number, to: number): TensorEntry {
  const [, ...rest] = entry.shape;
  const rowBytes = elementCount(rest) * DTYPE_BYTES[entry.dtype];
  const startByte = entry.startByte + from * rowBytes;
  return { ...entry, shape: [to - from, ...rest], startByte, endByte: startByte + (to - from) * rowBytes };
}

/** A matrix [K, N] read as [N, K]. */
export function transposed(entry: TensorEntry): TensorEntry {
  const [k, n] = entry.shape as [number, number];
  const byteLength = entry.endByte - entry.startByte;
  return { ...entry, shape: [n, k], source: new TransposedSource(entry, k, n), startByte: 0, endByte: byteLength };
}

class TransposedSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly file: ByteSource["file"];
  readonly readingBytes: number;
  readonly #entry: TensorEntry;
  readonly #rows: number;
  readonly #columns: number;

  constructor(entry: TensorEntry, rows: number, columns: number) {
    this.name = entry.source.name;
    this.byteLength = entry.endByte - entry.startByte;
    this.file = entry.source.file;
    this.readingBytes = VIEW_BYTES + (entry.source.readingBytes ?? 0);
    this.#entry = entry;
    this.#rows = rows;
    this.#columns = columns;
  }

  /** Goes over the whole matrix in pieces, and keeps what lies in the range. */
  async read(startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { dtype, source, startByte: base } = this.#entry;
    const size = DTYPE_BYTES[dtype];
    const [rows, columns] = [this.#rows, this.#columns];
    const endByte = startByte + into.byteLength;
    const rowBytes = columns * size;
    const atOnce = Math.max(1, Math.min(rows, Math.floor(VIEW_BYTES / rowBytes)));
    const memory = new Uint8Array(atOnce * rowBytes);
    // Columns of the stored matrix, rows of this one, that the range touches.
    const first = Math.floor(startByte / (rows * size));
    const last = Math.min(columns, Math.ceil(endByte / (rows * size)));
    for (let row = 0; row < rows; row += atOnce) {
      const count = Math.min(atOnce, rows - row);
      const piece = memory.subarray(0, count * rowBytes);
      await source.read(base + row * rowBytes, piece, signal);
      for (let column = first; column < last; column++) {
        let to = (column * rows + row) * size - startByte;
        let from = column * size;
        for (let i = 0; i < count; i++, from += rowBytes, to += size) {
          for (let byte = 0; byte < size; byte++) {
            const at = to + byte;
            if (at >= 0 && at < into.byteLength) into[at] = piece[from + byte]!;
          }
        }
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
