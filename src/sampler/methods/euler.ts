/**
 * @file Euler's method on the probability-flow equation (k-diffusion sample_euler), with fp32 rounding as in diffusers'
 * EulerDiscreteScheduler without churn.
 */
import type { Sampler } from "../sampler.ts";

const f32 = Math.fround;

export const euler: Sampler = {
  historyLength: 0,
  heldLength: 0,
  levels: ({ sigmas }, step) => [sigmas[step]!],
  draws: () => 0,
  async step({ step, x }, { sigmas }, denoise) {
    const sigma = sigmas[step]!;
    const denoised = await denoise(x, sigma);
    return { step: step + 1, x: eulerStep(x, denoised, sigma, sigmas[step + 1]!), history: [] };
  },
};

/** The latent at `sigmaNext`, from `x` at `sigma` and the clean latent seen in it. Elementwise, any one shape; a new array. */
export function eulerStep(x: Float32Array, denoised: Float32Array, sigma: number, sigmaNext: number): Float32Array {
  const next = new Float32Array(x.length);
  const dt = f32(sigmaNext - sigma);
  for (let at = 0; at < x.length; at++) {
    const derivative = f32(f32(x[at]! - denoised[at]!) / sigma);
    next[at] = x[at]! + f32(derivative * dt);
  }
  return next;
}
