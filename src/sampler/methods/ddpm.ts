/** @file Ancestral sampling (arXiv 2006.11239, algorithm 2; diffusers' DDPMScheduler). */
import type { Sampler } from "../sampler.ts";
import type { SolverSettings } from "../solver.ts";
import { clipped } from "./ddim.ts";
import { weighted } from "./weighted.ts";

export function ddpm({ clipRange, largeVariance = false }: SolverSettings): Sampler {
  return {
    historyLength: 0,
    heldLength: 0,
    levels: ({ sigmas }, step) => [sigmas[step]!],
    // Drawn for the last step, too, unless that is training step 0.
    draws: ({ sigmas, timesteps }, step) => (sigmas[step + 1] === 0 && timesteps[step] === 0 ? 0 : 1),
    async step({ step, x }, { sigmas }, denoise, noise) {
      const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
      const clean = clipped(await denoise(x, sigma), clipRange);
      const kept = (next / sigma) ** 2;
      const variance = largeVariance ? 1 + next ** 2 - (1 + next ** 2) ** 2 / (1 + sigma ** 2) : next ** 2 * (1 - kept);
      const mean = weighted([kept, x], [1 - kept, clean]);
      const spread = Math.sqrt(variance);
      return { step: step + 1, x: spread > 0 ? weighted([1, mean], [spread, noise(0)]) : mean, history: [] };
    },
  };
}
