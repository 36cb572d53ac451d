/**
 * @file Euler's method on the probability-flow equation, one step of it, with fp32 rounding as in diffusers'
 * EulerDiscreteScheduler without churn. Elementwise; arrays are latents of any one shape. `into` may be an input.
 */
import type { PredictionType } from "./config.ts";

const f32 = Math.fround;

/** What the UNet is given: `sample` divided by sqrt(sigma^2 + 1). */
export function scaleModelInput(
  sample: Float32Array,
  sigma: number,
  into: Float32Array = new Float32Array(sample.length),
): Float32Array {
  const divisor = f32(Math.sqrt(f32(f32(sigma * sigma) + 1)));
  for (let at = 0; at < sample.length; at++) into[at] = sample[at]! / divisor;
  return into;
}

/** Classifier-free guidance: uncond + scale * (cond - uncond). */
export function combineGuidance(
  uncond: Float32Array,
  cond: Float32Array,
  scale: number,
  into: Float32Array = new Float32Array(uncond.length),
): Float32Array {
  const weight = f32(scale);
  for (let at = 0; at < uncond.length; at++) {
    into[at] = uncond[at]! + f32(weight * f32(cond[at]! - uncond[at]!));
  }
  return into;
}

/** One step's inputs: the UNet's (guided) output and the latent it was made from, at two noise levels. */
export interface EulerStep {
  readonly prediction: Float32Array;
  readonly sample: Float32Array;
  readonly sigma: number;
  readonly sigmaNext: number;
  readonly predictionType: PredictionType;
  /** Where the result goes; default a new array. May be `sample` or `prediction`. */
  readonly into?: Float32Array;
}

/** The latent at `sigmaNext`. */
export function eulerStep(step: EulerStep): Float32Array {
  const { prediction, sample, sigma, sigmaNext, predictionType } = step;
  const into = step.into ?? new Float32Array(sample.length);
  const variance = f32(f32(sigma * sigma) + 1);
  const outWeight = f32(-sigma / f32(Math.sqrt(variance)));
  const dt = f32(sigmaNext - sigma);
  for (let at = 0; at < sample.length; at++) {
    const x = sample[at]!;
    const output = prediction[at]!;
    let denoised = output;
    if (predictionType === "epsilon") denoised = f32(x - f32(sigma * output));
    else if (predictionType === "v_prediction") denoised = f32(f32(output * outWeight) + f32(x / variance));
    const derivative = f32(f32(x - denoised) / sigma);
    into[at] = x + f32(derivative * dt);
  }
  return into;
}
