/** @file DPM-Solver++(2S) with ancestral noise (k-diffusion sample_dpmpp_2s_ancestral, eta 1); diffusers has none. */
import type { Sampler } from "../sampler.ts";
import type { NoiseSchedule } from "../schedule.ts";
import { ancestralStep, middleLevel, weighted } from "./weighted.ts";

/** The levels of a step: its own, and half way to where it goes down to, unless that is no noise at all. */
function levelsOf({ sigmas }: NoiseSchedule, step: number): readonly number[] {
  const sigma = sigmas[step]!;
  const { down } = ancestralStep(sigma, sigmas[step + 1]!);
  return down === 0 ? [sigma] : [sigma, middleLevel(sigma, down)];
}

export const dpmpp2sAncestral: Sampler = {
  historyLength: 0,
  heldLength: 2,
  levels: levelsOf,
  draws: ({ sigmas }, step) => (sigmas[step + 1] === 0 ? 0 : 1),
  async step({ step, x }, schedule, denoise, noise) {
    const [sigma, middle] = levelsOf(schedule, step) as [number, number?];
    const { down, up } = ancestralStep(sigma, schedule.sigmas[step + 1]!);
    const first = await denoise(x, sigma);
    if (middle === undefined) return { step: step + 1, x: first, history: [] };
    const reached = weighted([middle / sigma, x], [1 - middle / sigma, first]);
    const second = await denoise(reached, middle);
    const moved = weighted([down / sigma, x], [1 - down / sigma, second], [up, noise(0)]);
    return { step: step + 1, x: moved, history: [] };
  },
};
