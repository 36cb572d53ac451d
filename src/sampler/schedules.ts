/**
 * @file The schedules there are: one row each, and the formulas of those that spread noise levels and not training steps. n inference
 * steps; levels fall; the level that a run ends at is not among them.
 */
import { linspace64 } from "./sequences.ts";

/** What the formulas go by. */
export interface LevelRange {
  /** Noise levels of the ends. */
  readonly low: number;
  readonly high: number;
}

export interface ScheduleEntry {
  /** As A1111's web UI names it where it has it, in infotexts and for people. */
  readonly title: string;
  /** What other programs call it, in small letters. */
  readonly aliases: readonly string[];
  /** Which setting of diffusers' it stands for; with none the model's own settings hold. */
  readonly timestepSpacing?: "linspace" | "leading" | "trailing";
  readonly sigmaSpacing?: "karras" | "exponential";
}

export const SCHEDULES = {
  default: { title: "Automatic", aliases: ["automatic", "model"] },
  linspace: { title: "Uniform", aliases: ["uniform"], timestepSpacing: "linspace" },
  leading: { title: "DDIM", aliases: ["ddim", "ddim_uniform"], timestepSpacing: "leading" },
  trailing: { title: "Trailing", aliases: [], timestepSpacing: "trailing" },
  karras: { title: "Karras", aliases: ["ka"], sigmaSpacing: "karras" },
  exponential: { title: "Exponential", aliases: ["exp"], sigmaSpacing: "exponential" },
} as const satisfies Readonly<Record<string, ScheduleEntry>>;

export type ScheduleName = keyof typeof SCHEDULES;

/** k-diffusion's and diffusers' exponent for Karras' noise levels. */
const KARRAS_RHO = 7;

/** Karras et al. (arXiv 2206.00364, equation 5). */
export function karrasLevels({ low, high }: LevelRange, steps: number): Float64Array {
  const lowRoot = low ** (1 / KARRAS_RHO);
  const highRoot = high ** (1 / KARRAS_RHO);
  return linspace64(0, 1, steps).map((ramp) => (highRoot + ramp * (lowRoot - highRoot)) ** KARRAS_RHO);
}

/** Evenly spaced logarithms. */
export function exponentialLevels({ low, high }: LevelRange, steps: number): Float64Array {
  return linspace64(Math.log(high), Math.log(low), steps).map(Math.exp);
}
