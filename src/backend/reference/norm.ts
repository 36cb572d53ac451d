/** @file Normalisations: mean and biased variance in fp64, in two passes. */
import { elementCount } from "../../tensor/dtype.ts";
import { floats, type Kernel, shapeOf } from "./tensor.ts";

/** Mean and biased variance of `count` values from `start`. */
function statistics(x: Float32Array, start: number, count: number): { mean: number; variance: number } {
  let sum = 0;
  for (let i = start; i < start + count; i++) sum += x[i]!;
  const mean = sum / count;
  let squares = 0;
  for (let i = start; i < start + count; i++) {
    const d = x[i]! - mean;
    squares += d * d;
  }
  return { mean, variance: squares / count };
}

/** x [B, C, ...] of `shape` -> mean and variance of group 0 of image 0, of group 1, ..., in fp64. */
function groupStatistics(x: Float32Array, shape: readonly number[], groups: number): Float64Array {
  const count = elementCount(shape) / (shape[0]! * groups);
  const found = new Float64Array(shape[0]! * groups * 2);
  for (let i = 0; i < found.length; i += 2) {
    const { mean, variance } = statistics(x, (i / 2) * count, count);
    found[i] = mean;
    found[i + 1] = variance;
  }
  return found;
}

interface Affine {
  /** [B, groups, 2] mean and variance. */
  readonly statistics: Float32Array | Float64Array;
  readonly groups: number;
  readonly eps: number;
  readonly w: Float32Array;
  readonly b: Float32Array;
}

function normalise(x: Float32Array, shape: readonly number[], affine: Affine): Float32Array {
  const { statistics, groups, eps, w, b } = affine;
  const channels = shape[1]!;
  const perGroup = channels / groups;
  const pixels = elementCount(shape.slice(2));
  const out = new Float32Array(x.length);
  for (let plane = 0; plane * pixels < x.length; plane++) {
    const channel = plane % channels;
    const group = Math.floor(plane / perGroup);
    const mean = statistics[2 * group]!;
    const factor = w[channel]! / Math.sqrt(statistics[2 * group + 1]! + eps);
    const shift = b[channel]!;
    const from = plane * pixels;
    for (let i = from; i < from + pixels; i++) out[i] = (x[i]! - mean) * factor + shift;
  }
  return out;
}

/** x [B, C, ...], w [C], b [C] -> same, per group of C/groups channels. */
export const groupNorm: Kernel<"groupNorm"> = (inputs, { groups, eps }, shape) => {
  const x = floats(inputs, 0);
  const statistics = groupStatistics(x, shape, groups);
  return normalise(x, shape, { statistics, groups, eps, w: floats(inputs, 1), b: floats(inputs, 2) });
};

/** x [B, C, ...] -> [B, groups, 2] mean and biased variance. */
export const groupStats: Kernel<"groupStats"> = (inputs, { groups }) =>
  Float32Array.from(groupStatistics(floats(inputs, 0), shapeOf(inputs, 0), groups));

/** x [B, C, ...], statistics [B, groups, 2], w [C], b [C] -> x's shape. */
export const groupNormApply: Kernel<"groupNormApply"> = (inputs, { groups, eps }, shape) =>
  normalise(floats(inputs, 0), shape, {
    statistics: floats(inputs, 1),
    groups,
    eps,
    w: floats(inputs, 2),
    b: floats(inputs, 3),
  });

/** x [..., C], w [C], b [C] -> same, over the last axis. */
export const layerNorm: Kernel<"layerNorm"> = (inputs, { eps }, shape) => {
  const x = floats(inputs, 0);
  const w = floats(inputs, 1);
  const b = floats(inputs, 2);
  const channels = shape.at(-1)!;
  const out = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += channels) {
    const { mean, variance } = statistics(x, start, channels);
    const inverse = 1 / Math.sqrt(variance + eps);
    for (let c = 0; c < channels; c++) out[start + c] = (x[start + c]! - mean) * inverse * w[c]! + b[c]!;
  }
  return out;
};
