/**
 * @file Matrices that are made from an adapter's factors row by row, in fp32, so that none is ever whole in memory but the small ones:
 * stored ones, products, elementwise and Kronecker products, Tucker's core with its factors.
 */
import type { TensorEntry } from "../../container/table.ts";
import { DTYPE_BYTES, elementCount, widenInPlace } from "../../tensor/dtype.ts";
import { PackedMatrix, packedBytes } from "./packed-matrix.ts";

/** Fills `into` [to - from, columns] with rows from..to. */
export type RowReader = (from: number, to: number, into: Float32Array) => Promise<void>;

export interface Rows {
  readonly rows: number;
  readonly columns: number;
  /** Rows are made so many at a time. Default: 1. */
  readonly unitRows?: number;
  /** Memory that making `stripRows` rows at a time takes, beside those rows. */
  memoryBytes(stripRows: number): number;
  /** Reads what is needed for every row. */
  begin(signal?: AbortSignal): Promise<RowReader>;
}

/** A tensor as it lies in the file, as a matrix of so many rows. */
export function storedRows(entry: TensorEntry, rows = entry.shape[0] ?? 1): Rows {
  const columns = elementCount(entry.shape) / rows;
  const rowBytes = columns * DTYPE_BYTES[entry.dtype];
  return {
    rows,
    columns,
    memoryBytes: () => entry.source.readingBytes ?? 0,
    begin: async (signal) => async (from, to, into) => {
      const bytes = new Uint8Array(into.buffer, into.byteOffset, 4 * (to - from) * columns);
      const stored = bytes.subarray(bytes.byteLength - (to - from) * rowBytes);
      await entry.source.read(entry.startByte + from * rowBytes, stored, signal);
      if (entry.dtype !== "f32") widenInPlace(entry.dtype, bytes);
    },
  };
}

/** a [M, R] times b [R, N]; b is held. */
export function product(a: Rows, b: Rows): Rows {
  const { rows, columns: rank } = a;
  const { columns } = b;
  return {
    rows,
    columns,
    memoryBytes: (strip) =>
      a.memoryBytes(strip) + 4 * strip * rank + b.memoryBytes(1) + 4 * columns + packedBytes(rank, columns),
    async begin(signal) {
      const [left, right] = [await a.begin(signal), await b.begin(signal)];
      const packed = new PackedMatrix(rank, columns);
      const row = new Float32Array(columns);
      for (let r = 0; r < rank; r++) {
        await right(r, r + 1, row);
        packed.setRow(r, row);
      }
      let scratch = new Float32Array(0);
      return async (from, to, into) => {
        const count = to - from;
        if (scratch.length < count * rank) scratch = new Float32Array(count * rank);
        await left(from, to, scratch);
        packed.multiply(scratch, count, into);
      };
    },
  };
}

/** [M, R1 R2]: in each row every value of a's [M, R1] times every one of b's [M, R2]. */
export function rowProducts(a: Rows, b: Rows): Rows {
  const columns = a.columns * b.columns;
  return {
    rows: a.rows,
    columns,
    memoryBytes: (strip) => a.memoryBytes(strip) + b.memoryBytes(strip) + 4 * strip * (a.columns + b.columns),
    async begin(signal) {
      const [left, right] = [await a.begin(signal), await b.begin(signal)];
      let [first, second] = [new Float32Array(0), new Float32Array(0)];
      return async (from, to, into) => {
        const count = to - from;
        if (first.length < count * a.columns) first = new Float32Array(count * a.columns);
        if (second.length < count * b.columns) second = new Float32Array(count * b.columns);
        await left(from, to, first);
        await right(from, to, second);
        for (let row = 0, at = 0; row < count; row++) {
          for (let i = row * a.columns; i < (row + 1) * a.columns; i++) {
            const factor = first[i]!;
            for (let j = row * b.columns; j < (row + 1) * b.columns; j++) into[at++] = factor * second[j]!;
          }
        }
      };
    },
  };
}

/** [R1 R2, N]: row i R2 + j is a's row i times b's row j, value by value. */
export function pairedRows(a: Rows, b: Rows): Rows {
  const { columns } = a;
  return {
    rows: a.rows * b.rows,
    columns,
    memoryBytes: () => a.memoryBytes(1) + b.memoryBytes(1) + 4 * columns,
    async begin(signal) {
      const [left, right] = [await a.begin(signal), await b.begin(signal)];
      const factors = new Float32Array(columns);
      return async (from, to, into) => {
        for (let row = from; row < to; row++) {
          const i = Math.floor(row / b.rows);
          if (row === from || row % b.rows === 0) await left(i, i + 1, factors);
          const line = into.subarray((row - from) * columns, (row - from + 1) * columns);
          await right(row % b.rows, (row % b.rows) + 1, line);
          for (let k = 0; k < columns; k++) line[k] = line[k]! * factors[k]!;
        }
      };
    },
  };
}

/** Ones along the diagonal. */
export function identity(side: number): Rows {
  return {
    rows: side,
    columns: side,
    memoryBytes: () => 0,
    begin: async () => async (from, to, into) => {
      into.fill(0, 0, (to - from) * side);
      for (let row = from; row < to; row++) into[(row - from) * side + row] = 1;
    },
  };
}

