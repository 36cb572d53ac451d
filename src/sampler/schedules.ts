/**
 * @file The schedules there are: one row each, and the formulas of those that spread noise levels and not training steps. n inference
 * steps; levels fall. Formulas of A1111's web UI are those of its 1.10 (modules/sd_schedulers.py).
 */
import { betaQuantile } from "./beta-distribution.ts";
import { linspace64 } from "./sequences.ts";
import { interpolatedTimestep, sigmaOfTimestep } from "./timesteps.ts";

/** The noise levels of the ends. */
export interface LevelRange {
  readonly low: number;
  readonly high: number;
  /** Karras' exponent, where the model has one of its own. */
  readonly rho?: number | undefined;
}

/** What formulas that only A1111 has go by. */
export interface TrainedLevels extends LevelRange {
  /** [N] rising. */
  readonly training: Float32Array;
  /** [N] their logarithms. */
  readonly logs: Float32Array;
}

export interface ScheduleEntry {
  /** As A1111's web UI names it where it has it, in infotexts and for people. */
  readonly title: string;
  /** What other programs call it. */
  readonly aliases: readonly string[];
  /** Which setting of diffusers' it stands for; with none the model's own settings hold. */
  readonly timestepSpacing?: "linspace" | "leading" | "trailing";
  readonly sigmaSpacing?: "karras" | "exponential" | "beta";
  /** [n] levels, which end at no noise, or [n + 1]. The first latent is noise times the first level, as in A1111. */
  readonly levels?: (trained: TrainedLevels, steps: number) => ArrayLike<number>;
}

export const SCHEDULES = {
  default: { title: "Automatic", aliases: ["model"] },
  linspace: { title: "Uniform", aliases: [], timestepSpacing: "linspace" },
  leading: { title: "DDIM", aliases: ["ddim_uniform"], timestepSpacing: "leading" },
  trailing: { title: "Trailing", aliases: [], timestepSpacing: "trailing" },
  karras: { title: "Karras", aliases: ["ka"], sigmaSpacing: "karras" },
  exponential: { title: "Exponential", aliases: ["exp"], sigmaSpacing: "exponential" },
  polyexponential: { title: "Polyexponential", aliases: ["poly_exponential"], levels: exponentialLevels },
  beta: { title: "Beta", aliases: [], sigmaSpacing: "beta" },
  "sgm-uniform": { title: "SGM Uniform", aliases: ["sgm"], levels: sgmUniformLevels },
  simple: { title: "Simple", aliases: [], levels: simpleLevels },
  normal: { title: "Normal", aliases: [], levels: normalLevels },
  "align-your-steps": { title: "Align Your Steps", aliases: ["ays", "align_your_steps_sdxl"], levels: alignedLevels },
  "kl-optimal": { title: "KL Optimal", aliases: [], levels: klOptimalLevels },
} as const satisfies Readonly<Record<string, ScheduleEntry>>;

export type ScheduleName = keyof typeof SCHEDULES;

/** k-diffusion's and diffusers' exponent for Karras' noise levels. */
const KARRAS_RHO = 7;

/** Karras et al. (arXiv 2206.00364, equation 5). */
export function karrasLevels({ low, high, rho = KARRAS_RHO }: LevelRange, steps: number): Float64Array {
  const lowRoot = low ** (1 / rho);
  const highRoot = high ** (1 / rho);
  return linspace64(0, 1, steps).map((ramp) => (highRoot + ramp * (lowRoot - highRoot)) ** rho);
}

/** Evenly spaced logarithms; k-diffusion's polyexponential schedule with its exponent 1, too. */
export function exponentialLevels({ low, high }: LevelRange, steps: number): Float64Array {
  return linspace64(Math.log(high), Math.log(low), steps).map(Math.exp);
}

/** Quantiles of a beta distribution, falling, between the ends. */
export function betaLevels({ low, high }: LevelRange, steps: number): Float64Array {
  return linspace64(0, 1, steps).map((ramp) => low + betaQuantile(1 - ramp) * (high - low));
}

/** Evenly spaced training steps, without the last. */
function sgmUniformLevels(trained: TrainedLevels, steps: number): Float64Array {
  return ofTimesteps(trained, steps + 1).slice(0, steps);
}

/** Evenly spaced training steps, both ends among them. */
function normalLevels(trained: TrainedLevels, steps: number): Float64Array {
  return ofTimesteps(trained, steps);
}

function ofTimesteps({ low, high, logs }: TrainedLevels, count: number): Float64Array {
  const [start, end] = [interpolatedTimestep(high, logs), interpolatedTimestep(low, logs)];
  return linspace64(start, end, count).map((timestep) => sigmaOfTimestep(timestep, logs));
}

/** Every so many-th trained level, from the highest. */
function simpleLevels({ training }: TrainedLevels, steps: number): Float64Array {
  const stride = training.length / steps;
  return Float64Array.from({ length: steps }, (_, at) => training.at(-(1 + Math.floor(at * stride)))!);
}

/** SDXL's of "Align Your Steps" (arXiv 2404.14507), for ten steps. */
const ALIGNED = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.38, 0.234, 0.113, 0.029];

/** The table's, log-linearly interpolated for other numbers of steps. */
function alignedLevels(_: TrainedLevels, steps: number): Float64Array {
  if (steps === ALIGNED.length) return Float64Array.from(ALIGNED);
  const last = ALIGNED.length - 1;
  // A1111 interpolates the rising table, and of a single step takes its lowest level.
  const rising = ALIGNED.toReversed().map(Math.log);
  return linspace64(0, 1, steps)
    .map((ramp) => {
      const place = ramp * last;
      const at = Math.min(Math.floor(place), last - 1);
      return Math.exp(rising[at]! + (rising[at + 1]! - rising[at]!) * (place - at));
    })
    .reverse();
}

/** "Align Your Steps", theorem 3.1: evenly spaced arcs. The lowest level is the run's end. */
function klOptimalLevels({ low, high }: TrainedLevels, steps: number): Float64Array {
  const [end, start] = [Math.atan(low), Math.atan(high)];
  return Float64Array.from({ length: steps + 1 }, (_, at) => Math.tan((at / steps) * end + (1 - at / steps) * start));
}
