/**
 * @file Chooses mean and scale of one row for the LZR2 lattice, whose rows hold three equally spaced values:
 * (code + mean) scale for the codes -1, 0, 1.
 */
import { f16Values } from "../tensor/dtype.ts";
import { rowLevels } from "./lattice.ts";

/** fp32 both. */
export interface RowFit {
  readonly mean: number;
  readonly scale: number;
}

/** More values than this, and a row is no lattice with outliers. */
const MAX_DISTINCT = 64;

/** All weights of the row become fp16(mean scale) = +0. */
const ZERO_FIT: RowFit = { mean: 0, scale: 1 };

/** The fit that holds the most cells of the row exactly: its three most frequent values, or fewer. `row` is fp16 bits. */
export function fitExactly(row: Uint16Array): RowFit {
  const counts = new Map<number, number>();
  for (const bits of row) {
    counts.set(bits, (counts.get(bits) ?? 0) + 1);
    if (counts.size > MAX_DISTINCT) return ZERO_FIT;
  }
  const frequent = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const values = frequent.slice(0, 3).map(([bits]) => f16Values()[bits]!);
  let best = ZERO_FIT;
  let bestCells = -1;
  for (const fit of candidates(values)) {
    const levels = new Set<number>(rowLevels(fit.mean, fit.scale));
    let cells = 0;
    for (const [bits, count] of counts) if (levels.has(bits)) cells += count;
    if (cells <= bestCells) continue;
    best = fit;
    bestCells = cells;
  }
  return best;
}

/** Fits for one, two or three values, the plainest first: code 0 alone needs no indices. */
function* candidates(values: readonly number[]): Generator<RowFit> {
  const [most] = values;
  if (most === undefined) return;
  // (0 + 0) * -1 is the one way to -0.
  yield Object.is(most, -0) ? { mean: 0, scale: -1 } : { mean: most, scale: 1 };
  const sorted = values.toSorted((a, b) => a - b);
  for (let i = 0; i < sorted.length; i++) {
    for (let j = i + 1; j < sorted.length; j++) {
      const [low, high] = [sorted[i]!, sorted[j]!];
      yield spaced(low, high - low); // codes 0 and 1
      yield spaced(high, high - low); // codes -1 and 0
      yield spaced((low + high) / 2, (high - low) / 2); // codes -1 and 1, and the middle for 0
    }
  }
}

function spaced(center: number, spacing: number): RowFit {
  const scale = Math.fround(spacing);
  const mean = Math.fround(center / scale);
  return Number.isFinite(mean) && scale !== 0 ? { mean, scale } : ZERO_FIT;
}

/**
 * A fit with a small squared error: two rounds of Lloyd's algorithm on three equally spaced levels, begun as in ternary weight
 * networks (Li et al. 2016, https://arxiv.org/abs/1605.04711: outer levels hold what is beyond 0.7 mean |x|). `row` is fp16 bits.
 */
export function fitClosely(row: Uint16Array): RowFit {
  const table = f16Values();
  let sum = 0;
  for (const bits of row) sum += table[bits]!;
  let center = sum / row.length;
  let deviation = 0;
  for (const bits of row) deviation += Math.abs(table[bits]! - center);
  let threshold = (0.7 * deviation) / row.length;
  let spacing = 0;
  for (let round = 0; round < 3; round++) {
    let outerSum = 0;
    let outer = 0;
    let balance = 0;
    for (const bits of row) {
      const offset = table[bits]! - center;
      if (Math.abs(offset) <= threshold) continue;
      outerSum += Math.abs(offset);
      outer++;
      balance += Math.sign(offset);
    }
    if (outer === 0) break;
    spacing = outerSum / outer;
    // The mean of what is left when every cell's level is taken off.
    center = (sum - spacing * balance) / row.length;
    threshold = spacing / 2;
  }
  const fit = spaced(center, spacing);
  // Center 0 of a constant row, or a spacing below fp32's smallest: one level is all there is.
  return spacing > 0 && fit !== ZERO_FIT ? fit : { mean: Math.fround(center), scale: 1 };
}
