/** @file The denoising loop: a sampler over a model, one state a step. It can go on from the state of any step, to the same pixels. */

import type { Guide, Strengths } from "../models/conditioning.ts";
import type { Checkpoint, DescribedStage, ModelCall } from "../models/family.ts";
import type { Denoise, NoiseSource, Sampler, SamplerState } from "../sampler/sampler.ts";
import { SAMPLERS, type SamplerEntry, type SamplerName } from "../sampler/samplers.ts";
import { type NoiseSchedule, noiseSchedule } from "../sampler/schedule.ts";
import type { ScheduleName } from "../sampler/schedules.ts";
import type { PhaseRun } from "../stream/phase.ts";
import { elementCount } from "../tensor/dtype.ts";

/** What a job says of its way. */
export interface CourseRequest {
  readonly sampler: SamplerName;
  /** Absent: the model's own. */
  readonly schedule?: ScheduleName | undefined;
  readonly steps: number;
}

/** A schedule, the part of it that is gone, and the questions that a sampler asks the model there. */
export interface Course {
  readonly sampler: Sampler;
  readonly schedule: NoiseSchedule;
  /** Steps that there are; a few settings of diffusers give one more than asked for, as there. */
  readonly steps: number;
  /** The steps that are made: from `firstStep` on, `endStep` not among them. */
  readonly firstStep: number;
  readonly endStep: number;
  /** Of those steps. */
  readonly calls: readonly ModelCall[];
  /** How many draws of noise those steps take. */
  readonly drawCount: number;
}

/** `part`: which steps, by default all, of the schedule's own number. Throws UsageError `E_STEPS`. */
export function courseOf(
  { scheduler }: Pick<Checkpoint, "scheduler">,
  { sampler: name, schedule: spacing, steps: wanted }: CourseRequest,
  part: { readonly firstStep?: number; readonly endStep?: number } = {},
): Course {
  const { make, placement, endsAtZero = true }: SamplerEntry = SAMPLERS[name];
  const sampler = make(scheduler.solver);
  const schedule = noiseSchedule(scheduler, wanted, { schedule: spacing, placement, endsAtZero });
  const steps = schedule.sigmas.length - 1;
  const { firstStep = 0, endStep = steps } = part;
  const made = Array.from({ length: Math.max(endStep - firstStep, 0) }, (_, at) => firstStep + at);
  const calls = made.flatMap((step) => sampler.levels(schedule, step).map((sigma) => ({ step, sigma })));
  const drawCount = drawsBefore({ sampler, schedule, firstStep }, endStep);
  return { sampler, schedule, steps, firstStep, endStep, calls, drawCount };
}

/** How many draws the course's steps before `step` take. */
function drawsBefore(
  { sampler, schedule, firstStep }: Pick<Course, "sampler" | "schedule" | "firstStep">,
  step: number,
): number {
  let draws = 0;
  for (let at = firstStep; at < step; at++) draws += sampler.draws(schedule, at);
  return draws;
}

export interface DenoisingOptions {
  readonly guide: Guide;
  readonly noise: NoiseSource;
  /** The latent that the course begins with, [1, C, H, W], at the noise level of its first step. Default: noise alone, draw 0. */
  readonly start?: Float32Array | undefined;
  /** Place of the sampler's first draw. Default: after that of the first latent. */
  readonly firstPlace?: number | undefined;
  /** Of the adapters, by step of the schedule. */
  readonly strengths?: Strengths | undefined;
  /** A state of the same course to go on from. */
  readonly from?: SamplerState | undefined;
  /** Gets the clean latent that each step came to, [1, C, H, W], before the step's state is yielded; `step`: as the state's. It keeps no copy. */
  readonly onClean?: ((clean: Float32Array, step: number) => Promise<void> | undefined) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Yields the state after each step; the last has the finished latent. Rejects with the signal's reason on abort. */
export async function* denoise(
  stage: Pick<DescribedStage, "latentShape" | "denoiser">,
  phase: PhaseRun,
  course: Course,
  { guide, noise, start, firstPlace = 1, strengths, from, onClean, signal }: DenoisingOptions,
): AsyncGenerator<SamplerState, void, undefined> {
  const { sampler, schedule, firstStep, endStep, calls } = course;
  let state = from ?? { step: firstStep, x: start ?? firstLatent(stage.latentShape, schedule, noise), history: [] };
  const firstCall = calls.findIndex(({ step }) => step >= state.step);
  const ask = await stage.denoiser(phase, { guide, schedule, calls, firstCall, strengths, signal });
  let clean: Float32Array | undefined;
  const told: Denoise = async (x, sigma) => {
    clean = await ask(x, sigma);
    return clean;
  };
  while (state.step < endStep) {
    const place = firstPlace + drawsBefore(course, state.step);
    const { length } = state.x;
    state = await sampler.step(state, schedule, onClean ? told : ask, (draw) => noise.normal(place + draw, length));
    if (clean) await onClean?.(clean, state.step);
    yield state;
  }
}

/** Noise alone at the schedule's first level, [1, C, H, W]. */
function firstLatent(
  latentShape: readonly number[],
  { initNoiseSigma }: NoiseSchedule,
  noise: NoiseSource,
): Float32Array {
  return noise.normal(0, elementCount(latentShape)).map((value) => value * initNoiseSigma);
}
