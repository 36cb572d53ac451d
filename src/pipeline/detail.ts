/**
 * @file A part of a picture that is drawn by itself, larger, and laid back over it: diffusers' padding_mask_crop (image_processor.py), A1111's
 * "only masked". The part is what a mask paints anew with some of what is around it, of the shape of the size that it is drawn at. Pure.
 */
import { UsageError } from "../errors.ts";
import { blurredMask, type RgbPicture } from "../image/mask.ts";
import { resample } from "../image/resample.ts";
import type { GenerateJob, PictureSize } from "../job/job.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** In pixels of the whole picture. */
export interface Area extends PictureSize {
  readonly left: number;
  readonly top: number;
}

/** Where a part lies, and what it is laid over. Nobody writes to it. */
export interface DetailPlace {
  readonly whole: RgbPicture;
  /** [height, width] of the whole, 255 where the part shows. */
  readonly mask: Bytes;
  readonly area: Area;
}

/** A box with its softened edge as a mask over the whole picture. Throws UsageError `E_JOB`. */
export function boxMask(detail: string, { width, height }: PictureSize): Bytes {
  const parts = detail.split(",").map((part) => (/^\s*\d{1,5}\s*$/.test(part) ? Number(part) : Number.NaN));
  const [left = 0, top = 0, wide = 0, high = 0] = parts;
  const fits = parts.length === 4 && wide > 0 && high > 0 && left + wide <= width && top + high <= height;
  if (!fits) {
    throw new UsageError({
      code: "E_JOB",
      subject: "detail",
      problem: `left,top,width,height within the picture of ${width}x${height} is wanted, or "mask" (found ${JSON.stringify(detail.slice(0, 40))})`,
      next: "give it such a box, such as 320,96,256,256",
    });
  }
  const mask = new Uint8Array(width * height);
  for (let y = top; y < top + high; y++) mask.fill(255, y * width + left, y * width + left + wide);
  return mask;
}

/** `mask`: over the whole picture. */
export function detailPlace(
  whole: RgbPicture,
  mask: Bytes,
  { detailPadding = 32, maskBlur = 0, width, height }: Pick<GenerateJob, "detailPadding" | "maskBlur"> & PictureSize,
): DetailPlace {
  const soft = maskBlur > 0 ? blurredMask(mask, whole.width, whole.height, maskBlur) : mask;
  return { whole, mask: soft, area: areaOf(soft, whole, detailPadding, width / height) };
}

/** What of the picture, or its mask, is drawn: a part of `channels` bytes a pixel. */
export function cutOut(bytes: Bytes, width: number, channels: number, area: Area): Bytes {
  const part = new Uint8Array(channels * area.width * area.height);
  for (let y = 0; y < area.height; y++) {
    const from = channels * ((area.top + y) * width + area.left);
    part.set(bytes.subarray(from, from + channels * area.width), channels * y * area.width);
  }
  return part;
}

/** The whole picture with what was drawn of its part. */
export function withDetail({ whole, mask, area }: DetailPlace, drawn: RgbPicture): RgbPicture {
  const part = resample({ ...drawn, channels: 3, bytes: drawn.rgb }, area, "lanczos");
  const rgb = Uint8Array.from(whole.rgb);
  for (let y = 0; y < area.height; y++) {
    for (let x = 0; x < area.width; x++) {
      const at = (area.top + y) * whole.width + area.left + x;
      const shows = mask[at]!;
      for (let channel = 0; channel < 3; channel++) {
        const [own, other] = [whole.rgb[3 * at + channel]!, part[3 * (y * area.width + x) + channel]!];
        rgb[3 * at + channel] = Math.round((own * (255 - shows) + other * shows) / 255);
      }
    }
  }
  return { width: whole.width, height: whole.height, rgb };
}

/** diffusers' get_crop_region: the box around all that is not 0, padded, then grown to the wanted shape within the picture. */
function areaOf(mask: Bytes, { width, height }: PictureSize, padding: number, ratio: number): Area {
  let [x1, y1, x2, y2] = [width, height, 0, 0];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (mask[i] === 0) continue;
      [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x + 1), Math.max(y2, y + 1)];
    }
  }
  if (x2 === 0) {
    const problem = "the mask is black: nothing of the picture is to be painted anew";
    throw new UsageError({ code: "E_JOB", subject: "detail", problem, next: "make white what shall be drawn" });
  }
  [x1, y1] = [Math.max(x1 - padding, 0), Math.max(y1 - padding, 0)];
  [x2, y2] = [Math.min(x2 + padding, width), Math.min(y2 + padding, height)];
  if ((x2 - x1) / (y2 - y1) > ratio) [y1, y2] = grown(y1, y2, Math.trunc((x2 - x1) / ratio - (y2 - y1)), height);
  else [x1, x2] = grown(x1, x2, Math.trunc((y2 - y1) * ratio - (x2 - x1)), width);
  return { left: x1, top: y1, width: x2 - x1, height: y2 - y1 };
}

/** From..to longer by `more`, half on each side, moved into 0..length. */
function grown(from: number, to: number, more: number, length: number): [number, number] {
  let [start, end] = [from - Math.floor(more / 2), to + more - Math.floor(more / 2)];
  if (end >= length) [start, end] = [start - (end - length), length];
  if (start < 0) [start, end] = [0, end - start];
  return [start, Math.min(end, length)];
}
