/** @file A job's adapters over its steps: how strong each is when, and what of it the plan depends on. Pure. */
import type { AdapterSet } from "../adapters/adapter-set.ts";
import type { LoraUse } from "../job/lora-use.ts";
import { atStep, type Prompt, type Strengths } from "../models/conditioning.ts";
import type { AdaptersShape } from "../models/job-shape.ts";

/** Opened; `uses` in the set's order. */
export interface JobAdapters {
  readonly set: AdapterSet;
  readonly uses: readonly LoraUse[];
}

/** Components whose layers are the text encoders'. */
const ENCODERS = ["textEncoder", "textEncoder2"];

/** Of the denoising network in each of `steps`. As diffusers' control_guidance_start and _end: a step counts where all of it lies between. */
export function strengthsOf(adapters: JobAdapters | undefined, steps: number): Strengths | undefined {
  if (!adapters) return undefined;
  const at = (step: number) =>
    adapters.uses.map(({ weight = 1, unet = weight, from = 0, to = 1 }) =>
      step / steps >= from && (step + 1) / steps <= to ? unet : 0,
    );
  const all = Array.from({ length: steps }, (_, step) => at(step));
  const isConstant = all.every((strengths) => strengths.every((value, i) => value === all[0]![i]));
  return isConstant ? all.slice(0, 1) : all;
}

/** Of the steps from `firstStep` to `endStep` of so many. */
export function adaptersShape(
  adapters: JobAdapters | undefined,
  { steps, firstStep, endStep }: { readonly steps: number; readonly firstStep: number; readonly endStep: number },
): AdaptersShape | undefined {
  if (!adapters) return undefined;
  const strengths = strengthsOf(adapters, steps)!;
  let changes = 0;
  for (let step = firstStep + 1; step < endStep; step++) {
    const before = atStep(strengths, step - 1);
    if (atStep(strengths, step).some((value, i) => value !== before[i])) changes++;
  }
  return { set: adapters.set, changes };
}

/** A prompt as encoders with the job's adapters read it. */
export function adaptedPrompt(prompt: Prompt, adapters: JobAdapters | undefined): Prompt {
  if (!adapters || !ENCODERS.some((id) => adapters.set.components.has(id))) return prompt;
  const strengths = adapters.uses.map(({ weight = 1, te = weight }) => te);
  return strengths.every((value) => value === 0)
    ? prompt
    : { ...prompt, adapters: { set: adapters.set.toJSON(), strengths } };
}
