/**
 * @file The seam of samplers: from one latent to the next, over a model that predicts the clean latent. Between steps there is
 * plain data, so that a run can be stopped, shown, saved and gone on with, here or on another machine.
 */
import type { NoiseSchedule } from "./schedule.ts";

/** The clean latent that the model sees in `x` at noise level `sigma`. Prediction type, guidance and input scaling lie below. */
export type Denoise = (x: Float32Array, sigma: number) => Promise<Float32Array>;

/** All that a run needs to go on after `step` steps. Nobody writes to its arrays. */
export interface SamplerState {
  readonly step: number;
  /** The latent, [1, C, H, W]: a clean one plus unit noise times the noise level. */
  readonly x: Float32Array;
  /** What the sampler keeps of earlier steps, newest last; as many as its `historyLength` at most. */
  readonly history: readonly Float32Array[];
}

/** Unit noise by place and not by history: a run that goes on draws what an uninterrupted one draws. */
export interface NoiseSource {
  /** Draw number `place` of the seed, `count` values. What was declared for the first draws holds for them; all others are of one size. */
  normal(place: number, count: number): Float32Array<ArrayBuffer>;
}

/** Draw `draw`, from 0, of a step: unit noise of the latent's shape. */
export type StepNoise = (draw: number) => Float32Array;

export interface Sampler {
  /** Latents of earlier steps that a state holds at most: part of a plan's host memory. */
  readonly historyLength: number;
  /** Latents that a step holds beside its state while it asks the model: part of that memory, too. */
  readonly heldLength: number;
  /** The noise levels at which step `step` asks the model, in their order: a plan's repeats and the time embeddings follow. */
  levels(schedule: NoiseSchedule, step: number): readonly number[];
  /** How many latents of noise step `step` takes from the generator, also where it has no use for one. */
  draws(schedule: NoiseSchedule, step: number): number;
  /** The state after step `state.step`. Asks the model exactly at `levels`. A state without history begins, at whatever step. */
  step(state: SamplerState, schedule: NoiseSchedule, denoise: Denoise, noise: StepNoise): Promise<SamplerState>;
}
