/**
 * @file What lies between a sampler and a model that was trained to predict noise, velocity or the picture: input scaling, and
 * the way from a prediction to the clean latent. fp32 rounding as in diffusers' EulerDiscreteScheduler; elementwise, any one shape.
 */

export type PredictionType = "epsilon" | "v_prediction" | "sample";

const f32 = Math.fround;

/** What the model is given: `x` divided by sqrt(sigma^2 + 1). A new array. */
export function scaleModelInput(x: Float32Array, sigma: number): Float32Array<ArrayBuffer> {
  const divisor = f32(Math.sqrt(f32(f32(sigma * sigma) + 1)));
  return Float32Array.from(x, (value) => value / divisor);
}

/** The clean latent that `prediction`, made from `x` at noise level `sigma`, stands for. `prediction` itself where it is that. */
export function denoisedFrom(
  prediction: Float32Array,
  x: Float32Array,
  sigma: number,
  predictionType: PredictionType,
): Float32Array {
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
