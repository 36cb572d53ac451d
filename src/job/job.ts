/** @file What a job may ask for: defaults filled in, ranges checked. */
import type { EngineInfo, GenerateJob } from "./engine-types.ts";
import { UsageError } from "./errors.ts";
import type { TextToImageJob } from "./pipeline/text-to-image.ts";

/** Sizes and counts one image may ask for; hostile.md H06 has the server's tighter ones. */
export const JOB_LIMITS = {
  minPixels: 16,
  maxPixels: 4096,
  pixelStep: 8,
  maxSteps: 1000,
  maxGuidance: 100,
  maxPromptChars: 65536,
};

/** Fills in defaults and checks ranges. Throws UsageError naming the field. */
export function completeJob(job: GenerateJob, info: EngineInfo): TextToImageJob {
  const seed = job.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!;
  const full = {
    prompt: job.prompt,
    ...(job.negativePrompt === undefined ? {} : { negativePrompt: job.negativePrompt }),
    seed,
    steps: job.steps ?? 30,
    guidance: job.guidance ?? 5,
    width: job.width ?? info.defaultWidth,
    height: job.height ?? info.defaultHeight,
  };
  for (const [field, text] of Object.entries({ prompt: job.prompt, negativePrompt: job.negativePrompt ?? "" })) {
    check(field, typeof text, typeof text === "string", "a string");
  }
  const { minPixels, maxPixels, pixelStep, maxSteps, maxGuidance, maxPromptChars } = JOB_LIMITS;
  check("seed", seed, Number.isSafeInteger(seed) && seed >= 0, "an integer from 0 to 9007199254740991");
  check("steps", full.steps, isInt(full.steps, 1, maxSteps), `an integer from 1 to ${maxSteps}`);
  const guidanceFits = Number.isFinite(full.guidance) && full.guidance >= 0 && full.guidance <= maxGuidance;
  check("guidance", full.guidance, guidanceFits, `0 to ${maxGuidance}`);
  for (const side of ["width", "height"] as const) {
    const fits = isInt(full[side], minPixels, maxPixels) && full[side] % pixelStep === 0;
    check(side, full[side], fits, `${minPixels} to ${maxPixels} pixels in steps of ${pixelStep}`);
  }
  for (const text of [full.prompt, full.negativePrompt ?? ""]) {
    check("prompt", `${text.length} characters`, text.length <= maxPromptChars, `${maxPromptChars} characters`);
  }
  return full;
}

/** The VAE makes `scale` pixels of one latent cell, and one there must be. */
export function requireLatent({ width, height }: TextToImageJob, scale: number): void {
  for (const [field, pixels] of Object.entries({ width, height })) {
    check(field, pixels, pixels >= scale, `at least ${scale} pixels with this model`);
  }
}

function isInt(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

function check(field: string, found: string | number, fits: boolean, allowed: string): void {
  if (fits) return;
  throw new UsageError({
    code: "E_JOB",
    subject: field,
    problem: `out of range (found ${found}, allowed ${allowed})`,
    next: `give ${field} a value in that range`,
  });
}
