/** @file A job's pictures as prompts: how much they count when, and as an image encoder sees them (transformers' CLIPImageProcessor). Pure. */
import type { RgbPicture } from "../image/mask.ts";
import { resample, resampleBytes } from "../image/resample.ts";
import type { GenerateJob } from "../job/job.ts";
import type { ImagePrompt, ImagePromptInput, ImagePromptNetwork, ImagePromptShape } from "../models/image-prompt.ts";
import type { Course } from "./denoising.ts";

/** Opened: components of the runtime, and pictures as the encoder sees them, [1, 3, side, side]. */
export interface JobImagePrompt extends Omit<ImagePromptShape, "pictures" | "negatives"> {
  readonly pictures: readonly Float32Array[];
}

export function imagePromptShape(
  { network, encoder, adapter, pictures }: JobImagePrompt,
  negatives: number,
): ImagePromptShape {
  return { network, encoder, adapter, pictures: pictures.length, negatives };
}

/** Of a leg's steps: as a share of those that are made, as controls count them. */
export function imagePromptInput(
  prompt: ImagePrompt,
  { ipWeight = 1, ipStart = 0, ipEnd = 1 }: Pick<GenerateJob, "ipWeight" | "ipStart" | "ipEnd">,
  { firstStep, endStep }: Course,
): ImagePromptInput {
  const share = (step: number) => (step - firstStep) / (endStep - firstStep);
  const weights = Array.from({ length: endStep }, (_, step) =>
    share(step) >= ipStart && share(step + 1) <= ipEnd ? ipWeight : 0,
  );
  return { prompt, weights };
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
