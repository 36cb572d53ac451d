/** @file Ops that treat each element alone: activations, sums, scaling. */
import { channelsOf } from "../../ir/ops.ts";
import { floats, type Kernel, type ReferenceTensor, shapeOf } from "./tensor.ts";

/**
 * erf to fp64 accuracy by Kummer's series, 2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!
 * (Abramowitz and Stegun 7.1.6): all terms have one sign, so nothing cancels. Beyond 6 it is 1 in fp64.
 */
export function erf(x: number): number {
  if (!(Math.abs(x) < 6)) return Number.isNaN(x) ? x : Math.sign(x);
  const square = x * x;
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * square) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-square) * sum;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const geluOf = (x: number) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));

function each(inputs: readonly ReferenceTensor[], apply: (x: number) => number): Float32Array {
  const x = floats(inputs, 0);
  const out = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) out[i] = apply(x[i]!);
  return out;
}

/** x sigmoid(x). */
export const silu: Kernel<"silu"> = (inputs) => each(inputs, (x) => x * sigmoid(x));

/** x Phi(x), exact. */
export const gelu: Kernel<"gelu"> = (inputs) => each(inputs, geluOf);

/** x sigmoid(1.702 x). */
export const quickGelu: Kernel<"quickGelu"> = (inputs) => each(inputs, (x) => x * sigmoid(1.702 * x));

/** x where it is positive, else x slope. */
export const leakyRelu: Kernel<"leakyRelu"> = (inputs, { slope }) => each(inputs, (x) => (x > 0 ? x : x * slope));

/** x [B, C, H, W], w [C]: x where it is positive, else x times its channel's w. */
export const prelu: Kernel<"prelu"> = (inputs, _attrs, [batch, channels]) => {
  const x = floats(inputs, 0);
  const w = floats(inputs, 1);
  const pixels = x.length / (batch! * channels!);
  return x.map((value, i) => (value > 0 ? value : value * w[Math.floor(i / pixels) % channels!]!));
};

/** x [B, C, H, W] (or [..., C]), w [C] or [1], b? [C] or [1]: x times its channel's w, plus its channel's b. */
export const affine: Kernel<"affine"> = (inputs, _attrs, shape) => {
  const x = floats(inputs, 0);
  const w = floats(inputs, 1);
  const b = inputs.length > 2 ? floats(inputs, 2) : new Float32Array(1);
  const channels = channelsOf(shape);
  const pixels = shape.length === 4 ? shape[2]! * shape[3]! : 1;
  return x.map((value, i) => {
    const channel = Math.floor(i / pixels) % channels;
    return value * w[w.length === 1 ? 0 : channel]! + b[b.length === 1 ? 0 : channel]!;
  });
};

/** x factor. */
export const scale: Kernel<"scale"> = (inputs, { factor }) => each(inputs, (x) => x * factor);

/** x [..., 2C] -> [..., C]: first half times gelu of the second. */
export const geglu: Kernel<"geglu"> = (inputs, _attrs, shape) => {
  const x = floats(inputs, 0);
  const half = shape.at(-1)!;
  const out = new Float32Array(x.length / 2);
  for (let row = 0, from = 0; row < out.length; row += half, from += 2 * half) {
    for (let c = 0; c < half; c++) out[row + c] = x[from + c]! * geluOf(x[from + half + c]!);
  }
  return out;
};

/** a + b; b broadcasts to a by the NumPy rule. */
export const add: Kernel<"add"> = (inputs, _attrs, shape) => {
  const a = floats(inputs, 0);
  const b = floats(inputs, 1);
  const out = new Float32Array(a.length);
  if (a.length === b.length) {
    for (let i = 0; i < a.length; i++) out[i] = a[i]! + b[i]!;
    return out;
  }
  const strides = broadcastStrides(shapeOf(inputs, 1), shape.length);
  const index = shape.map(() => 0);
  for (let i = 0, j = 0; i < a.length; i++) {
    out[i] = a[i]! + b[j]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      j += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      j -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return out;
};

/** Element strides of `shape` right-aligned to `rank` axes; 0 where it broadcasts. */
function broadcastStrides(shape: readonly number[], rank: number): number[] {
  const strides = new Array<number>(rank).fill(0);
  for (let axis = shape.length - 1, stride = 1; axis >= 0; stride *= shape[axis]!, axis--) {
    strides[rank - shape.length + axis] = shape[axis] === 1 ? 0 : stride;
  }
  return strides;
}

/** x [B, C, H, W] + t [B, C] over all pixels. */
export const addChannels: Kernel<"addChannels"> = (inputs) => {
  const x = floats(inputs, 0);
  const t = floats(inputs, 1);
  const pixels = x.length / t.length;
  const out = new Float32Array(x.length);
  for (let plane = 0, i = 0; plane < t.length; plane++) {
    for (const end = i + pixels; i < end; i++) out[i] = x[i]! + t[plane]!;
  }
  return out;
};
