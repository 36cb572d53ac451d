/**
 * @file The noise levels and timesteps of a run, equal to diffusers' EulerDiscreteScheduler.
 * It mixes fp32 (torch) and fp64 (numpy); each line here rounds where it does. N training steps, n inference steps.
 */
import { UsageError } from "../errors.ts";
import { roundHalfEven } from "../tensor/rounding.ts";
import type { PredictionType } from "./prediction.ts";

/** What a model's noise levels follow from, with diffusers' names and defaults (EulerDiscreteScheduler). */
export interface SchedulerConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: "linear" | "scaled_linear" | "squaredcos_cap_v2";
  readonly trainedBetas: readonly number[] | undefined;
  readonly predictionType: PredictionType;
  readonly interpolationType: "linear" | "log_linear";
  readonly sigmaSpacing: "timesteps" | "karras" | "exponential";
  readonly sigmaMin: number | undefined;
  readonly sigmaMax: number | undefined;
  readonly timestepSpacing: "linspace" | "leading" | "trailing";
  readonly timestepType: "discrete" | "continuous";
  readonly stepsOffset: number;
  readonly rescaleBetasZeroSnr: boolean;
  readonly finalSigmasType: "zero" | "sigma_min";
}

/** What a run needs of its schedule. */
export interface NoiseSchedule {
  /** [n] what the model is told at each of the levels but the last, fp32, falling. */
  readonly timesteps: Float32Array;
  /** [n + 1] noise levels, fp32, falling; step i goes from sigmas[i] to sigmas[i + 1]. */
  readonly sigmas: Float32Array;
  /** The first latent is unit noise times this. */
  readonly initNoiseSigma: number;
  /**
   * What the model is told at a noise level that step `step` asks at: that step's timestep or the next one's at their own levels, an
   * interpolated one elsewhere. (Levels don't tell timesteps apart: a schedule's last ones may be equal.)
   */
  readonly timestepOf: (sigma: number, step: number) => number;
}

const f32 = Math.fround;
/** k-diffusion's and diffusers' exponent for Karras' noise levels. */
const KARRAS_RHO = 7;
/** Evenly spaced steps may lie between training steps, so their number needs a limit of its own. */
const MAX_LINSPACE_STEPS = 10_000;
/** Stands for zero where a terminal signal-to-noise ratio of 0 would make the first sigma infinite. */
const LEAST_ALPHA = 2 ** -24;

/**
 * The schedule for `steps` inference steps. A few settings of diffusers give one step more than asked for, as there.
 * @throws UsageError `E_STEPS` where that many steps can't be placed
 */
export function noiseSchedule(config: SchedulerConfig, steps: number): NoiseSchedule {
  const training = trainingSigmas(config);
  const most = config.timestepSpacing === "linspace" ? MAX_LINSPACE_STEPS : training.length;
  if (!Number.isInteger(steps) || steps < 1 || steps > most) {
    throw new UsageError({
      code: "E_STEPS",
      problem: `the number of steps can't be placed in this model's schedule (found ${steps}, allowed 1..${most})`,
      next: "choose another number of steps",
    });
  }
  let timesteps = spacedTimesteps(config, steps);
  let levels: ArrayLike<number> =
    config.interpolationType === "linear"
      ? Float64Array.from(timesteps, (t) => interpolate(training, t))
      : linspace32(f32(Math.log(training.at(-1)!)), f32(Math.log(training[0]!)), steps + 1).map(Math.exp);
  const logs = training.map(Math.log);
  if (config.sigmaSpacing !== "timesteps") {
    levels = respaced(config, levels, steps);
    timesteps = Float32Array.from(levels, (sigma) => interpolatedTimestep(sigma, logs));
  }
  const last = config.finalSigmasType === "zero" ? 0 : training[0]!;
  const all = Float32Array.of(...Array.from(levels), last);
  const continuous = config.timestepType === "continuous" && config.predictionType === "v_prediction";
  const ofLevel = continuous ? continuousTimestep : (sigma: number) => interpolatedTimestep(sigma, logs);
  if (continuous) timesteps = all.slice(0, -1).map(ofLevel);
  const largest = all.reduce((a, b) => Math.max(a, b));
  return {
    timesteps,
    sigmas: all.slice(0, timesteps.length + 1),
    initNoiseSigma: config.timestepSpacing === "leading" ? f32(Math.sqrt(f32(f32(largest * largest) + 1))) : largest,
    timestepOf(sigma, step) {
      const own = [step, step + 1].find((at) => at < timesteps.length && all[at] === sigma);
      return own === undefined ? ofLevel(sigma) : timesteps[own]!;
    },
  };
}

