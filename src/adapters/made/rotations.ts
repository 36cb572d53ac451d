/** @file Orthogonal matrices from the parameters that training keeps of them: Cayley's transform of skew-symmetric blocks, exact or as a series. */
import type { TensorEntry } from "../../container/table.ts";
import type { Rows } from "./rows.ts";
import { storedRows } from "./rows.ts";

/**
 * Blocks [b, k, k] (or [m, b, k, k]) of LyCORIS and kohya: Q = P - P^T, at most `constraint` long over all blocks (0: any length), R = (I + Q) (I - Q)^-1.
 * `transposed`: the weight is multiplied by R^T, as OFT's are.
 */
export function cayleyBlocks(blocks: TensorEntry, constraint: number, transposed: boolean): Rows {
  const side = blocks.shape.at(-1)!;
  const stored = storedRows(
    blocks,
    blocks.shape.slice(0, -1).reduce((a, b) => a * b, 1),
  );
  return {
    rows: stored.rows,
    columns: side,
    unitRows: side,
    memoryBytes: (strip) => stored.memoryBytes(strip) + 3 * 8 * side * side,
    async begin(signal) {
      const read = await stored.begin(signal);
      const left = new Float64Array(side * side);
      const right = new Float64Array(side * side);
      const q = new Float64Array(side * side);
      let shrink = 1;
      if (constraint > 0) {
        const block = new Float32Array(side * side);
        let squares = 0;
        for (let row = 0; row < stored.rows; row += side) {
          await read(row, row + side, block);
          skew(block, q, side);
          for (const value of q) squares += value * value;
        }
        const norm = Math.sqrt(squares);
        if (norm > constraint) shrink = constraint / norm;
      }
      return async (from, to, into) => {
        await read(from, to, into);
        for (let row = from; row < to; row += side) {
          signal?.throwIfAborted();
          const block = into.subarray((row - from) * side, (row - from + side) * side);
          skew(block, q, side);
          for (let i = 0; i < q.length; i++) {
            const identity = i % (side + 1) === 0 ? 1 : 0;
            left[i] = identity - shrink * q[i]!;
            right[i] = identity + shrink * q[i]!;
          }
          // (I - Q) and (I + Q) commute: R = (I - Q)^-1 (I + Q).
          solve(left, right, side);
          for (let i = 0; i < side; i++) {
            for (let j = 0; j < side; j++) block[i * side + j] = right[transposed ? j * side + i : i * side + j]!;
          }
        }
      };
    },
  };
}

/** Blocks [b, k, k] that are the rotations themselves, whose transposes the weight is multiplied by. */
export function transposedBlocks(blocks: TensorEntry): Rows {
  const side = blocks.shape.at(-1)!;
  const stored = storedRows(blocks, blocks.shape[0]! * side);
  return {
    ...stored,
    unitRows: side,
    memoryBytes: (strip) => stored.memoryBytes(strip),
    async begin(signal) {
      const read = await stored.begin(signal);
      return async (from, to, into) => {
        await read(from, to, into);
        for (let start = 0; start < (to - from) * side; start += side * side) {
          for (let i = 0; i < side; i++) {
            for (let j = 0; j < i; j++) {
              const [a, b] = [start + i * side + j, start + j * side + i];
              [into[a], into[b]] = [into[b]!, into[a]!];
            }
          }
        }
      };
    },
  };
}

/** Terms of peft's series, by its default (OFTConfig.num_cayley_neumann_terms). */
const SERIES_TERMS = 5;

/**
 * Blocks of peft's OFT from the upper triangles [b, k (k - 1) / 2]: R^T with R = I + 2 Q + 2 Q^2 + ... + Q^(terms - 1), the last term once. One row of
 * parameters stands for `count` blocks where peft shares them.
 */
export function seriesBlocks(triangles: TensorEntry, side: number, count: number): Rows {
  const stored = storedRows(triangles);
  return {
    rows: count * side,
    columns: side,
    unitRows: side,
    memoryBytes: () => stored.memoryBytes(1) + 4 * stored.columns + 4 * 8 * side * side,
    async begin(signal) {
      const read = await stored.begin(signal);
      const triangle = new Float32Array(stored.columns);
      const q = new Float64Array(side * side);
      const sum = new Float64Array(side * side);
      let [power, next] = [new Float64Array(side * side), new Float64Array(side * side)];
      return async (from, to, into) => {
        for (let row = from; row < to; row += side) {
          signal?.throwIfAborted();
          const block = stored.rows === 1 ? 0 : row / side;
          await read(block, block + 1, triangle);
          let at = 0;
          for (let i = 0; i < side; i++) {
            q[i * side + i] = 0;
            for (let j = i + 1; j < side; j++, at++) {
              q[i * side + j] = triangle[at]!;
              q[j * side + i] = -triangle[at]!;
            }
          }
          power.set(q);
          for (let i = 0; i < sum.length; i++) sum[i] = (i % (side + 1) === 0 ? 1 : 0) + 2 * q[i]!;
          for (let term = 2; term < SERIES_TERMS; term++) {
            multiplySquare(power, q, next, side);
            [power, next] = [next, power];
            const weight = term === SERIES_TERMS - 1 ? 1 : 2;
            for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + weight * power[i]!;
          }
          const out = into.subarray((row - from) * side, (row - from + side) * side);
          for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) out[i * side + j] = sum[j * side + i]!;
        }
      };
    },
  };
}

function skew(block: Float32Array, q: Float64Array, side: number): void {
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j++) q[i * side + j] = block[i * side + j]! - block[j * side + i]!;
  }
}

/** right = left^-1 right, by elimination. I - Q of a skew-symmetric Q has no eigenvalue smaller than 1: pivots are looked for all the same. */
function solve(left: Float64Array, right: Float64Array, side: number): void {
  for (let column = 0; column < side; column++) {
    let pivot = column;
    for (let row = column + 1; row < side; row++) {
      if (Math.abs(left[row * side + column]!) > Math.abs(left[pivot * side + column]!)) pivot = row;
    }
    if (pivot !== column) {
      exchangeRows(left, pivot, column, side);
      exchangeRows(right, pivot, column, side);
    }
    const inverse = 1 / left[column * side + column]!;
    for (let i = column; i < side; i++) left[column * side + i] = left[column * side + i]! * inverse;
    for (let i = 0; i < side; i++) right[column * side + i] = right[column * side + i]! * inverse;
    for (let row = 0; row < side; row++) {
      const factor = left[row * side + column]!;
      if (row === column || factor === 0) continue;
      for (let i = column; i < side; i++)
        left[row * side + i] = left[row * side + i]! - factor * left[column * side + i]!;
      for (let i = 0; i < side; i++)
        right[row * side + i] = right[row * side + i]! - factor * right[column * side + i]!;
    }
  }
}

function exchangeRows(matrix: Float64Array, a: number, b: number, side: number): void {
  const row = matrix.slice(a * side, (a + 1) * side);
  matrix.copyWithin(a * side, b * side, (b + 1) * side);
  matrix.set(row, b * side);
}

function multiplySquare(a: Float64Array, b: Float64Array, out: Float64Array, side: number): void {
  out.fill(0);
  for (let i = 0; i < side; i++) {
    for (let k = 0; k < side; k++) {
      const factor = a[i * side + k]!;
      for (let j = 0; j < side; j++) out[i * side + j] = out[i * side + j]! + factor * b[k * side + j]!;
    }
  }
}
