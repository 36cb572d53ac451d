/** @file Splits one tensor into lattice and overlay: which row fits, which codes, which cells are left to the overlay. */
import { f16Values } from "../tensor/dtype.ts";
import { rowLevels } from "./lattice.ts";
import { fitClosely, fitExactly } from "./ternary-fit.ts";

/**
 * `lossless`: every fp16 bit as given. `lossy`: the lattice holds all weights, and the overlay those `overlayFraction`
 * (0..1) of them that it holds worst.
 */
export type Lzr2Mode = { readonly kind: "lossless" } | { readonly kind: "lossy"; readonly overlayFraction: number };

/** A tensor [rows, columns] before it is packed. */
export interface RecordFit {
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  /** -1, 0 or 1 each; undefined if code 0 does for all of them. */
  readonly codes?: Int8Array;
  /** Cells of the overlay, ascending. */
  readonly overlay: Uint32Array;
  /** Largest difference to the given weights, after decoding. */
  readonly maxAbsError: number;
  readonly squaredError: number;
}

/** Bytes of an overlay row that a code in the lattice saves, against the two bytes of a block. */
const SAVED_BYTES = 8;

/** `weights` are fp16 bits, all finite; `blocks` the lattice blocks that a row would take. */
export function fitRecord(weights: Uint16Array, rows: number, blocks: number, mode: Lzr2Mode): RecordFit {
  const lossless = mode.kind === "lossless";
  const columns = weights.length / rows;
  const mean = new Float32Array(rows);
  const scale = new Float32Array(rows);
  const codes = new Int8Array(weights.length);
  const levels = new Uint16Array(rows * 3);
  let coded = 0;
  for (let row = 0; row < rows; row++) {
    const cells = weights.subarray(row * columns, (row + 1) * columns);
    const rowCodes = codes.subarray(row * columns, (row + 1) * columns);
    const rowValues = levels.subarray(row * 3, row * 3 + 3);
    const fit = lossless ? fitExactly(cells) : fitClosely(cells);
    mean[row] = fit.mean;
    scale[row] = fit.scale;
    rowValues.set(rowLevels(fit.mean, fit.scale));
    coded += lossless ? codeExactly(cells, rowCodes, rowValues) : codeNearest(cells, rowCodes, rowValues);
  }
  // Beside an overlay that can hold everything, indices must earn their place; a lossy record is its indices.
  const worthwhile = lossless ? coded * SAVED_BYTES > rows * blocks * 2 : coded > 0;
  if (!worthwhile) codes.fill(0);
  const lattice = { mean, scale, codes: worthwhile ? codes : undefined };
  if (lossless) {
    return { ...lattice, overlay: differing(weights, codes, levels, rows), maxAbsError: 0, squaredError: 0 };
  }
  const errors = cellErrors(weights, codes, levels, rows);
  const overlay = largest(errors, Math.round(mode.overlayFraction * weights.length));
  for (const cell of overlay) errors[cell] = 0;
  let maxAbsError = 0;
  let squaredError = 0;
  for (const error of errors) {
    if (error > maxAbsError) maxAbsError = error;
    squaredError += error * error;
  }
  return { ...lattice, overlay, maxAbsError, squaredError };
}

/** Sets the codes whose level is the weight, bit by bit. Returns how many of them are not 0. */
function codeExactly(cells: Uint16Array, codes: Int8Array, levels: Uint16Array): number {
  const [low, , high] = levels;
  const middle = levels[1];
  let coded = 0;
  for (let i = 0; i < cells.length; i++) {
    const bits = cells[i];
    if (bits === middle) continue;
    if (bits !== low && bits !== high) continue;
    codes[i] = bits === low ? -1 : 1;
    coded++;
  }
  return coded;
}

/** Sets the codes of the nearest levels. Returns how many of them are not 0. */
function codeNearest(cells: Uint16Array, codes: Int8Array, levels: Uint16Array): number {
  const table = f16Values();
  const [low, middle, high] = [table[levels[0]!]!, table[levels[1]!]!, table[levels[2]!]!];
  let coded = 0;
  for (let i = 0; i < cells.length; i++) {
    const value = table[cells[i]!]!;
    const toMiddle = Math.abs(value - middle);
    const [toLow, toHigh] = [Math.abs(value - low), Math.abs(value - high)];
    if (toMiddle <= toLow && toMiddle <= toHigh) continue;
    codes[i] = toLow < toHigh ? -1 : 1;
    coded++;
  }
  return coded;
}

/** |decoded - given| of every cell, without overlay. */
function cellErrors(weights: Uint16Array, codes: Int8Array, levels: Uint16Array, rows: number): Float32Array {
  const table = f16Values();
  const columns = weights.length / rows;
  const errors = new Float32Array(weights.length);
  for (let row = 0, cell = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, cell++) {
      const decoded = levels[row * 3 + codes[cell]! + 1]!;
      errors[cell] = Math.abs(table[decoded]! - table[weights[cell]!]!);
    }
  }
  return errors;
}

/** Cells whose decoded bits differ from the given ones, -0 and +0 included; ascending. */
function differing(weights: Uint16Array, codes: Int8Array, levels: Uint16Array, rows: number): Uint32Array {
  const columns = weights.length / rows;
  const cells = new Uint32Array(weights.length);
  let count = 0;
  for (let row = 0, cell = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, cell++) {
      if (levels[row * 3 + codes[cell]! + 1] !== weights[cell]) cells[count++] = cell;
    }
  }
  return cells.subarray(0, count);
}

/** The `count` cells with the largest errors, ascending; of equal errors the first ones. */
function largest(errors: Float32Array, count: number): Uint32Array {
  if (count === 0) return new Uint32Array(0);
  // Errors are not negative, so that their bits order as they do: two passes of counting find the smallest one to keep.
  const bits = new Uint32Array(errors.buffer, errors.byteOffset, errors.length);
  const upper = fromTop(bits, count, (word) => word >>> 16);
  const lower = fromTop(bits, upper.rest, (word) => (word >>> 16 === upper.value ? word & 0xffff : -1));
  const limit = upper.value * 65536 + lower.value;
  const cells = new Uint32Array(count);
  let equal = lower.rest;
  for (let cell = 0, found = 0; cell < bits.length && found < count; cell++) {
    const word = bits[cell]!;
    if (word < limit || (word === limit && equal-- <= 0)) continue;
    cells[found++] = cell;
  }
  return cells;
}

/** The digit at place `count` from the largest, and how many of the words with this digit are among the `count`. */
function fromTop(
  words: Uint32Array,
  count: number,
  digitOf: (word: number) => number,
): { value: number; rest: number } {
  const buckets = new Uint32Array(65536);
  for (const word of words) {
    const digit = digitOf(word);
    if (digit >= 0) buckets[digit]!++;
  }
  let rest = count;
  for (let value = 65535; value > 0; value--) {
    if (buckets[value]! >= rest) return { value, rest };
    rest -= buckets[value]!;
  }
  return { value: 0, rest };
}
