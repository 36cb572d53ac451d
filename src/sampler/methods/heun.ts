/** @file Heun's method (Karras et al., arXiv 2206.00364, algorithm 2; k-diffusion sample_heun, diffusers' HeunDiscreteScheduler). */
import type { Sampler } from "../sampler.ts";
import type { SolverSettings } from "../solver.ts";
import { clipped } from "./ddim.ts";
import { weighted } from "./weighted.ts";

export function heun({ clipRange }: SolverSettings): Sampler {
  return {
    historyLength: 0,
    heldLength: 2,
    levels: ({ sigmas }, step) => [sigmas[step]!, sigmas[step + 1]!].filter((sigma) => sigma > 0),
    draws: () => 0,
    async step({ step, x }, { sigmas }, denoise) {
      const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
      const first = clipped(await denoise(x, sigma), clipRange);
      const ratio = next / sigma;
      const reached = weighted([ratio, x], [1 - ratio, first]);
      if (next === 0) return { step: step + 1, x: reached, history: [] };
      const second = clipped(await denoise(reached, next), clipRange);
      // x + (next - sigma) / 2 * ((x - first) / sigma + (reached - second) / next)
      const half = (next - sigma) / 2;
      const [a, b] = [half / sigma, half / next];
      return { step: step + 1, x: weighted([1 + a, x], [-a, first], [b, reached], [-b, second]), history: [] };
    },
  };
}