/** The noise level of the last training step. */
export function largestSigma(config: SchedulerConfig): number {
  return trainingSigmas(config).at(-1)!;
}

/** [N] noise level of each training step, rising. */
function trainingSigmas(config: SchedulerConfig): Float32Array {
  let betas = trainingBetas(config);
  if (config.rescaleBetasZeroSnr) betas = rescaledToZeroSnr(betas);
  const alphasBar = cumulativeProduct(betas.map((beta) => 1 - beta));
  if (config.rescaleBetasZeroSnr) alphasBar[alphasBar.length - 1] = LEAST_ALPHA;
  return alphasBar.map((alpha) => Math.sqrt(f32(f32(1 - alpha) / alpha)));
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

/** torch.linspace in fp32: from both ends to the middle, each value by one fused multiply-add. */
function linspace32(start: number, end: number, count: number): Float32Array {
  const first = f32(start);
  const last = f32(end);
  const step = f32(f32(last - first) / (count - 1));
  return Float32Array.from({ length: count }, (_, at) =>
    at < Math.floor(count / 2) ? first + step * at : last - step * (count - 1 - at),
  );
}

/** numpy.linspace in fp64. */
function linspace64(start: number, end: number, count: number): Float64Array {
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  return Float64Array.from({ length: count }, (_, at) => (at > 0 && at === count - 1 ? end : start + at * step));
}

/** [n] training steps to stop at, falling. */
function spacedTimesteps(config: SchedulerConfig, steps: number): Float32Array {
  const count = config.numTrainTimesteps;
  switch (config.timestepSpacing) {
    case "linspace":
      return Float32Array.from(linspace64(0, count - 1, steps)).reverse();
    case "leading": {
      const ratio = Math.floor(count / steps);
      return Float32Array.from({ length: steps }, (_, at) => (steps - 1 - at) * ratio + config.stepsOffset);
    }
    case "trailing": {
      // numpy.arange(N, 0, -ratio), whose rounding may give one element more than asked for.
      const ratio = count / steps;
      const stride = count - ratio - count;
      return Float32Array.from({ length: Math.ceil(count / ratio) }, (_, at) => roundHalfEven(count + at * stride) - 1);
    }
  }
}

/** numpy.interp over 0..N-1. */
function interpolate(values: Float32Array, x: number): number {
  const last = values.length - 1;
  if (x <= 0) return values[0]!;
  if (x >= last) return values[last]!;
  const at = Math.floor(x);
  return (values[at + 1]! - values[at]!) * (x - at) + values[at]!;
}

/** Karras et al. (arXiv 2206.00364, equation 5), or evenly spaced logarithms. */
function respaced(config: SchedulerConfig, levels: ArrayLike<number>, steps: number): Float64Array {
  const low = config.sigmaMin ?? levels[levels.length - 1]!;
  const high = config.sigmaMax ?? levels[0]!;
  if (config.sigmaSpacing === "exponential") {
    return linspace64(Math.log(high), Math.log(low), steps).map(Math.exp);
  }
  const lowRoot = low ** (1 / KARRAS_RHO);
  const highRoot = high ** (1 / KARRAS_RHO);
  return linspace64(0, 1, steps).map((ramp) => (highRoot + ramp * (lowRoot - highRoot)) ** KARRAS_RHO);
}

/** What models trained on noise levels themselves are told (EDM, arXiv 2206.00364, table 1). */
function continuousTimestep(sigma: number): number {
  return 0.25 * f32(Math.log(sigma));
}

/** The (fractional) training step of a noise level. `logs` are the logarithms of the training levels. */
function interpolatedTimestep(sigma: number, logs: Float32Array): number {
  const log = Math.log(Math.max(sigma, 1e-10));
  const low = Math.min(
    Math.max(
      logs.findLastIndex((level) => log >= level),
      0,
    ),
    logs.length - 2,
  );
  const weight = (logs[low]! - log) / f32(logs[low]! - logs[low + 1]!);
  const clipped = Math.min(Math.max(weight, 0), 1);
  return (1 - clipped) * low + clipped * (low + 1);
}
