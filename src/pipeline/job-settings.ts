/** @file What a job with a picture, or with a second pass, means where it is silent; and what can't go together. */
import { UsageError } from "../errors.ts";
import type { FullJob, GenerateJob, PictureSize } from "../job/job.ts";
import { requireEncodingFits } from "../job/output-fields.ts";
import { HIRES_FILTERS } from "../job/picture-fields.ts";
import type { Checkpoint } from "../models/family.ts";
import { isMasked } from "./job-pictures.ts";

/** diffusers' own, of StableDiffusionXLImg2ImgPipeline and StableDiffusionXLInpaintPipeline. */
const STRENGTH = 0.3;
const MASKED_STRENGTH = 0.9999;
/** Of a part that is drawn larger, and how far its edge is softened: as ADetailer and A1111 have them. */
const DETAIL_STRENGTH = 0.4;
const DETAIL_BLUR = 4;
/** A1111's own. */
const HIRES_STRENGTH = 0.7;

/** Where the refiner takes over: diffusers' ensemble of experts, and what the refiner was trained for. */
export const REFINER_START = 0.8;

/** Files of networks that enlarge pictures. */
const NETWORK_FILE = /\.(?:pth|pt|safetensors)$/i;

export type HiresUpscaler = (typeof HIRES_FILTERS)[number] | "network";

/** The job with what stands where it is silent. */
export function withPictureDefaults<Job extends GenerateJob>(job: Job, refined: boolean): Job {
  return {
    ...job,
    // Empty is the same as none, as in A1111.
    ...(job.hiresPrompt === "" && { hiresPrompt: undefined }),
    ...(job.hiresNegativePrompt === "" && { hiresNegativePrompt: undefined }),
    ...(job.initImage !== undefined && { strength: strengthOf(job) }),
    ...(job.detail !== undefined && { maskBlur: job.maskBlur ?? DETAIL_BLUR }),
    ...(refined && { refinerStart: job.refinerStart ?? REFINER_START }),
    ...(job.hiresScale !== undefined && { hiresStrength: job.hiresStrength ?? HIRES_STRENGTH }),
  };
}

export function strengthOf(job: GenerateJob): number {
  if (job.detail !== undefined) return job.strength ?? DETAIL_STRENGTH;
  return job.strength ?? (isMasked(job) ? MASKED_STRENGTH : STRENGTH);
}

/** Throws UsageError `E_JOB`. */
export function hiresUpscaler({ hiresUpscaler: name = "latent" }: GenerateJob): HiresUpscaler {
  const found = HIRES_FILTERS.find((known) => known === name.toLowerCase().replaceAll("_", "-"));
  if (found) return found;
  if (NETWORK_FILE.test(name)) return "network";
  throw refusal(
    "hiresUpscaler",
    `${JSON.stringify(name.slice(0, 60))} is none (allowed: ${HIRES_FILTERS.join(", ")}, a .pth or .safetensors file)`,
    "name one of those",
  );
}

/** Of the second pass, in whole cells of the latent. Throws UsageError `E_JOB` where it is too large. */
export function hiresSize({ pixelsPerCell }: Checkpoint, job: FullJob): PictureSize {
  const side = (pixels: number) => Math.floor(Math.floor(pixels / pixelsPerCell) * job.hiresScale!) * pixelsPerCell;
  const size = { width: side(job.width), height: side(job.height) };
  if (Math.max(size.width, size.height) <= MAX_SIDE) return size;
  throw refusal(
    "hiresScale",
    `${size.width}x${size.height} is too large (allowed: sides up to ${MAX_SIDE} pixels)`,
    "choose a smaller scale or picture",
  );
}

/** Of the first pass, in whole cells of the latent. */
export function sizeInCells({ pixelsPerCell }: Checkpoint, { width, height }: PictureSize): PictureSize {
  const side = (pixels: number) => Math.floor(pixels / pixelsPerCell) * pixelsPerCell;
  return { width: side(width), height: side(height) };
}

