/** @file Multi-head attention, one query row at a time, so that no [T, S] matrix is ever held. */
import { floats, type Kernel, shapeOf } from "./tensor.ts";

/** q [B, T, C], k [B, S, C], v [B, S, C] -> [B, T, C]; D = C/heads values of each row belong to one head. */
export const attention: Kernel<"attention"> = (inputs, { heads, causal }, shape) => {
  const q = floats(inputs, 0);
  const k = floats(inputs, 1);
  const v = floats(inputs, 2);
  const [batch, queries, channels] = shape as [number, number, number];
  const keys = shapeOf(inputs, 1)[1]!;
  const depth = channels / heads;
  const factor = 1 / Math.sqrt(depth);
  const out = new Float32Array(q.length);
  const scores = new Float64Array(keys);
  const mixed = new Float64Array(depth);
  for (let image = 0; image < batch; image++) {
    for (let head = 0; head < heads; head++) {
      const keyStart = image * keys * channels + head * depth;
      for (let query = 0; query < queries; query++) {
        const row = (image * queries + query) * channels + head * depth;
        const visible = causal ? Math.min(keys, query + 1) : keys;
        let max = Number.NEGATIVE_INFINITY;
        for (let key = 0; key < visible; key++) {
          const at = keyStart + key * channels;
          let dot = 0;
          for (let d = 0; d < depth; d++) dot += q[row + d]! * k[at + d]!;
          dot *= factor;
          scores[key] = dot;
          if (dot > max) max = dot;
        }
        let sum = 0;
        mixed.fill(0);
        for (let key = 0; key < visible; key++) {
          const weight = Math.exp(scores[key]! - max);
          sum += weight;
          const at = keyStart + key * channels;
          for (let d = 0; d < depth; d++) mixed[d]! += weight * v[at + d]!;
        }
        for (let d = 0; d < depth; d++) out[row + d] = mixed[d]! / sum;
      }
    }
  }
  return out;
};
