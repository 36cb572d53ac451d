/** @file DDIM without noise (arXiv 2010.02502; diffusers' DDIMScheduler with eta 0). */
import type { Sampler } from "../sampler.ts";
import type { SolverSettings } from "../solver.ts";
import { landed, weighted } from "./weighted.ts";

export function ddim({ clipRange }: SolverSettings): Sampler {
  return {
    historyLength: 0,
    heldLength: 0,
    levels: ({ sigmas }, step) => [sigmas[step]!],
    draws: () => 0,
    async step({ step, x }, schedule, denoise) {
      const sigma = schedule.sigmas[step]!;
      const ratio = schedule.landings[step]! / sigma;
      const denoised = await denoise(x, sigma);
      // The noise that was seen stays as it was where the clean latent is cut, as in diffusers.
      const next = weighted([ratio, x], [-ratio, denoised], [1, clipped(denoised, clipRange)]);
      return { step: step + 1, x: landed(next, schedule, step), history: [] };
    },
  };
}

/** Values cut to plus and minus `range`; all as they are without one. */
export function clipped(values: Float32Array, range: number | undefined): Float32Array {
  return range === undefined ? values : values.map((value) => Math.min(Math.max(value, -range), range));
}
