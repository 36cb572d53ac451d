/** @file Values on a grid of another size, as PyTorch's F.interpolate without antialiasing and aligned corners (aten UpSampleKernel.cpp). */

const f32 = Math.fround;

export type Interpolation = "bilinear" | "nearest" | "nearest-exact";

/** Planes of values: [channels, height, width]. */
export interface Planes {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Along one axis: the two places that value i lies between, and how much the second one counts. */
interface Places {
  readonly first: Int32Array;
  readonly second: Int32Array;
  readonly rest: Float32Array;
}

function placesOf(from: number, to: number, mode: Interpolation): Places {
  const scale = f32(from / to);
  const places = { first: new Int32Array(to), second: new Int32Array(to), rest: new Float32Array(to) };
  for (let i = 0; i < to; i++) {
    const at =
      mode === "bilinear"
        ? Math.max(0, f32(f32(scale * f32(i + 0.5)) - 0.5))
        : f32(scale * (mode === "nearest" ? i : f32(i + 0.5)));
    const first = Math.min(from - 1, Math.floor(at));
    places.first[i] = first;
    if (mode !== "bilinear") continue;
    places.second[i] = Math.min(from - 1, first + 1);
    places.rest[i] = Math.min(1, Math.max(0, f32(at - first)));
  }
  return places;
}

/**
 * Resizes each plane.
 * @param planes [C, height, width]
 * @returns [C, size.height, size.width]
 */
export function interpolate(planes: Planes, size: Size, mode: Interpolation): Float32Array<ArrayBuffer> {
  const { width, height, values } = planes;
  const count = values.length / (width * height);
  if (!Number.isInteger(count)) throw new RangeError(`${values.length} values are no planes of ${width} x ${height}`);
  const across = placesOf(width, size.width, mode);
  const down = placesOf(height, size.height, mode);
  const result = new Float32Array(count * size.width * size.height);
  let into = 0;
  for (let plane = 0; plane < count; plane++) {
    for (let y = 0; y < size.height; y++) {
      const upper = (plane * height + down.first[y]!) * width;
      const lower = (plane * height + down.second[y]!) * width;
      const below = down.rest[y]!;
      for (let x = 0; x < size.width; x++) {
        const left = across.first[x]!;
        if (mode !== "bilinear") {
          result[into++] = values[upper + left]!;
          continue;
        }
        const right = across.second[x]!;
        const beside = across.rest[x]!;
        const along = (row: number) => f32(1 - beside) * values[row + left]! + beside * values[row + right]!;
        result[into++] = f32(1 - below) * along(upper) + below * along(lower);
      }
    }
  }
  return result;
}
