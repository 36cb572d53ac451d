/**
 * @file What is made of a picture before a ControlNet looks at it, as far as no network is needed for it: edges by Canny's algorithm (as OpenCV's
 * cv2.Canny on a grey picture), its negative, its brightness, black and white, and a picture without detail. Pure: pages preview by the same code.
 */
import { greyOf } from "./picture.ts";
import { fittedSize, laidInto, type PictureFit, type Rgb, type Size } from "./picture-fit.ts";
import { resample } from "./resample.ts";

export const CONTROL_PREPROCESSORS = ["none", "canny", "invert", "grey", "threshold", "tile"] as const;
export type ControlPreprocessor = (typeof CONTROL_PREPROCESSORS)[number];

type Bytes = Uint8Array<ArrayBuffer>;

/** Where nobody gave them: of Canny's gradients, and of what becomes white. */
export const CONTROL_THRESHOLDS = { canny: { low: 100, high: 200 }, threshold: { low: 127 } } as const;

export interface ControlThresholds {
  /** Canny: weaker gradients are no edges. Threshold: what is brighter becomes white. */
  readonly low?: number | undefined;
  /** Canny: stronger gradients are edges; between both, those that touch one. */
  readonly high?: number | undefined;
}

/** What is smaller than so many pixels is lost. */
const TILE_PIXELS = 4;

/** How a picture is prepared for a network. */
export interface ControlPreparation extends ControlThresholds {
  readonly preprocess?: ControlPreprocessor | undefined;
  readonly fit?: PictureFit | undefined;
}

/** At a size, as diffusers' control_image_processor resizes it: what `preparedPicture` takes. */
export function fittedPicture(source: Rgb, size: Size, { fit = "stretch" }: ControlPreparation): Rgb {
  const fitted = fittedSize(source, size, fit);
  return { ...fitted, rgb: resample({ ...source, channels: 3, bytes: source.rgb }, fitted, "lanczos") };
}

/** What the network looks at, of that size. */
export function preparedPicture(
  fitted: Rgb,
  { width, height }: Size,
  { preprocess = "none", ...thresholds }: ControlPreparation,
): Rgb {
  const made = { ...fitted, rgb: controlPicture(fitted, preprocess, thresholds) };
  return { width, height, rgb: laidInto(made, { width, height }) };
}

/** Of the same size. */
export function controlPicture(
  picture: Rgb,
  preprocessor: ControlPreprocessor,
  { low, high }: ControlThresholds = {},
): Bytes {
  switch (preprocessor) {
    case "none":
      return picture.rgb;
    case "invert":
      return picture.rgb.map((value) => 255 - value);
    case "grey":
      return spread(greyOf(picture));
    case "threshold": {
      const brightest = low ?? CONTROL_THRESHOLDS.threshold.low;
      return spread(greyOf(picture).map((value) => (value > brightest ? 255 : 0)));
    }
    case "canny": {
      const standing = CONTROL_THRESHOLDS.canny;
      return spread(cannyEdges(greyOf(picture), picture, low ?? standing.low, high ?? standing.high));
    }
    case "tile":
      return withoutDetail(picture);
  }
}

/** Host memory of `controlPicture` beside the picture itself. */
export function controlPictureBytes({ width, height }: { readonly width: number; readonly height: number }): number {
  // Canny's: grey, gradients and their magnitude, marks, a stack; and the result in colours.
  return width * height * (1 + 3 * 4 + 1 + 4 + 3);
}

function spread(grey: Bytes): Bytes {
  const rgb = new Uint8Array(3 * grey.length);
  grey.forEach((value, i) => {
    rgb.fill(value, 3 * i, 3 * i + 3);
  });
  return rgb;
}

function withoutDetail({ width, height, rgb }: Rgb): Bytes {
  const size = { width: Math.ceil(width / TILE_PIXELS), height: Math.ceil(height / TILE_PIXELS) };
  const small = resample({ width, height, channels: 3, bytes: rgb }, size, "bilinear");
  return resample({ ...size, channels: 3, bytes: small }, { width, height }, "bicubic");
}

/** tan(22.5 degrees) in OpenCV's fixed point. */
const TAN_22 = 13573;
const TAN_SHIFT = 15;

const [EDGE, WEAK] = [255, 1];

/**
 * OpenCV's Canny with a Sobel kernel of 3 and the sum of absolute gradients, borders repeated; of thresholds the smaller is the low one, as there.
 * @returns [height, width], 255 on edges
 */
function cannyEdges(grey: Bytes, { width, height }: Rgb, one: number, other: number): Bytes {
  const [low, high] = [Math.min(one, other), Math.max(one, other)];
  const at = (x: number, y: number) =>
    grey[Math.min(Math.max(y, 0), height - 1) * width + Math.min(Math.max(x, 0), width - 1)]!;
  const dx = new Int32Array(width * height);
  const dy = new Int32Array(width * height);
  const magnitude = new Int32Array(width * height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const [a, b, c] = [at(x - 1, y - 1), at(x, y - 1), at(x + 1, y - 1)];
      const [d, e] = [at(x - 1, y), at(x + 1, y)];
      const [f, g, h] = [at(x - 1, y + 1), at(x, y + 1), at(x + 1, y + 1)];
      dx[i] = c + 2 * e + h - a - 2 * d - f;
      dy[i] = f + 2 * g + h - a - 2 * b - c;
      magnitude[i] = Math.abs(dx[i]!) + Math.abs(dy[i]!);
    }
  }
  const of = (x: number, y: number) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : magnitude[y * width + x]!);
  const marks = new Uint8Array(width * height);
  const strong: number[] = [];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const m = magnitude[i]!;
      if (m <= low || !isRidge(m, dx[i]!, dy[i]!, (right, down) => of(x + right, y + down))) continue;
      marks[i] = m > high ? EDGE : WEAK;
      if (m > high) strong.push(i);
    }
  }
  for (let i = strong.pop(); i !== undefined; i = strong.pop()) {
    const [x, y] = [i % width, Math.floor(i / width)];
    for (let down = -1; down <= 1; down++) {
      for (let right = -1; right <= 1; right++) {
        if (x + right < 0 || x + right >= width || y + down < 0 || y + down >= height) continue;
        const next = i + down * width + right;
        if (marks[next] !== WEAK) continue;
        marks[next] = EDGE;
        strong.push(next);
      }
    }
  }
  return marks.map((mark) => (mark === EDGE ? EDGE : 0));
}

/** Whether a gradient is the largest across its edge. */
function isRidge(m: number, dx: number, dy: number, of: (right: number, down: number) => number): boolean {
  const x = Math.abs(dx);
  const y = Math.abs(dy) << TAN_SHIFT;
  const flat = x * TAN_22;
  if (y < flat) return m > of(-1, 0) && m >= of(1, 0);
  if (y > flat + (x << (TAN_SHIFT + 1))) return m > of(0, -1) && m >= of(0, 1);
  const side = (dx ^ dy) < 0 ? -1 : 1;
  return m > of(-side, -1) && m > of(side, 1);
}
