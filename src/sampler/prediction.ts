/**
 * @file What lies between a sampler and a model that was trained to predict noise, velocity or the picture: input scaling, and
 * the way from a prediction to the clean latent. fp32 rounding as in diffusers' EulerDiscreteScheduler, and in its EDMEulerScheduler
 * where there is a `sigmaData`: the model was trained on noise levels then (SchedulerConfig.edm). Elementwise, any one shape.
 */

export type PredictionType = "epsilon" | "v_prediction" | "sample";

const f32 = Math.fround;

/** What the model is given: `x` divided by sqrt(sigma^2 + sigmaData^2), by default 1. A new array. */
export function scaleModelInput(x: Float32Array, sigma: number, sigmaData?: number): Float32Array<ArrayBuffer> {
  if (sigmaData !== undefined) {
    const factor = f32(1 / f32(Math.sqrt(f32(f32(sigma * sigma) + sigmaData ** 2))));
    return Float32Array.from(x, (value) => value * factor);
  }
  const divisor = f32(Math.sqrt(f32(f32(sigma * sigma) + 1)));
  return Float32Array.from(x, (value) => value / divisor);
}

/** The clean latent that `prediction`, made from `x` at noise level `sigma`, stands for. `prediction` itself where it is that. */
export function denoisedFrom(
  prediction: Float32Array,
  x: Float32Array,
  sigma: number,
  predictionType: PredictionType,
  sigmaData?: number,
): Float32Array {
  if (sigmaData !== undefined) return preconditioned(prediction, x, sigma, { predictionType, sigmaData });
  switch (predictionType) {
    case "sample":
      return prediction;
    case "epsilon": {
      const denoised = new Float32Array(x.length);
      for (let at = 0; at < x.length; at++) denoised[at] = x[at]! - f32(sigma * prediction[at]!);
      return denoised;
    }
    case "v_prediction": {
      const variance = f32(f32(sigma * sigma) + 1);
      const weight = f32(-sigma / f32(Math.sqrt(variance)));
      const denoised = new Float32Array(x.length);
      for (let at = 0; at < x.length; at++) denoised[at] = f32(prediction[at]! * weight) + f32(x[at]! / variance);
      return denoised;
    }
  }
}

/** EDM's c_skip x + c_out F; velocity is F turned round. */
function preconditioned(
  prediction: Float32Array,
  x: Float32Array,
  sigma: number,
  { predictionType, sigmaData }: { readonly predictionType: PredictionType; readonly sigmaData: number },
): Float32Array {
  const variance = f32(f32(sigma * sigma) + sigmaData ** 2);
  const skip = f32(sigmaData ** 2 / variance);
  const size = f32(f32(sigma * sigmaData) / f32(Math.sqrt(variance)));
  const out = predictionType === "v_prediction" ? -size : size;
  const denoised = new Float32Array(x.length);
  for (let at = 0; at < x.length; at++) denoised[at] = f32(skip * x[at]!) + f32(out * prediction[at]!);
  return denoised;
}
