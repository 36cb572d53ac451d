/** @file A job's pictures as prompts: how much they count when and where, and as an image encoder sees them (transformers' CLIPImageProcessor). Pure. */
import type { RgbPicture } from "../image/mask.ts";
import { resample, resampleBytes } from "../image/resample.ts";
import type { IpAdapterUse } from "../job/ip-adapter-use.ts";
import type { PictureSize } from "../job/job.ts";
import type {
  ImagePrompt,
  ImagePromptInput,
  ImagePromptNetwork,
  ImagePromptShape,
  PictureMask,
} from "../models/image-prompt.ts";
import type { Course } from "./denoising.ts";
import { greyAt } from "./job-pictures.ts";

/** One adapter, opened: components of the runtime, pictures as the encoder sees them, [1, 3, side, side], and their masks, if it has any. */
export interface JobImagePrompt extends Pick<ImagePromptShape, "network" | "encoder" | "adapter"> {
  readonly use: IpAdapterUse;
  readonly pictures: readonly Float32Array[];
  readonly masks: readonly JobMask[];
}

/** At the sizes of a job's passes. */
export interface JobMask {
  readonly first: PictureMask;
  readonly hires?: PictureMask | undefined;
}

export function imagePromptShapes(adapters: readonly JobImagePrompt[], negatives: number): readonly ImagePromptShape[] {
  return adapters.map(({ network, encoder, adapter, pictures, masks }) => ({
    ...{ network, encoder, adapter, negatives },
    pictures: pictures.length,
    masked: masks.length > 0,
  }));
}

/** Of a leg's steps: as a share of those that are made, as controls count them. */
export function imagePromptInputs(
  prompts: readonly ImagePrompt[],
  adapters: readonly JobImagePrompt[],
  { firstStep, endStep }: Course,
  pass: keyof JobMask,
): readonly ImagePromptInput[] {
  const share = (step: number) => (step - firstStep) / (endStep - firstStep);
  return adapters.map(({ use: { weight = 1, start = 0, end = 1 }, masks }, i) => ({
    prompt: prompts[i]!,
    weights: Array.from({ length: endStep }, (_, step) =>
      share(step) >= start && share(step + 1) <= end ? weight : 0,
    ),
    masks: masks.map((mask) => mask[pass]!),
  }));
}

/** Resized and made grey as diffusers' IPAdapterMaskProcessor does, then 1 from the middle grey on. */
export function pictureMask(picture: RgbPicture, size: PictureSize): PictureMask {
  return { ...size, bytes: greyAt(picture, size).map((grey) => (grey >= 128 ? 1 : 0)) };
}

/** Host memory of `pictureMask` beside what it gives. */
export function maskingBytes(picture: RgbPicture, size: PictureSize): number {
  return picture.rgb.length + resampleBytes({ ...picture, channels: 3 }, size) + 4 * size.width * size.height;
}

/** The shorter side to the encoder's, the middle of the longer one, colours by their mean and deviation. */
export function seenPicture(picture: RgbPicture, { side, mean, deviation }: ImagePromptNetwork): Float32Array {
  const { width, height } = resizedSize(picture, side);
  const bytes = resample({ ...picture, channels: 3, bytes: picture.rgb }, { width, height }, "bicubic");
  const [left, top] = [Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
  const seen = new Float32Array(3 * side * side);
  for (let channel = 0, into = 0; channel < 3; channel++) {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++, into++) {
        const value = bytes[3 * ((top + y) * width + left + x) + channel]! / 255;
        seen[into] = (value - mean[channel]!) / deviation[channel]!;
      }
    }
  }
  return seen;
}

/** Host memory of `seenPicture` beside what it gives. */
export function seeingBytes(picture: RgbPicture, { side }: ImagePromptNetwork): number {
  return picture.rgb.length + resampleBytes({ ...picture, channels: 3 }, resizedSize(picture, side));
}

function resizedSize({ width, height }: RgbPicture, side: number): { readonly width: number; readonly height: number } {
  return width <= height
    ? { width: side, height: Math.trunc((side * height) / width) }
    : { width: Math.trunc((side * width) / height), height: side };
}
