/** @file Classifier-free guidance: how the model's answers with and without the prompt are mixed. */

const f32 = Math.fround;

/** uncond + scale * (cond - uncond), rounded as fp32 tensors are; elementwise, any one shape. */
export function combineGuidance(uncond: Float32Array, cond: Float32Array, scale: number): Float32Array {
  const weight = f32(scale);
  const guided = new Float32Array(uncond.length);
  for (let at = 0; at < uncond.length; at++) {
    guided[at] = uncond[at]! + f32(weight * f32(cond[at]! - uncond[at]!));
  }
  return guided;
}