/** As of any picture (fields.ts). */
const MAX_SIDE = 4096;

const NEEDS_PICTURE = ["strength", "maskImage", "outpaint", "detail"] as const;
const NEEDS_HIRES = [
  ...(["hiresStrength", "hiresSteps", "hiresUpscaler"] as const),
  ...(["hiresPrompt", "hiresNegativePrompt", "hiresLoras"] as const),
];

/** Throws UsageError `E_JOB` for fields that need, or exclude, one another. */
export function requireJobFits({ inpaints, name, refiner }: Checkpoint, job: GenerateJob): void {
  const stray = (fields: readonly (keyof GenerateJob)[]) =>
    fields.find((field) => job[field] !== undefined && job[field] !== "");
  if (job.initImage === undefined) {
    const field = stray(NEEDS_PICTURE);
    if (field)
      throw refusal(field, "there is no picture to begin with", "give initImage (--init-image), or leave it out");
  }
  if (job.hiresScale === undefined) {
    const field = stray(NEEDS_HIRES);
    if (field) throw refusal(field, "there is no second pass", "give hiresScale (--hires-scale), or leave it out");
  } else if (job.initImage !== undefined) {
    throw refusal("hiresScale", "a second pass follows text to image only", "leave out hiresScale or initImage");
  }
  const blind = (job.controls ?? []).findIndex(({ image }) => image === undefined && job.initImage === undefined);
  if (blind >= 0) {
    const next = "give it an image (--control-image), or a picture to begin with (--init-image)";
    throw refusal("controls", `number ${blind + 1} has no picture to look at`, next);
  }
  requireAdaptersFit(job);
  requireDetailFits(job);
  requireEncodingFits(job);
  if (job.maskBlur && !isMasked(job)) throw refusal("maskBlur", "there is no mask", "give maskImage, or leave it out");
  if (!refiner && job.refinerStart !== undefined) {
    throw refusal("refinerStart", "no refiner is open", "open one (--refiner), or leave it out");
  }
  if (refiner && inpaints) {
    const problem = `${name} is a model for inpainting, whose noise a refiner can't go on from: it reads no mask`;
    throw refusal("maskImage", problem, "open no refiner, or a model that is not for inpainting");
  }
  if (inpaints && !isMasked(job)) {
    throw refusal(
      "maskImage",
      `${name} is a model for inpainting, and there is no mask`,
      "give initImage and maskImage",
    );
  }
}

function requireDetailFits({ detail, detailPadding, maskImage, outpaint }: GenerateJob): void {
  if (detail === undefined) {
    if (detailPadding === undefined) return;
    throw refusal("detailPadding", "there is no detail", "give detail (--detail), or leave it out");
  }
  if (outpaint !== undefined)
    throw refusal("detail", "a picture that grows is drawn as a whole", "leave out detail or outpaint");
  if ((detail === "mask") === (maskImage !== undefined)) return;
  const problem = maskImage === undefined ? "there is no mask" : "there is a mask beside the box";
  throw refusal("detail", problem, "give a box x,y,w,h, or mask with maskImage (--mask-image)");
}

/** Throws UsageError `E_JOB`. */
export function requireAdaptersFit({ ipAdapters = [] }: Pick<GenerateJob, "ipAdapters">): void {
  for (const [i, { images = [], masks = [] }] of ipAdapters.entries()) {
    const which = `number ${i + 1}`;
    if (images.length === 0)
      throw refusal("ipAdapters", `${which} has no picture to tell of`, "give it one (--ip-image)");
    if (masks.length === 0 || masks.length === images.length) continue;
    const problem = `${which} has as many masks as pictures or none (found ${masks.length}, allowed 0 or ${images.length})`;
    throw refusal("ipAdapters", problem, "give a mask for each picture, in their order (--ip-mask)");
  }
}

function refusal(subject: string, problem: string, next: string): UsageError {
  return new UsageError({ code: "E_JOB", subject, problem, next });
}
