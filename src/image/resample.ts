/**
 * @file Pictures of other sizes, bit-equal to Pillow's Image.resize on 8 bits a channel: two passes of fixed-point weights
 * (src/libImaging/Resample.c), nearest by accumulated steps (Geometry.c, ImagingScaleAffine).
 */

export type Filter = "nearest" | "bilinear" | "bicubic" | "lanczos";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes, `channels` a pixel: [height, width, channels]. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly bytes: Bytes;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Half the width of a filter at scale 1, and its value. */
const FILTERS: Readonly<
  Record<Exclude<Filter, "nearest">, { readonly support: number; readonly at: (x: number) => number }>
> = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, at: cubic },
  lanczos: { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Keys' cubic with a = -0.5. */
function cubic(signed: number): number {
  const a = -0.5;
  const x = Math.abs(signed);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function sinc(x: number): number {
  if (x === 0) return 1;
  const angle = x * Math.PI;
  return Math.sin(angle) / angle;
}

/** 8 bits of pixel and 2 of overshoot leave so many for the weights. */
const WEIGHT_BITS = 32 - 8 - 2;

/** One axis: which pixels make pixel i, and with which weights. */
interface Axis {
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** `taps` a pixel. */
  readonly weights: Int32Array;
  readonly taps: number;
}

function axisOf(from: number, to: number, { support, at }: (typeof FILTERS)["lanczos"]): Axis {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const reach = support * stretch;
  const taps = Math.ceil(reach) * 2 + 1;
  const axis = { first: new Int32Array(to), count: new Int32Array(to), weights: new Int32Array(to * taps), taps };
  const exact = new Float64Array(taps);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const count = Math.min(from, Math.trunc(centre + reach + 0.5)) - first;
    let sum = 0;
    for (let tap = 0; tap < count; tap++) sum += exact[tap] = at((tap + first - centre + 0.5) * (1 / stretch));
    for (let tap = 0; tap < count; tap++) {
      const weight = (sum === 0 ? exact[tap]! : exact[tap]! / sum) * 2 ** WEIGHT_BITS;
      axis.weights[i * taps + tap] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    axis.first[i] = first;
    axis.count[i] = count;
  }
  return axis;
}

function toByte(sum: number): number {
  const value = sum >> WEIGHT_BITS;
  return Math.max(0, Math.min(value, 255));
}

/**
 * Sums along one axis. `inner`: bytes from one place of that axis to the next; `lines`: how many runs of the axis there are.
 * [outer, axis, inner] -> [outer, axis', inner]
 */
function pass(bytes: Uint8Array, axis: Axis, from: number, inner: number): Bytes {
  const to = axis.first.length;
  const outer = bytes.length / (from * inner);
  const result = new Uint8Array(outer * to * inner);
  for (let line = 0; line < outer; line++) {
    for (let i = 0; i < to; i++) {
      const start = (line * from + axis.first[i]!) * inner;
      const into = (line * to + i) * inner;
      const weights = i * axis.taps;
      const count = axis.count[i]!;
      for (let at = 0; at < inner; at++) {
        let sum = 2 ** (WEIGHT_BITS - 1);
        for (let tap = 0, place = start + at; tap < count; tap++, place += inner)
          sum += bytes[place]! * axis.weights[weights + tap]!;
        result[into + at] = toByte(sum);
      }
    }
  }
  return result;
}

/** Places that nearest takes, one for each of `to`. */
function nearestPlaces(from: number, to: number): Int32Array {
  const step = from / to;
  const places = new Int32Array(to);
  for (let i = 0, at = step * 0.5; i < to; i++, at += step) places[i] = Math.min(from - 1, Math.trunc(at));
  return places;
}

function nearest({ bytes, width, height, channels }: Pixels, size: Size): Bytes {
  const columns = nearestPlaces(width, size.width);
  const rows = nearestPlaces(height, size.height);
  const result = new Uint8Array(size.width * size.height * channels);
  let into = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * width + column) * channels;
      for (let channel = 0; channel < channels; channel++) result[into++] = bytes[from + channel]!;
    }
  }
  return result;
}

/**
 * A picture of another size.
 * @param pixels [height, width, channels] bytes
 * @returns [size.height, size.width, channels]; a copy where the size is the same
 */
export function resample(pixels: Pixels, size: Size, filter: Filter): Bytes {
  const { width, height, channels, bytes } = pixels;
  if (bytes.length !== width * height * channels) {
    throw new RangeError(`${bytes.length} bytes are not ${width} x ${height} pixels of ${channels}`);
  }
  if (size.width === width && size.height === height) return Uint8Array.from(bytes);
  if (filter === "nearest") return nearest(pixels, size);
  const kernel = FILTERS[filter];
  let [result, columns, rows] = [bytes, width, height];
  const across = () => {
    if (size.width === columns) return;
    result = pass(result, axisOf(columns, size.width, kernel), columns, channels);
    columns = size.width;
  };
  const down = () => {
    if (size.height === rows) return;
    result = pass(result, axisOf(rows, size.height, kernel), rows, columns * channels);
    rows = size.height;
  };
  for (const turn of downFirst(pixels, size) ? [down, across] : [across, down]) turn();
  return result;
}

/** Pillow 13's order of the passes, which rounding between them makes visible: down first where that takes away far more. */
function downFirst({ width, height }: Size, size: Size): boolean {
  return size.height < height && height - size.height > 2 * (width - size.width);
}

/** Most bytes of host memory that `resample` adds to the picture given: between its passes, and the result. */
export function resampleBytes({ width, height, channels }: Omit<Pixels, "bytes">, size: Size): number {
  const between = Math.max(size.width * height, width * size.height);
  return (between + 2 * size.width * size.height) * channels;
}