/** a * b * scale, value by value. */
export function elementwise(a: Rows, b: Rows, scale: number): Rows {
  const { rows, columns } = a;
  return {
    rows,
    columns,
    memoryBytes: (strip) => a.memoryBytes(strip) + b.memoryBytes(strip) + 4 * strip * columns,
    async begin(signal) {
      const [left, right] = [await a.begin(signal), await b.begin(signal)];
      let scratch = new Float32Array(0);
      return async (from, to, into) => {
        const count = (to - from) * columns;
        if (scratch.length < count) scratch = new Float32Array(count);
        await left(from, to, into);
        await right(from, to, scratch);
        for (let i = 0; i < count; i++) into[i] = into[i]! * scratch[i]! * scale;
      };
    },
  };
}

/** The Kronecker product of a [A, B] and b [C, D], times `scale`: [A C, B D]. Columns of a convolution's b are [D / taps, taps]. */
export function kronecker(a: Rows, b: Rows, scale: number): Rows {
  const columns = a.columns * b.columns;
  return {
    rows: a.rows * b.rows,
    columns,
    memoryBytes: (strip) => {
      const inner = Math.min(strip, b.rows);
      return a.memoryBytes(1) + 4 * a.columns + b.memoryBytes(inner) + 4 * inner * b.columns;
    },
    async begin(signal) {
      const [left, right] = [await a.begin(signal), await b.begin(signal)];
      const factors = new Float32Array(a.columns);
      let scratch = new Float32Array(0);
      return async (from, to, into) => {
        for (let row = from; row < to; ) {
          const [outer, inner] = [Math.floor(row / b.rows), row % b.rows];
          const count = Math.min(to - row, b.rows - inner);
          if (scratch.length < count * b.columns) scratch = new Float32Array(count * b.columns);
          await left(outer, outer + 1, factors);
          await right(inner, inner + count, scratch);
          for (let i = 0; i < count; i++) {
            const [first, last] = [i * b.columns, (i + 1) * b.columns];
            let at = (row - from + i) * columns;
            for (let j = 0; j < a.columns; j++) {
              const factor = factors[j]! * scale;
              for (let k = first; k < last; k++) into[at++] = factor * scratch[k]!;
            }
          }
          row += count;
        }
      };
    },
  };
}

/**
 * sum over i, j of core[i, j, taps] a[i, out] b[j, in], as rows of [in, taps] (LyCORIS's rebuild_tucker). All three are held: they are as small as the rank.
 */
export function tucker(core: TensorEntry, a: TensorEntry, b: TensorEntry): Rows {
  const [rankA, rankB, ...taps] = core.shape as [number, number, ...number[]];
  const [rows, inputs, tapCount] = [a.shape[1]!, b.shape[1]!, elementCount(taps)];
  const parts = [core, a, b].map((entry) => storedRows(entry));
  return {
    rows,
    columns: inputs * tapCount,
    memoryBytes: () =>
      4 * (elementCount(core.shape) + elementCount(a.shape) + elementCount(b.shape) + rankB * tapCount),
    async begin(signal) {
      const [g, u, v] = [
        await whole(parts[0]!, signal),
        await whole(parts[1]!, signal),
        await whole(parts[2]!, signal),
      ];
      const mixed = new Float32Array(rankB * tapCount); // [rankB, taps]
      return async (from, to, into) => {
        for (let row = from; row < to; row++) {
          mixed.fill(0);
          for (let i = 0; i < rankA; i++) {
            const factor = u[i * rows + row]!;
            const at = i * mixed.length;
            for (let k = 0; k < mixed.length; k++) mixed[k] = mixed[k]! + factor * g[at + k]!;
          }
          const out = into.subarray((row - from) * inputs * tapCount, (row - from + 1) * inputs * tapCount).fill(0);
          for (let j = 0; j < rankB; j++) {
            for (let input = 0; input < inputs; input++) {
              const factor = v[j * inputs + input]!;
              for (let tap = 0; tap < tapCount; tap++) {
                const at = input * tapCount + tap;
                out[at] = out[at]! + factor * mixed[j * tapCount + tap]!;
              }
            }
          }
        }
      };
    },
  };
}

/** Rows from..from + count of others; both are whole units. */
export function slice(of: Rows, from: number, count: number): Rows {
  return {
    ...of,
    rows: count,
    memoryBytes: (strip) => of.memoryBytes(strip),
    async begin(signal) {
      const read = await of.begin(signal);
      return async (first, last, into) => await read(from + first, from + last, into);
    },
  };
}

/** Each value changed. */
export function mapped(rows: Rows, change: (value: number) => number): Rows {
  return {
    ...rows,
    memoryBytes: (strip) => rows.memoryBytes(strip),
    async begin(signal) {
      const read = await rows.begin(signal);
      return async (from, to, into) => {
        await read(from, to, into);
        const count = (to - from) * rows.columns;
        for (let i = 0; i < count; i++) into[i] = change(into[i]!);
      };
    },
  };
}

async function whole(rows: Rows, signal?: AbortSignal): Promise<Float32Array> {
  const read = await rows.begin(signal);
  const all = new Float32Array(rows.rows * rows.columns);
  await read(0, rows.rows, all);
  return all;
}
