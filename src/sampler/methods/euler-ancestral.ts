/** @file Euler's method with ancestral noise (k-diffusion sample_euler_ancestral, diffusers' EulerAncestralDiscreteScheduler). */
import type { Sampler } from "../sampler.ts";
import { ancestralStep, weighted } from "./weighted.ts";

export const eulerAncestral: Sampler = {
  historyLength: 0,
  heldLength: 0,
  levels: ({ sigmas }, step) => [sigmas[step]!],
  // The last is drawn, too, and has no weight.
  draws: () => 1,
  async step({ step, x }, { sigmas }, denoise, noise) {
    const sigma = sigmas[step]!;
    const { down, up } = ancestralStep(sigma, sigmas[step + 1]!);
    const denoised = await denoise(x, sigma);
    const ratio = down / sigma;
    const kept = weighted([ratio, x], [1 - ratio, denoised]);
    return { step: step + 1, x: up > 0 ? weighted([1, kept], [up, noise(0)]) : kept, history: [] };
  },
};
