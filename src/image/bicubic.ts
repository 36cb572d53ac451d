/** @file Values on a grid of another size, as PyTorch's F.interpolate(mode="bicubic") without antialiasing and aligned corners (aten UpSample.h). */

interface Size {
  readonly width: number;
  readonly height: number;
}

/** One value: what it is made of along one axis, four places and their weights. */
interface Taps {
  readonly places: readonly number[];
  readonly weights: readonly number[];
}

/** Keys' constant there. */
const A = -0.75;

/** Of a place less than 1 away, and of one less than 2. */
const near = (x: number) => ((A + 2) * x - (A + 3)) * x * x + 1;
const far = (x: number) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;

function tapsOf(from: number, to: number): readonly Taps[] {
  return Array.from({ length: to }, (_, i) => {
    const at = (from / to) * (i + 0.5) - 0.5;
    const first = Math.floor(at);
    const rest = at - first;
    const places = [-1, 0, 1, 2].map((offset) => Math.min(from - 1, Math.max(0, first + offset)));
    return { places, weights: [far(rest + 1), near(rest), near(1 - rest), far(2 - rest)] };
  });
}

/**
 * One plane.
 * @param values [height, width]
 * @returns [size.height, size.width]; beyond the values' range beside edges
 */
export function bicubic(values: ArrayLike<number>, { width, height }: Size, size: Size): Float32Array<ArrayBuffer> {
  const across = tapsOf(width, size.width);
  const down = tapsOf(height, size.height);
  const result = new Float32Array(size.width * size.height);
  down.forEach((row, y) => {
    across.forEach((column, x) => {
      let sum = 0;
      for (let j = 0; j < 4; j++) {
        let along = 0;
        for (let i = 0; i < 4; i++) along += values[row.places[j]! * width + column.places[i]!]! * column.weights[i]!;
        sum += along * row.weights[j]!;
      }
      result[y * size.width + x] = sum;
    });
  });
  return result;
}
