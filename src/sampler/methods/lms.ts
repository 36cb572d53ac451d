/**
 * @file Linear multistep of order 4 (k-diffusion sample_lms, diffusers' LMSDiscreteScheduler). The history holds derivatives. A run
 * that begins at a later step begins with order 1.
 */
import type { Sampler } from "../sampler.ts";
import { weighted } from "./weighted.ts";

const ORDER = 4;
/** Gauss-Legendre of two points is exact for the cubic polynomials of order 4. */
const POINT = 1 / Math.sqrt(3);

export const lms: Sampler = {
  historyLength: ORDER - 1,
  heldLength: 0,
  levels: ({ sigmas }, step) => [sigmas[step]!],
  draws: () => 0,
  async step({ step, x, history }, { sigmas }, denoise) {
    const sigma = sigmas[step]!;
    const denoised = await denoise(x, sigma);
    const derivatives = [...history, weighted([1 / sigma, x], [-1 / sigma, denoised])];
    const newestFirst = derivatives.toReversed();
    const levels = newestFirst.map((_, back) => sigmas[step - back]!);
    const terms = newestFirst.map((derivative, i) => [weightOf(levels, i, sigmas[step + 1]!), derivative] as const);
    return { step: step + 1, x: weighted([1, x], ...terms), history: derivatives.slice(-(ORDER - 1)) };
  },
};

/** The integral, from the first level to `next`, of the polynomial that is 1 at level `at` and 0 at the others. */
function weightOf(levels: readonly number[], at: number, next: number): number {
  const [start] = levels as [number];
  const half = (next - start) / 2;
  const polynomial = (tau: number) =>
    levels.reduce((product, level, k) => (k === at ? product : (product * (tau - level)) / (levels[at]! - level)), 1);
  const centre = start + half;
  return half * (polynomial(centre - half * POINT) + polynomial(centre + half * POINT));
}
