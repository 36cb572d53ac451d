/** @file Latent consistency models' multistep sampling (arXiv 2310.04378; diffusers' LCMScheduler). */
import type { Sampler } from "../sampler.ts";
import type { SolverSettings } from "../solver.ts";
import { clipped } from "./ddim.ts";
import { weighted } from "./weighted.ts";

/** diffusers' sigma_data of the boundary condition. */
const SIGMA_DATA = 0.5;

export function lcm({ clipRange, timestepScaling = 10 }: SolverSettings): Sampler {
  return {
    historyLength: 0,
    heldLength: 0,
    levels: ({ sigmas }, step) => [sigmas[step]!],
    draws: ({ timesteps }, step) => (step + 1 < timesteps.length ? 1 : 0),
    async step({ step, x }, { sigmas, timesteps }, denoise, noise) {
      const sigma = sigmas[step]!;
      const clean = clipped(await denoise(x, sigma), clipRange);
      const scaled = timesteps[step]! * timestepScaling;
      const variance = scaled ** 2 + SIGMA_DATA ** 2;
      // Of the variance-preserving latent.
      const skip = SIGMA_DATA ** 2 / variance / Math.sqrt(1 + sigma ** 2);
      const denoised = weighted([scaled / Math.sqrt(variance), clean], [skip, x]);
      const last = step + 1 === timesteps.length;
      return {
        step: step + 1,
        x: last ? denoised : weighted([1, denoised], [sigmas[step + 1]!, noise(0)]),
        history: [],
      };
    },
  };
}
