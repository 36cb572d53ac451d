/** @file The denoising loop: a sampler over a model, one state a step. It can go on from the state of any step, to the same pixels. */
import type { Checkpoint, DescribedJob, Guide, ModelCall } from "../models/family.ts";
import type { NoiseSource, Sampler, SamplerState } from "../sampler/sampler.ts";
import type { NoiseSchedule } from "../sampler/schedule.ts";
import type { PhaseRun } from "../stream/phase.ts";
import { elementCount } from "../tensor/dtype.ts";

/** A schedule, and the questions that a sampler asks the model along it. */
export interface Course {
  readonly sampler: Sampler;
  readonly schedule: NoiseSchedule;
  /** Steps that there are; a few settings of diffusers give one more than asked for, as there. */
  readonly steps: number;
  readonly calls: readonly ModelCall[];
}

/** Throws UsageError `E_STEPS`. */
export function courseOf(checkpoint: Checkpoint, sampler: Sampler, steps: number): Course {
  const schedule = checkpoint.schedule(steps);
  const count = schedule.sigmas.length - 1;
  const calls = Array.from({ length: count }, (_, step) =>
    sampler.levels(schedule.sigmas, step).map((sigma) => ({ step, sigma })),
  ).flat();
  return { sampler, schedule, steps: count, calls };
}

export interface DenoisingOptions {
  readonly guide: Guide;
  readonly noise: NoiseSource;
  /** A state of the same job to go on from. */
  readonly from?: SamplerState | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Yields the state after each step; the last has the finished latent. Rejects with the signal's reason on abort. */
export async function* denoise(
  job: DescribedJob,
  phase: PhaseRun,
  { sampler, schedule, steps, calls }: Course,
  { guide, noise, from, signal }: DenoisingOptions,
): AsyncGenerator<SamplerState, void, undefined> {
  let state = from ?? firstState(job, schedule, noise);
  const firstCall = calls.findIndex(({ step }) => step >= state.step);
  const ask = await job.denoiser(phase, { guide, schedule, calls, firstCall, signal });
  while (state.step < steps) {
    state = await sampler.step(state, schedule.sigmas, ask, noise);
    yield state;
  }
}

function firstState(job: DescribedJob, { initNoiseSigma }: NoiseSchedule, noise: NoiseSource): SamplerState {
  const x = noise.normal(0, elementCount(job.latentShape)).map((value) => value * initNoiseSigma); // [1, C, H, W]
  return { step: 0, x, history: [] };
}
