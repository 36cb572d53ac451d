/** @file Trajectory consistency distillation's sampling (arXiv 2402.19159; diffusers' TCDScheduler, eta 0.3). */
import type { Sampler } from "../sampler.ts";
import { weighted } from "./weighted.ts";

/** diffusers' default share of noise; in fp32, as a timestep's product with it is. */
const KEPT = Math.fround(1 - 0.3);

export const tcd: Sampler = {
  historyLength: 0,
  heldLength: 0,
  levels: ({ sigmas }, step) => [sigmas[step]!],
  draws: ({ timesteps }, step) => (step + 1 < timesteps.length ? 1 : 0),
  async step({ step, x }, { sigmas, timesteps, levelAt }, denoise, noise) {
    const sigma = sigmas[step]!;
    const denoised = await denoise(x, sigma);
    const last = step + 1 === timesteps.length;
    const reachedLevel = levelAt(last ? 0 : Math.floor(Math.fround(KEPT * timesteps[step + 1]!)));
    const ratio = reachedLevel / sigma;
    const reached = weighted([ratio, x], [1 - ratio, denoised]);
    // A variance-preserving latent at the end, as diffusers leaves it.
    if (last) return { step: step + 1, x: weighted([1 / Math.sqrt(1 + reachedLevel ** 2), reached]), history: [] };
    const spread = Math.sqrt(Math.max(sigmas[step + 1]! ** 2 - reachedLevel ** 2, 0));
    return { step: step + 1, x: weighted([1, reached], [spread, noise(0)]), history: [] };
  },
};
