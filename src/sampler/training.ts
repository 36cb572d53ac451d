/**
 * @file The noise levels that a model was trained at, equal to diffusers'. It mixes fp32 (torch) and fp64 (numpy); each line here
 * rounds where it does. N training steps.
 */
import type { PredictionType } from "./prediction.ts";
import { linspace32 } from "./sequences.ts";
import type { SolverSettings } from "./solver.ts";

/** What a model's noise levels follow from, with diffusers' names and defaults (EulerDiscreteScheduler). */
export interface SchedulerConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: "linear" | "scaled_linear" | "squaredcos_cap_v2";
  readonly trainedBetas: readonly number[] | undefined;
  readonly predictionType: PredictionType;
  readonly interpolationType: "linear" | "log_linear";
  readonly sigmaSpacing: "timesteps" | "karras" | "exponential" | "beta";
  readonly sigmaMin: number | undefined;
  readonly sigmaMax: number | undefined;
  readonly timestepSpacing: "linspace" | "leading" | "trailing";
  readonly timestepType: "discrete" | "continuous";
  readonly stepsOffset: number;
  readonly rescaleBetasZeroSnr: boolean;
  readonly finalSigmasType: "zero" | "sigma_min";
  /** Trained on noise levels themselves, from `sigmaMin` to `sigmaMax`, and not on steps. */
  readonly edm?: EdmSettings | undefined;
  readonly solver: SolverSettings;
}

/** Elucidating the Design Space of Diffusion-Based Generative Models (arXiv 2206.00364), with diffusers' names. */
export interface EdmSettings {
  /** Deviation of the latents that the model was trained on. */
  readonly sigmaData: number;
  /** Exponent of Karras' noise levels. */
  readonly rho: number;
}

const f32 = Math.fround;
/** Stands for zero where a terminal signal-to-noise ratio of 0 would make the first sigma infinite; diffusers' number. */
export const LEAST_ALPHA = 2 ** -24;
/** Of schedulers that keep the zero: so small that fp32 can't tell its latents from those of none. */
export const NO_ALPHA = 2 ** -48;

/** The noise level of the last training step. */
export function largestSigma(config: SchedulerConfig): number {
  return trainingSigmas(config).at(-1)!;
}

/** [N] noise level of each training step, rising. `leastAlpha` stands for a terminal signal-to-noise ratio of zero. */
export function trainingSigmas(config: SchedulerConfig, leastAlpha = LEAST_ALPHA): Float32Array {
  if (config.edm) return continuousSigmas(config);
  let betas = trainingBetas(config);
  if (config.rescaleBetasZeroSnr) betas = rescaledToZeroSnr(betas);
  const alphasBar = cumulativeProduct(betas.map((beta) => 1 - beta));
  if (config.rescaleBetasZeroSnr) alphasBar[alphasBar.length - 1] = leastAlpha;
  return alphasBar.map((alpha) => Math.sqrt(f32(f32(1 - alpha) / alpha)));
}

/** What stands for training steps where there were none: levels with evenly spaced logarithms, as in ComfyUI (ModelSamplingContinuousEDM). */
function continuousSigmas({ sigmaMin, sigmaMax, numTrainTimesteps }: SchedulerConfig): Float32Array {
  return linspace32(Math.log(sigmaMin!), Math.log(sigmaMax!), numTrainTimesteps).map(Math.exp);
}

function trainingBetas(config: SchedulerConfig): Float32Array {
  const count = config.numTrainTimesteps;
  if (config.trainedBetas) return Float32Array.from(config.trainedBetas);
  switch (config.betaSchedule) {
    case "linear":
      return linspace32(config.betaStart, config.betaEnd, count);
    case "scaled_linear":
      return linspace32(Math.sqrt(config.betaStart), Math.sqrt(config.betaEnd), count).map((root) => root * root);
    case "squaredcos_cap_v2": {
      const alphaBar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
      return Float32Array.from({ length: count }, (_, at) =>
        Math.min(1 - alphaBar((at + 1) / count) / alphaBar(at / count), 0.999),
      );
    }
  }
}

/** "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891), algorithm 1. */
function rescaledToZeroSnr(betas: Float32Array): Float32Array {
  const roots = cumulativeProduct(betas.map((beta) => 1 - beta)).map(Math.sqrt);
  const first = roots[0]!;
  const last = roots.at(-1)!;
  const stretch = f32(first / f32(first - last));
  const alphasBar = roots.map((root) => f32(f32(root - last) * stretch) ** 2);
  return alphasBar.map((alpha, at) => 1 - (at === 0 ? alpha : f32(alpha / alphasBar[at - 1]!)));
}

/** torch.cumprod: fp32 in and out, accumulated in fp64. */
function cumulativeProduct(factors: Float32Array): Float32Array {
  let product = 1;
  return factors.map((factor) => {
    product *= factor;
    return product;
  });
}
