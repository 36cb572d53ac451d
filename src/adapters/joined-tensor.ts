/** @file Several tensors as one, read as any entry of a table: one above the other, or side by side. Nothing is copied ahead. */
import type { TensorEntry } from "../container/table.ts";
import type { ByteSource } from "../source/source.ts";
import { DTYPE_BYTES, type DType, elementCount, toFloat32 } from "../tensor/dtype.ts";

/** Elements that a read takes at once from one of the tensors. */
const PIECE_ELEMENTS = 65536;

/**
 * Tensors [N, ...] of one shape but for their first axis ("rows") or their second ("columns": [N, R]) as one. Of one dtype they keep it; else all
 * become fp32, exactly.
 */
export function joinedTensor(tensors: readonly TensorEntry[], axis: "rows" | "columns"): TensorEntry {
  const [first] = tensors as [TensorEntry, ...TensorEntry[]];
  const at = axis === "rows" ? 0 : 1;
  const joined = tensors.reduce((sum, { shape }) => sum + shape[at]!, 0);
  const shape = first.shape.map((dim, i) => (i === at ? joined : dim));
  if (tensors.length === 1) return first;
  const dtype = tensors.every((tensor) => tensor.dtype === first.dtype) ? first.dtype : "f32";
  const source = new JoinedSource(tensors, dtype, axis === "rows" ? 1 : first.shape[0]!);
  return { ...first, dtype, shape, source, startByte: 0, endByte: source.byteLength };
}

interface Part {
  readonly tensor: TensorEntry;
  /** Elements of a row, and where in the joined row they begin. */
  readonly width: number;
  readonly column: number;
}

class JoinedSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly readingBytes: number;
  readonly #parts: readonly Part[];
  readonly #dtype: DType;
  readonly #rows: number;
  /** Elements of a joined row. */
  readonly #width: number;

  constructor(tensors: readonly TensorEntry[], dtype: DType, rows: number) {
    let column = 0;
    this.#parts = tensors.map((tensor) => {
      const width = elementCount(tensor.shape) / rows;
      column += width;
      return { tensor, width, column: column - width };
    });
    this.#dtype = dtype;
    this.#rows = rows;
    this.#width = column;
    this.byteLength = rows * column * DTYPE_BYTES[dtype];
    this.name = tensors[0]!.source.name;
    const below = Math.max(...tensors.map(({ source }) => source.readingBytes ?? 0));
    this.readingBytes = below + PIECE_ELEMENTS * (DTYPE_BYTES[dtype] + 4);
  }

  async read(startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const size = DTYPE_BYTES[this.#dtype];
    // Elements that the range touches, and rows.
    const [from, to] = [Math.floor(startByte / size), Math.ceil((startByte + into.byteLength) / size)];
    const [firstRow, endRow] = [Math.floor(from / this.#width), Math.ceil(to / this.#width)];
    for (const part of this.#parts) {
      const { width, column } = part;
      // Of a single row only what is wanted; rows of several are short, and are read whole.
      const single = this.#rows === 1;
      const first = single ? Math.max(0, from - column) : firstRow * width;
      const end = single ? Math.min(width, to - column) : endRow * width;
      const atOnce = single ? PIECE_ELEMENTS : Math.max(1, Math.floor(PIECE_ELEMENTS / width)) * width;
      for (let at = first; at < end; at += atOnce) {
        const piece = await this.#piece(part, at, Math.min(end, at + atOnce), signal);
        for (let done = 0; done < piece.byteLength; ) {
          const element = at + done / size;
          const length = Math.min(piece.byteLength - done, (width - (element % width)) * size);
          const place = (Math.floor(element / width) * this.#width + column + (element % width)) * size - startByte;
          const cut = Math.max(0, -place);
          const kept = piece.subarray(done + cut, done + Math.max(cut, Math.min(length, into.byteLength - place)));
          if (kept.byteLength > 0) into.set(kept, place + cut);
          done += length;
        }
      }
    }
  }

  /** Elements [from, to) of a part in the joined dtype. */
  async #piece({ tensor }: Part, from: number, to: number, signal?: AbortSignal): Promise<Uint8Array> {
    const size = DTYPE_BYTES[tensor.dtype];
    const bytes = new Uint8Array((to - from) * size);
    await tensor.source.read(tensor.startByte + from * size, bytes, signal);
    if (tensor.dtype === this.#dtype) return bytes;
    const values = toFloat32(tensor.dtype, bytes);
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
