/**
 * @file A picture of one shape for a place of another: stretched, its middle cut out, or laid into a frame. As sd-webui-controlnet fits what a ControlNet
 * looks at (scripts/controlnet.py, detectmap_proc): its Just Resize, Crop and Resize, Resize and Fill. Pure.
 */
import { roundHalfEven } from "../tensor/rounding.ts";

export const PICTURE_FITS = ["stretch", "crop", "fill"] as const;
export type PictureFit = (typeof PICTURE_FITS)[number];

type Bytes = Uint8Array<ArrayBuffer>;

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Rgb extends Size {
  /** [height, width, 3] */
  readonly rgb: Bytes;
}

/** What a picture of size `source` is resized to, for `laidInto` to lay it into `place`. */
export function fittedSize(source: Size, place: Size, fit: PictureFit): Size {
  if (fit === "stretch") return { width: place.width, height: place.height };
  const [across, down] = [place.width / source.width, place.height / source.height];
  const times = fit === "crop" ? Math.max(across, down) : Math.min(across, down);
  const side = (pixels: number) => Math.max(1, roundHalfEven(pixels * times));
  return { width: side(source.width), height: side(source.height) };
}

/** In the middle of a place: what hangs over is cut off, and what is left is filled with the colour that the picture's edge has in the middle. */
export function laidInto(picture: Rgb, { width, height }: Size): Bytes {
  if (picture.width === width && picture.height === height) return picture.rgb;
  const rgb = new Uint8Array(3 * width * height);
  if (picture.width < width || picture.height < height) {
    const colour = edgeColour(picture);
    for (let at = 0; at < rgb.length; at++) rgb[at] = colour[at % 3]!;
  }
  const [wide, tall] = [Math.min(width, picture.width), Math.min(height, picture.height)];
  const before = (more: number) => Math.floor(Math.max(0, more) / 2);
  const from = { x: before(picture.width - width), y: before(picture.height - height) };
  const to = { x: before(width - picture.width), y: before(height - picture.height) };
  for (let y = 0; y < tall; y++) {
    const start = 3 * ((from.y + y) * picture.width + from.x);
    rgb.set(picture.rgb.subarray(start, start + 3 * wide), 3 * ((to.y + y) * width + to.x));
  }
  return rgb;
}

/** numpy's median, cut to a byte, of the first and last rows and columns, corners twice. */
function edgeColour({ width, height, rgb }: Rgb): readonly number[] {
  const columns = Array.from({ length: height }, (_, y) => [y * width, y * width + width - 1]).flat();
  const rows = Array.from({ length: width }, (_, x) => [x, (height - 1) * width + x]).flat();
  const edge = [...rows, ...columns];
  return [0, 1, 2].map((channel) => {
    const values = Uint8Array.from(edge, (pixel) => rgb[3 * pixel + channel]!).sort();
    const half = values.length / 2;
    return Math.floor((values[Math.ceil(half) - 1]! + values[Math.floor(half)]!) / 2);
  });
}
