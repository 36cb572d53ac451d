/** @file A job's adapters over its steps: how strong each is when, and what of it the plan depends on. Pure. */
import type { AdapterSet } from "../adapters/adapter-set.ts";
import type { LoraUse } from "../job/lora-use.ts";
import { atStep, type Prompt, type Strengths } from "../models/conditioning.ts";
import type { AdaptersShape } from "../models/job-shape.ts";
import type { Course } from "./denoising.ts";

/** Opened; `uses` in the set's order. */
export interface UsedAdapters {
  readonly set: AdapterSet;
  readonly uses: readonly LoraUse[];
}

/** Of one pass of a job. */
export interface JobAdapters extends UsedAdapters {
  /** Of the text encoders, where passes have other ones: the set of all passes, of which this one uses some. */
  readonly encoders?: UsedAdapters | undefined;
}

/** Components whose layers are the text encoders'. */
const ENCODERS = ["textEncoder", "textEncoder2"];

/** The steps of a course that are made: from `firstStep` on, `endStep` not among them. */
type Made = Pick<Course, "firstStep" | "endStep">;

/**
 * Of the denoising network, by step of the course's schedule; undefined without adapters. As diffusers' control_guidance_start and _end: a step
 * counts where all of it lies between, as a share of the steps that are made.
 */
export function strengthsOf(adapters: JobAdapters | undefined, { firstStep, endStep }: Made): Strengths | undefined {
  if (!adapters) return undefined;
  const share = (step: number) => (step - firstStep) / (endStep - firstStep);
  return Array.from({ length: endStep }, (_, step) =>
    adapters.uses.map(({ weight = 1, unet = weight, from = 0, to = 1 }) =>
      share(step) >= from && share(step + 1) <= to ? unet : 0,
    ),
  );
}

export function adaptersShape(adapters: JobAdapters | undefined, made: Made): AdaptersShape | undefined {
  const strengths = strengthsOf(adapters, made);
  if (!adapters || !strengths) return undefined;
  let changes = 0;
  for (let step = made.firstStep + 1; step < made.endStep; step++) {
    const before = atStep(strengths, step - 1);
    if (atStep(strengths, step).some((value, i) => value !== before[i])) changes++;
  }
  return { set: adapters.set, changes };
}

/** A prompt as encoders with the job's adapters read it. */
export function adaptedPrompt(prompt: Prompt, pass: JobAdapters | undefined): Prompt {
  const adapters = pass?.encoders ?? pass;
  if (!adapters || !ENCODERS.some((id) => adapters.set.components.has(id))) return prompt;
  const strengths = adapters.uses.map(({ weight = 1, te = weight }) => te);
  return strengths.every((value) => value === 0)
    ? prompt
    : { ...prompt, adapters: { set: adapters.set.toJSON(), strengths } };
}
