/**
 * @file The LZR2 lattice: codes of dimension dp are the product of (-1, 0, 1) taken dp times, first digit most significant.
 * All arithmetic is fp32, step by step, as the published loader's.
 */

export const MAX_LATTICE_DIMENSION = 10;

/** 3^dp, the number of codes. */
export function codebookSize(dp: number): number {
  return 3 ** dp;
}

/** All codes, row-major [3^dp, dp]. 590,490 values at most. */
export function codebook(dp: number): Int8Array {
  const count = codebookSize(dp);
  const codes = new Int8Array(count * dp);
  for (let index = 0; index < count; index++) {
    for (let digit = dp - 1, rest = index; digit >= 0; digit--) {
      codes[index * dp + digit] = (rest % 3) - 1;
      rest = Math.floor(rest / 3);
    }
  }
  return codes;
}

export interface LatticeShape {
  /** C: rows, one mean and scale each. */
  readonly rows: number;
  /** N: weights of a row. */
  readonly columns: number;
  readonly dp: number;
  /** Blocks of dp weights stored for each row; a row is cut, or padded with zeros, to N. */
  readonly blocks: number;
}

/** w = (code + mean) scale, rounded to fp32 after each operation: [rows, columns]. */
export function decodeLattice(
  shape: LatticeShape,
  indices: Uint16Array,
  mean: Float32Array,
  scale: Float32Array,
): Float32Array<ArrayBuffer> {
  const { rows, columns, dp, blocks } = shape;
  const codes = codebook(dp);
  const out = new Float32Array(rows * columns);
  const coded = Math.min(columns, blocks * dp);
  // A row holds only three values: -1, 0 and 1 through its mean and scale.
  const levels = new Float32Array(3);
  for (let row = 0; row < rows; row++) {
    for (let digit = 0; digit < 3; digit++) levels[digit] = Math.fround(digit - 1 + mean[row]!) * scale[row]!;
    const start = row * columns;
    for (let block = 0, column = 0; column < coded; block++) {
      const code = indices[row * blocks + block]! * dp;
      const end = Math.min(dp, coded - column);
      for (let digit = 0; digit < end; digit++, column++) out[start + column] = levels[codes[code + digit]! + 1]!;
    }
    out.fill(levels[1]!, start + coded, start + columns);
  }
  return out;
}
