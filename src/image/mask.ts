/** @file Masks: one byte a pixel, 255 where a picture is painted anew, 0 where it stays; and a picture grown at its sides. */
import type { Picture } from "./picture.ts";

/** Rows from the top, three bytes a pixel. */
export type RgbPicture = Pick<Picture, "width" | "height" | "rgb">;

/** Pixels that are added at each side. */
export interface Margins {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Pixels within the old picture over which the mask of a new margin fades. */
const FADE_PIXELS = 16;

/** The picture with its outermost pixels repeated into the margins. */
export function grownPicture({ width, height, rgb }: RgbPicture, { left, top, right, bottom }: Margins): RgbPicture {
  const grown = { width: left + width + right, height: top + height + bottom };
  const bytes = new Uint8Array(3 * grown.width * grown.height);
  for (let y = 0; y < grown.height; y++) {
    const row = Math.min(Math.max(y - top, 0), height - 1) * width;
    for (let x = 0; x < grown.width; x++) {
      const from = 3 * (row + Math.min(Math.max(x - left, 0), width - 1));
      bytes.set(rgb.subarray(from, from + 3), 3 * (y * grown.width + x));
    }
  }
  return { ...grown, rgb: bytes };
}

/**
 * The mask of a picture of `width` by `height` that grows by the margins: they are painted anew, and beside them the picture less and less.
 * `own`: a mask of the picture's own. @returns [top + height + bottom, left + width + right]
 */
export function grownMask(
  { width, height }: { readonly width: number; readonly height: number },
  margins: Margins,
  own?: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const { left, top, right, bottom } = margins;
  const across = fades(width, left, right);
  const down = fades(height, top, bottom);
  const grownWidth = left + width + right;
  const mask = new Uint8Array(grownWidth * (top + height + bottom));
  down.forEach((fadeDown, y) => {
    across.forEach((fadeAcross, x) => {
      const inside = x >= left && x < left + width && y >= top && y < top + height;
      const before = inside ? (own?.[(y - top) * width + x - left] ?? 0) : 255;
      mask[y * grownWidth + x] = Math.max(before, fadeAcross, fadeDown);
    });
  });
  return mask;
}

/** Along one axis: 255 in the margins, falling beside those that there are. */
function fades(length: number, before: number, after: number): readonly number[] {
  const fade = (distance: number) => Math.max(0, Math.round(255 * (1 - (distance + 0.5) / FADE_PIXELS)));
  return Array.from({ length: before + length + after }, (_, at) => {
    const place = at - before;
    if (place < 0 || place >= length) return 255;
    return Math.max(before > 0 ? fade(place) : 0, after > 0 ? fade(length - 1 - place) : 0);
  });
}

/**
 * Blurred by a Gaussian, as A1111's mask blur is (modules/processing.py: a kernel of 2 * int(2.5 * blur + 0.5) + 1 taps with deviation `blur`,
 * and OpenCV's border, which mirrors at the outermost pixel). @param mask [height, width]
 */
export function blurredMask(mask: Uint8Array, width: number, height: number, blur: number): Uint8Array<ArrayBuffer> {
  const reach = Math.floor(2.5 * blur + 0.5);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * blur ** 2)));
  const total = kernel.reduce((sum, weight) => sum + weight, 0);
  const weights = kernel.map((weight) => weight / total);
  const across = blurredLines(mask, weights, { lines: height, length: width, stride: 1, lineStride: width });
  const down = blurredLines(across, weights, { lines: width, length: height, stride: width, lineStride: 1 });
  return Uint8Array.from(down, Math.round);
}

interface Lines {
  readonly lines: number;
  readonly length: number;
  readonly stride: number;
  readonly lineStride: number;
}

function blurredLines(
  values: ArrayLike<number>,
  weights: readonly number[],
  { lines, length, stride, lineStride }: Lines,
): Float32Array {
  const reach = (weights.length - 1) / 2;
  const blurred = new Float32Array(values.length);
  for (let line = 0; line < lines; line++) {
    for (let at = 0; at < length; at++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) {
        sum += weights[i]! * values[line * lineStride + mirrored(at + i - reach, length) * stride]!;
      }
      blurred[line * lineStride + at * stride] = sum;
    }
  }
  return blurred;
}

/** The place within 0..length-1 that a place beyond an end mirrors, the outermost one not twice. */
function mirrored(place: number, length: number): number {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const within = ((place % period) + period) % period;
  return within < length ? within : period - within;
}
