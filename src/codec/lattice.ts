/**
 * @file The LZR2 lattice: codes of dimension dp are the product of (-1, 0, 1) taken dp times, first digit most significant.
 * Arithmetic is fp32, rounded after each operation, as the published loader's; a row holds three values only, so that the
 * cast to fp16 is done three times a row.
 */
import { numberToF16 } from "../tensor/dtype.ts";

/** An index is a u16, and 3^10 = 59,049 is the largest codebook that it can name. */
export const MAX_LATTICE_DIMENSION = 10;

/** 3^dp, the number of codes. */
export function codebookSize(dp: number): number {
  return 3 ** dp;
}

const codebooks = new Map<number, Int8Array>();

/** All codes, row-major [3^dp, dp]: 590,490 values at most. Made once for each dp. */
function codebook(dp: number): Int8Array {
  let codes = codebooks.get(dp);
  if (codes) return codes;
  const count = codebookSize(dp);
  codes = new Int8Array(count * dp);
  for (let index = 0; index < count; index++) {
    for (let digit = dp - 1, rest = index; digit >= 0; digit--) {
      codes[index * dp + digit] = (rest % 3) - 1;
      rest = Math.floor(rest / 3);
    }
  }
  codebooks.set(dp, codes);
  return codes;
}

/** fp16 bits of a row's three values, for the codes -1, 0 and 1: fp16((code + mean) scale). */
export function rowLevels(mean: number, scale: number): readonly [number, number, number] {
  const level = (code: number) => numberToF16(Math.fround(Math.fround(code + mean) * scale));
  return [level(-1), level(0), level(1)];
}

export interface LatticeShape {
  /** C: rows, one mean and scale each. */
  readonly rows: number;
  /** N: weights of a row. */
  readonly columns: number;
  readonly dp: number;
  /** Blocks of dp weights stored for each row; a row is cut, or padded with code 0, to N. */
  readonly blocks: number;
}

/** fp16 bits of all weights, row-major [rows, columns]; all of `out` is overwritten. Every index must be below `codebookSize(dp)`. */
export function decodeLattice<B extends ArrayBufferLike = ArrayBuffer>(
  shape: LatticeShape,
  indices: Uint16Array,
  mean: Float32Array,
  scale: Float32Array,
  out = new Uint16Array(shape.rows * shape.columns) as Uint16Array<B>,
): Uint16Array<B> {
  const { rows, columns, dp, blocks } = shape;
  const codes = codebook(dp);
  const coded = Math.min(columns, blocks * dp);
  // Two weights at a time where all rows begin at a whole word.
  const pairs =
    dp % 2 === 0 && columns % 2 === 0 && out.byteOffset % 4 === 0 && LITTLE_ENDIAN ? codePairs(dp) : undefined;
  const words = pairs && new Uint32Array(out.buffer, out.byteOffset, (rows * columns) / 2);
  const levels = new Uint16Array(3);
  const levelPairs = new Uint32Array(9);
  for (let row = 0; row < rows; row++) {
    levels.set(rowLevels(mean[row]!, scale[row]!));
    const start = row * columns;
    if (pairs && words) {
      for (let pair = 0; pair < 9; pair++) {
        levelPairs[pair] = levels[Math.floor(pair / 3)]! | (levels[pair % 3]! << 16);
      }
      const end = (start + coded) / 2;
      for (let index = row * blocks, at = start / 2; at < end; index++) {
        let code = (indices[index]! * dp) / 2;
        for (const last = Math.min(end, at + dp / 2); at < last; ) words[at++] = levelPairs[pairs[code++]!]!;
      }
    } else {
      for (let block = 0, column = 0; column < coded; block++) {
        const code = indices[row * blocks + block]! * dp;
        const digits = Math.min(dp, coded - column);
        for (let digit = 0; digit < digits; digit++, column++) out[start + column] = levels[codes[code + digit]! + 1]!;
      }
    }
    out.fill(levels[1]!, start + coded, start + columns);
  }
  return out;
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const pairsByDimension = new Map<number, Uint8Array>();

/** Codes two digits at a time, 3 (first + 1) + second + 1: [3^dp, dp / 2]. `dp` is even. */
function codePairs(dp: number): Uint8Array {
  let pairs = pairsByDimension.get(dp);
  if (!pairs) {
    const codes = codebook(dp);
    pairs = new Uint8Array(codes.length / 2);
    for (let i = 0; i < pairs.length; i++) pairs[i] = 3 * (codes[2 * i]! + 1) + codes[2 * i + 1]! + 1;
    pairsByDimension.set(dp, pairs);
  }
  return pairs;
}

/** Whether some weight of a lattice with these rows may not be finite in fp16. */
export function mayOverflow(mean: Float32Array, scale: Float32Array): boolean {
  return mean.some((value, row) => !(Math.abs(scale[row]!) * (Math.abs(value) + 1) < SAFE_F16));
}

/** Well below 65,504, so that roundings on the way don't matter. */
const SAFE_F16 = 60000;

/** The index of each block of dp codes: [rows, ceil(columns / dp)]; a last, shorter block is filled up with code 0. */
export function encodeLattice(codes: Int8Array, rows: number, columns: number, dp: number): Uint16Array<ArrayBuffer> {
  const blocks = Math.ceil(columns / dp);
  const out = new Uint16Array(rows * blocks);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocks; block++) {
      let index = 0;
      for (let digit = 0; digit < dp; digit++) {
        const column = block * dp + digit;
        index = index * 3 + 1 + (column < columns ? codes[row * columns + column]! : 0);
      }
      out[row * blocks + block] = index;
    }
  }
  return out;
}
