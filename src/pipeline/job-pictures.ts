/**
 * @file The picture that a job begins with and the mask over it, at the job's size: resized, grown and blurred as the job says. Sizes and
 * values follow diffusers' VaeImageProcessor and mask processor, but that a grey mask stays grey.
 */
import { UsageError } from "../errors.ts";
import { blurredMask, grownMask, grownPicture, type Margins, type RgbPicture } from "../image/mask.ts";
import { greyOf } from "../image/picture.ts";
import { resample } from "../image/resample.ts";
import type { GenerateJob, PictureSize } from "../job/job.ts";
import { boxMask, cutOut, type DetailPlace, detailPlace } from "./detail.ts";

/** What a job names, as it was read. */
export interface ReadPictures {
  readonly init: RgbPicture;
  readonly mask?: RgbPicture | undefined;
}

/** What a job begins with, at its size. Nobody writes to it. */
export interface JobPictures extends RgbPicture {
  /** [height, width], 255 where the picture is painted anew. */
  readonly mask?: Uint8Array<ArrayBuffer> | undefined;
  /** What it is a part of. */
  readonly detail?: DetailPlace | undefined;
}

type PictureJob = Pick<GenerateJob, "initImage" | "maskImage" | "maskBlur" | "outpaint" | "detail" | "detailPadding">;

/** Pictures' sides are whole numbers of so many pixels. */
const SIDE_MULTIPLE = 8;

/** The size of a job that names none: the picture's own with its margins, cut to whole cells as diffusers does. */
export function naturalSize({ init }: ReadPictures, { outpaint }: PictureJob): PictureSize {
  const { left, top, right, bottom } = marginsOf(outpaint);
  const side = (pixels: number) => Math.max(SIDE_MULTIPLE, pixels - (pixels % SIDE_MULTIPLE));
  return { width: side(left + init.width + right), height: side(top + init.height + bottom) };
}

export function isMasked({ maskImage, outpaint, detail }: PictureJob): boolean {
  return maskImage !== undefined || outpaint !== undefined || detail !== undefined;
}

export function preparePictures({ init, mask }: ReadPictures, job: PictureJob & PictureSize): JobPictures {
  const { outpaint, detail, maskBlur = 0, width, height } = job;
  if (detail !== undefined) return preparedDetail(init, mask ? greyAt(mask, init) : boxMask(detail, init), job);
  const margins = marginsOf(outpaint);
  const grown = outpaint === undefined ? init : grownPicture(init, margins);
  const rgb = resample({ ...grown, channels: 3, bytes: grown.rgb }, { width, height }, "lanczos");
  const prepared = preparedMask(mask, init, outpaint === undefined ? undefined : margins, { width, height });
  if (!prepared) return { width, height, rgb };
  const blurred = maskBlur > 0 ? blurredMask(prepared, width, height, maskBlur) : prepared;
  return { width, height, rgb, mask: blurred };
}

/** A part of the picture and of its mask, at the job's size. */
function preparedDetail(init: RgbPicture, mask: Uint8Array<ArrayBuffer>, job: PictureJob & PictureSize): JobPictures {
  const { width, height } = job;
  const detail = detailPlace(init, mask, job);
  const at = (bytes: Uint8Array<ArrayBuffer>, channels: 1 | 3) => {
    const part = cutOut(bytes, init.width, channels, detail.area);
    return resample({ ...detail.area, channels, bytes: part }, { width, height }, "lanczos");
  };
  return { width, height, rgb: at(init.rgb, 3), mask: at(detail.mask, 1), detail };
}

function preparedMask(
  mask: RgbPicture | undefined,
  init: RgbPicture,
  margins: Margins | undefined,
  size: PictureSize,
): Uint8Array<ArrayBuffer> | undefined {
  if (!margins) return mask && greyAt(mask, size);
  const own = mask && greyAt(mask, init);
  const grown = grownMask(init, margins, own);
  const from = { width: margins.left + init.width + margins.right, height: margins.top + init.height + margins.bottom };
  return resample({ ...from, channels: 1, bytes: grown }, size, "lanczos");
}

/** Resized in colour and then made grey, as diffusers does. */
export function greyAt(picture: RgbPicture, { width, height }: PictureSize): Uint8Array<ArrayBuffer> {
  const rgb = resample({ ...picture, channels: 3, bytes: picture.rgb }, { width, height }, "lanczos");
  return greyOf({ rgb, width, height });
}

const NO_MARGINS: Margins = { left: 0, top: 0, right: 0, bottom: 0 };

/** Of "left,top,right,bottom". Throws UsageError `E_JOB`. */
export function marginsOf(outpaint: string | undefined): Margins {
  if (outpaint === undefined) return NO_MARGINS;
  const parts = outpaint.split(",").map((part) => (/^\s*\d{1,4}\s*$/.test(part) ? Number(part) : Number.NaN));
  const [left, top, right, bottom] = parts;
  const fits =
    parts.length === 4 && parts.every((pixels) => pixels <= MAX_MARGIN) && parts.some((pixels) => pixels > 0);
  if (fits) return { left: left!, top: top!, right: right!, bottom: bottom! };
  throw new UsageError({
    code: "E_JOB",
    subject: "outpaint",
    problem: `four numbers of pixels from 0 to ${MAX_MARGIN} are wanted, not all 0 (found ${JSON.stringify(outpaint.slice(0, 40))})`,
    next: "give it as left,top,right,bottom, such as 0,0,256,0",
  });
}

const MAX_MARGIN = 2048;

/** [height, width, 3] bytes -> [1, 3, height, width] in -1..1, in fp32 as diffusers' image processor. */
export function decodedFromImage({ width, height, rgb }: RgbPicture): Float32Array<ArrayBuffer> {
  const plane = width * height;
  const values = new Float32Array(3 * plane);
  for (let at = 0; at < plane; at++) {
    for (let channel = 0; channel < 3; channel++) {
      values[channel * plane + at] = 2 * Math.fround(rgb[3 * at + channel]! / 255) - 1;
    }
  }
  return values;
}
