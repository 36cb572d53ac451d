/** @file Normalisations: mean and biased variance in fp64, in two passes. */
import { elementCount } from "../../tensor/dtype.ts";
import { floats, type Kernel } from "./tensor.ts";

/** Mean and 1 / sqrt(variance + eps) of `count` numbers from `start`. */
function statistics(x: Float32Array, start: number, count: number, eps: number): { mean: number; inverse: number } {
  let sum = 0;
  for (let i = start; i < start + count; i++) sum += x[i]!;
  const mean = sum / count;
  let squares = 0;
  for (let i = start; i < start + count; i++) {
    const d = x[i]! - mean;
    squares += d * d;
  }
  return { mean, inverse: 1 / Math.sqrt(squares / count + eps) };
}

/** x [B, C, ...], w [C], b [C] -> same, per group of C/groups channels. */
export const groupNorm: Kernel<"groupNorm"> = (inputs, { groups, eps }, shape) => {
  const x = floats(inputs, 0);
  const w = floats(inputs, 1);
  const b = floats(inputs, 2);
  const [batch, channels] = shape as [number, number];
  const pixels = elementCount(shape.slice(2));
  const perGroup = channels / groups;
  const out = new Float32Array(x.length);
  for (let image = 0; image < batch; image++) {
    for (let group = 0; group < groups; group++) {
      const firstChannel = group * perGroup;
      const start = (image * channels + firstChannel) * pixels;
      const { mean, inverse } = statistics(x, start, perGroup * pixels, eps);
      for (let c = 0; c < perGroup; c++) {
        const factor = inverse * w[firstChannel + c]!;
        const shift = b[firstChannel + c]!;
        const from = start + c * pixels;
        for (let i = from; i < from + pixels; i++) out[i] = (x[i]! - mean) * factor + shift;
      }
    }
  }
  return out;
};

/** x [..., C], w [C], b [C] -> same, over the last axis. */
export const layerNorm: Kernel<"layerNorm"> = (inputs, { eps }, shape) => {
  const x = floats(inputs, 0);
  const w = floats(inputs, 1);
  const b = floats(inputs, 2);
  const channels = shape.at(-1)!;
  const out = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += channels) {
    const { mean, inverse } = statistics(x, start, channels, eps);
    for (let c = 0; c < channels; c++) out[start + c] = (x[start + c]! - mean) * inverse * w[c]! + b[c]!;
  }
  return out;
};
