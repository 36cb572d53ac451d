/**
 * @file DPM-Solver-2 in Karras' form, by the level half way in logarithms, with and without ancestral noise (diffusers'
 * KDPM2DiscreteScheduler and KDPM2AncestralDiscreteScheduler).
 */
import type { Sampler } from "../sampler.ts";
import { ancestralStep, middleLevel, weighted } from "./weighted.ts";

function dpm2Of(isAncestral: boolean): Sampler {
  const target = (from: number, to: number) => (isAncestral ? ancestralStep(from, to) : { down: to, up: 0 });
  return {
    historyLength: 0,
    heldLength: 2,
    levels({ sigmas }, step) {
      const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
      return next === 0 ? [sigma] : [sigma, middleLevel(sigma, target(sigma, next).down)];
    },
    draws: ({ sigmas }, step) => (isAncestral && sigmas[step + 1]! > 0 ? 1 : 0),
    async step({ step, x }, { sigmas }, denoise, noise) {
      const [sigma, next] = [sigmas[step]!, sigmas[step + 1]!];
      const first = await denoise(x, sigma);
      if (next === 0) return { step: step + 1, x: first, history: [] };
      const { down, up } = target(sigma, next);
      const middle = middleLevel(sigma, down);
      const reached = weighted([middle / sigma, x], [1 - middle / sigma, first]);
      const second = await denoise(reached, middle);
      const slope = (down - sigma) / middle;
      const kept = weighted([1, x], [slope, reached], [-slope, second]);
      return { step: step + 1, x: up > 0 ? weighted([1, kept], [up, noise(0)]) : kept, history: [] };
    },
  };
}

export const dpm2: Sampler = dpm2Of(false);
export const dpm2Ancestral: Sampler = dpm2Of(true);
