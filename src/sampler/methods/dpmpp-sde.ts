/**
 * @file DPM-Solver++ as an SDE in single steps of two questions (k-diffusion sample_dpmpp_sde, diffusers' DPMSolverSDEScheduler). Their
 * Brownian tree has no order of its draws: two plain normals a step are drawn, for the ways to and from the middle, and joined as
 * the tree's increments are.
 */
import type { Sampler } from "../sampler.ts";
import { ancestralStep, middleLevel, weighted } from "./weighted.ts";

export const dpmppSde: Sampler = {
  historyLength: 0,
  heldLength: 4,
  levels({ sigmas }, step) {
    const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
    return next === 0 ? [sigma] : [sigma, middleLevel(sigma, next)];
  },
  draws: ({ sigmas }, step) => (sigmas[step + 1] === 0 ? 0 : 2),
  async step({ step, x }, { sigmas }, denoise, noise) {
    const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
    const first = await denoise(x, sigma);
    if (next === 0) return { step: step + 1, x: first, history: [] };
    const middle = middleLevel(sigma, next);
    const [before, after] = [noise(0), noise(1)];
    const half = ancestralStep(sigma, middle);
    const reached = weighted([half.down / sigma, x], [1 - half.down / sigma, first], [half.up, before]);
    const second = await denoise(reached, middle);
    const { down, up } = ancestralStep(sigma, next);
    // A Brownian path over the levels: its increments' variances are the levels' distances.
    const [a, b] = [(sigma - middle) / (sigma - next), (middle - next) / (sigma - next)].map(Math.sqrt) as [
      number,
      number,
    ];
    const moved = weighted([down / sigma, x], [1 - down / sigma, second], [up * a, before], [up * b, after]);
    return { step: step + 1, x: moved, history: [] };
  },
};
