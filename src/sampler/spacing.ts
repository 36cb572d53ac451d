/** @file Which training steps a run stops at, as each kind of diffusers' schedulers places them. N training steps, n inference steps. */
import { UsageError } from "../errors.ts";
import { roundHalfEven } from "../tensor/rounding.ts";
import { linspace64 } from "./sequences.ts";
import type { SchedulerConfig } from "./training.ts";

/**
 * How a scheduler class places timesteps. "k": Euler and its kin, also between training steps. "kdpm2": so, but whole ones at Karras'
 * levels. "dpm": one interval more, whole steps. "ddim": whole steps. "lcm": out of the steps that the model was distilled at.
 */
export type Placement = "k" | "kdpm2" | "dpm" | "ddim" | "lcm";

/** Whether the latent is a clean one plus noise, and not their mix of unit variance. */
export function addsNoise(placement: Placement): boolean {
  return placement === "k" || placement === "kdpm2";
}

/** Evenly spaced steps may lie between training steps, so their number needs a limit of its own. */
const MAX_LINSPACE_STEPS = 10_000;

/** [n] training steps to stop at, falling. Throws UsageError `E_STEPS`. */
export function spacedTimesteps(config: SchedulerConfig, placement: Placement, steps: number): Float32Array {
  const count = config.numTrainTimesteps;
  const { timestepSpacing } = config;
  const between = addsNoise(placement) && timestepSpacing === "linspace";
  const extra = placement === "dpm" && timestepSpacing !== "trailing" ? 1 : 0;
  requireSteps(steps, between ? MAX_LINSPACE_STEPS : count - extra);
  switch (timestepSpacing) {
    case "linspace": {
      const spaced = linspace64(0, count - 1, steps + extra);
      return Float32Array.from(between ? spaced : spaced.map(roundHalfEven))
        .reverse()
        .slice(0, steps);
    }
    case "leading": {
      const ratio = Math.floor(count / (steps + extra));
      return Float32Array.from({ length: steps }, (_, at) => (steps + extra - 1 - at) * ratio + config.stepsOffset);
    }
    case "trailing": {
      // numpy.arange(N, 0, -ratio), whose rounding may give one element more than asked for.
      const ratio = count / steps;
      const stride = count - ratio - count;
      return Float32Array.from({ length: Math.ceil(count / ratio) }, (_, at) => roundHalfEven(count + at * stride) - 1);
    }
  }
}

/** Throws UsageError `E_STEPS`. */
export function requireSteps(steps: number, most: number): void {
  if (Number.isInteger(steps) && steps >= 1 && steps <= most) return;
  throw new UsageError({
    code: "E_STEPS",
    problem: `the number of steps can't be placed in this model's schedule (found ${steps}, allowed 1..${most})`,
    next: "choose another number of steps",
  });
}
