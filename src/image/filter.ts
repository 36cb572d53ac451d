/** @file PNG's five row filters, forwards and backwards (PNG specification, chapter 9). */

/** none, left, up, average, Paeth. */
const FILTERS = 5;

/** What a filter predicts from the byte on the left, the one above, and the one above on the left. */
function predict(filter: number, left: number, up: number, corner: number): number {
  switch (filter) {
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) >> 1;
    case 4: {
      const estimate = left + up - corner;
      const toLeft = Math.abs(estimate - left);
      const toUp = Math.abs(estimate - up);
      const toCorner = Math.abs(estimate - corner);
      return toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
    }
    default:
      return 0;
  }
}

/**
 * Filters rows of `rowBytes` bytes, each by the filter whose residues have the least sum (the usual heuristic).
 * @returns rows of 1 + `rowBytes` bytes, the filter first
 */
export function filterRows(pixels: Uint8Array, rowBytes: number, pixelBytes: number): Uint8Array<ArrayBuffer> {
  const rows = pixels.length / rowBytes;
  const filtered = new Uint8Array(rows * (rowBytes + 1));
  const trial = new Uint8Array(rowBytes);
  for (let row = 0; row < rows; row++) {
    const from = row * rowBytes;
    const to = row * (rowBytes + 1);
    let least = Number.POSITIVE_INFINITY;
    for (let filter = 0; filter < FILTERS; filter++) {
      let sum = 0;
      for (let at = 0; at < rowBytes && sum < least; at++) {
        const left = at >= pixelBytes ? pixels[from + at - pixelBytes]! : 0;
        const up = row > 0 ? pixels[from + at - rowBytes]! : 0;
        const corner = row > 0 && at >= pixelBytes ? pixels[from + at - rowBytes - pixelBytes]! : 0;
        const residue = (pixels[from + at]! - predict(filter, left, up, corner)) & 0xff;
        trial[at] = residue;
        sum += residue < 128 ? residue : 256 - residue;
      }
      if (sum >= least) continue;
      least = sum;
      filtered[to] = filter;
      filtered.set(trial, to + 1);
    }
  }
  return filtered;
}

/**
 * Undoes `filterRows`.
 * @throws RangeError where a row names no filter
 */
export function unfilterRows(filtered: Uint8Array, rowBytes: number, pixelBytes: number): Uint8Array<ArrayBuffer> {
  const rows = filtered.length / (rowBytes + 1);
  const pixels = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    const from = row * (rowBytes + 1);
    const to = row * rowBytes;
    const filter = filtered[from]!;
    if (filter >= FILTERS) throw new RangeError(`row ${row} has filter ${filter}`);
    for (let at = 0; at < rowBytes; at++) {
      const left = at >= pixelBytes ? pixels[to + at - pixelBytes]! : 0;
      const up = row > 0 ? pixels[to + at - rowBytes]! : 0;
      const corner = row > 0 && at >= pixelBytes ? pixels[to + at - rowBytes - pixelBytes]! : 0;
      pixels[to + at] = filtered[from + 1 + at]! + predict(filter, left, up, corner);
    }
  }
  return pixels;
}
