/** @file Classifier-free guidance: how the model's answers with and without the prompt are mixed. fp32 as in diffusers; any one shape. */

const f32 = Math.fround;

/** uncond + scale * (cond - uncond), rounded as fp32 tensors are; above 0, `rescale` (0..1) is as in `rescaled`. */
export function combineGuidance(uncond: Float32Array, cond: Float32Array, scale: number, rescale = 0): Float32Array {
  const weight = f32(scale);
  const guided = new Float32Array(uncond.length);
  for (let at = 0; at < uncond.length; at++) {
    guided[at] = uncond[at]! + f32(weight * f32(cond[at]! - uncond[at]!));
  }
  return rescale > 0 ? rescaled(guided, cond, rescale) : guided;
}

/**
 * The mix at the standard deviation of the prompt's own answer, blended with itself: "Common Diffusion Noise Schedules and Sample
 * Steps are Flawed" (arXiv 2305.08891, section 3.4), diffusers' rescale_noise_cfg.
 */
function rescaled(guided: Float32Array, cond: Float32Array, rescale: number): Float32Array {
  const factor = deviation(cond) / deviation(guided);
  return guided.map((value) => rescale * f32(value * factor) + (1 - rescale) * value);
}

/** torch.std: of a sample, so by n - 1. */
function deviation(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  const mean = sum / values.length;
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  return f32(Math.sqrt(squares / (values.length - 1)));
}

/**
 * What several prompts (`a AND b`) together answer in place of one: uncond + the sum of weight * (cond - uncond), as fp32 tensors are
 * rounded. One prompt of weight 1 is its own answer, to the bit.
 */
export function mixedParts(
  uncond: Float32Array,
  conds: readonly Float32Array[],
  weights: readonly number[],
): Float32Array {
  if (conds.length === 1 && weights[0] === 1) return conds[0]!;
  const mixed = Float32Array.from(uncond);
  for (const [i, cond] of conds.entries()) {
    const weight = f32(weights[i]!);
    for (let at = 0; at < mixed.length; at++) {
      mixed[at] = mixed[at]! + f32(weight * f32(cond[at]! - uncond[at]!));
    }
  }
  return mixed;
}
