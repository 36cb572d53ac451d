/**
 * @file The op table. Every backend lowers exactly these; the reference backend (plain loops) defines their meaning.
 * B batch, C channels, T tokens, S key tokens, K/N matrix columns/rows. Weights as diffusers stores them.
 */
import { elementCount } from "../tensor/dtype.ts";

/** Attributes of each op. */
export interface OpAttrs {
  /** x [B, Ci, H, W], w [Co, Ci, kh, kw], bias? [Co] -> [B, Co, H', W']. `pad` is [top, left, bottom, right], zeros. */
  conv2d: { readonly stride: number; readonly pad: readonly [number, number, number, number] };
  /** x [..., K], w [N, K], bias? [N] -> [..., N]: x wT + b. */
  linear: Record<never, never>;
  /** x [B, C, H, W] (or [B, C, T]), w [C], b [C] -> same: mean and biased variance over each group of C/groups channels. */
  groupNorm: { readonly groups: number; readonly eps: number };
  /** x [..., C], w [C], b [C] -> same: over the last axis, biased variance. */
  layerNorm: { readonly eps: number };
  /** x sigmoid(x). */
  silu: Record<never, never>;
  /** x Phi(x), exact (erf). */
  gelu: Record<never, never>;
  /** x sigmoid(1.702 x). */
  quickGelu: Record<never, never>;
  /** x where it is positive, else x slope. */
  leakyRelu: { readonly slope: number };
  /** x [B, C, H, W], w [C] -> same: x where it is positive, else x times its channel's w. */
  prelu: Record<never, never>;
  /**
   * x [B, C, H, W] (or [..., C] of fewer axes), w [C] or [1], b? [C] or [1] -> same: x times its channel's w, plus its channel's b. All three may be
   * weights or computed.
   */
  affine: Record<never, never>;
  /** x [..., 2C] -> [..., C]: x[..., :C] gelu(x[..., C:]). */
  geglu: Record<never, never>;
  /** a + b; b has a's shape, or broadcasts to it by the NumPy rule (b may have fewer axes). Output has a's shape. */
  add: Record<never, never>;
  /** x [B, C, H, W] + t [B, C] over all pixels. */
  addChannels: Record<never, never>;
  /** x factor. */
  scale: { readonly factor: number };
  /** q [B, T, C], k [B, S, C], v [B, S, C] -> [B, T, C]: softmax(q kT / sqrt(C/heads)) v per head, fp32; causal: key <= query. */
  attention: { readonly heads: number; readonly causal: boolean };
  /** table [V, C], ids [...] i32 -> [..., C]: rows of the table (a weight or a computed value). */
  embedding: Record<never, never>;
  /** Same elements, row-major, in another shape. */
  reshape: { readonly shape: readonly number[] };
  /** x [B, C, H, W] -> [B, H W, C]. */
  toTokens: Record<never, never>;
  /** x [B, H W, C] -> [B, C, H, W]. */
  toImage: { readonly height: number; readonly width: number };
  /** x [B, C, H, W] -> [B, C, height, width], nearest: source index floor(i * in / out). */
  upsampleNearest: { readonly height: number; readonly width: number };
  /** a [.., A, ..], b [.., B, ..] -> [.., A+B, ..] on `axis` (0-based). */
  concat: { readonly axis: number };
  /** x [.., A, ..] -> [.., to-from, ..]: elements `from` up to, not including, `to` of `axis` (0-based). */
  slice: { readonly axis: number; readonly from: number; readonly to: number };
  /**
   * x [B, C, ...] -> [B, groups, 2]: of the C/groups channels of each group together, [.., 0] the mean and [.., 1] the biased
   * variance (the mean square of x - mean: take the mean first, E[x^2] - mean^2 cancels). Of a band of rows these are partial
   * statistics, to be combined by Chan's formula with the bands' element counts.
   */
  groupStats: { readonly groups: number };
  /**
   * x [B, C, ...], statistics [B, groups, 2] as groupStats gives them, w [C], b [C] -> x's shape:
   * (x - mean) / sqrt(variance + eps) w + b, mean and variance of the channel's group: groupNorm with statistics from outside.
   */
  groupNormApply: { readonly groups: number; readonly eps: number };
}

export type OpName = keyof OpAttrs;

type Shape = readonly number[];
type InferShape = { [Op in OpName]: (inputs: readonly Shape[], attrs: OpAttrs[Op]) => Shape };

/** Output shape from input shapes. Throws RangeError on shapes that do not fit. */
export const INFER_SHAPE: InferShape = {
  conv2d: ([x, w, b], { stride, pad }) => {
    const [batch, channels, height, width] = rank(x, 4, "conv2d x");
    const [out, inChannels, kh, kw] = rank(w, 4, "conv2d w");
    same(inChannels, channels, "conv2d channels");
    if (b) same(rank(b, 1, "conv2d bias")[0], out, "conv2d bias");
    const [top, left, bottom, right] = pad;
    return [
      batch!,
      out!,
      Math.floor((height! + top + bottom - kh!) / stride) + 1,
      Math.floor((width! + left + right - kw!) / stride) + 1,
    ];
  },
  linear: ([x, w, b]) => {
    const [rows, columns] = rank(w, 2, "linear w");
    same(x?.at(-1), columns, "linear columns");
    if (b) same(rank(b, 1, "linear bias")[0], rows, "linear bias");
    return [...x!.slice(0, -1), rows!];
  },
  groupNorm: ([x, w, b], { groups }) => {
    same(w?.[0], x?.[1], "groupNorm weight");
    same(b?.[0], x?.[1], "groupNorm bias");
    wholeGroups(x!, groups, "groupNorm");
    return x!;
  },
  layerNorm: ([x, w, b]) => {
    same(w?.[0], x?.at(-1), "layerNorm weight");
    same(b?.[0], x?.at(-1), "layerNorm bias");
    return x!;
  },
  silu: ([x]) => x!,
  gelu: ([x]) => x!,
  quickGelu: ([x]) => x!,
  leakyRelu: ([x]) => x!,
  prelu: ([x, w]) => {
    same(rank(w, 1, "prelu w")[0], rank(x, 4, "prelu x")[1], "prelu channels");
    return x!;
  },
  affine: ([x, w, b]) => {
    const channels = channelsOf(x!);
    for (const [what, vector] of Object.entries({ w, b })) {
      if (vector && rank(vector, 1, `affine ${what}`)[0] !== 1) same(vector[0], channels, `affine ${what}`);
    }
    return x!;
  },
  geglu: ([x]) => {
    if (x!.at(-1)! % 2 !== 0) throw new RangeError(`geglu: odd last axis ${x!.at(-1)}`);
    return [...x!.slice(0, -1), x!.at(-1)! / 2];
  },
  add: ([a, b]) => {
    if (b!.length > a!.length) throw new RangeError(`add: [${b}] does not broadcast to [${a}]`);
    b!.forEach((dim, axis) => {
      const target = a![a!.length - b!.length + axis];
      if (dim !== 1 && dim !== target) throw new RangeError(`add: [${b}] does not broadcast to [${a}]`);
    });
    return a!;
  },
  addChannels: ([x, t]) => {
    const [batch, channels] = rank(x, 4, "addChannels x");
    same(rank(t, 2, "addChannels t")[0], batch, "addChannels batch");
    same(t![1], channels, "addChannels channels");
    return x!;
  },
  scale: ([x]) => x!,
  attention: ([q, k, v], { heads }) => {
    const [batch, , channels] = rank(q, 3, "attention q");
    same(rank(k, 3, "attention k")[0], batch, "attention batch");
    same(k![2], channels, "attention k channels");
    same(rank(v, 3, "attention v")[1], k![1], "attention v tokens");
    same(v![2], channels, "attention v channels");
    if (channels! % heads !== 0) throw new RangeError(`attention: ${channels} channels in ${heads} heads`);
    return q!;
  },
  embedding: ([table, ids]) => [...ids!, rank(table, 2, "embedding table")[1]!],
  reshape: ([x], { shape }) => {
    same(elementCount(shape), elementCount(x!), "reshape elements");
    return shape;
  },
  toTokens: ([x]) => {
    const [batch, channels, height, width] = rank(x, 4, "toTokens x");
    return [batch!, height! * width!, channels!];
  },
  toImage: ([x], { height, width }) => {
    const [batch, tokens, channels] = rank(x, 3, "toImage x");
    same(tokens, height * width, "toImage tokens");
    return [batch!, channels!, height, width];
  },
  upsampleNearest: ([x], { height, width }) => {
    const [batch, channels] = rank(x, 4, "upsampleNearest x");
    return [batch!, channels!, height, width];
  },
  concat: ([a, b], { axis }) => {
    same(a!.length, b!.length, "concat rank");
    return a!.map((dim, i) => {
      if (i === axis) return dim + b![i]!;
      same(b![i], dim, `concat axis ${i}`);
      return dim;
    });
  },
  slice: ([x], { axis, from, to }) => {
    if (!(from >= 0 && from < to && to <= (x![axis] ?? 0))) {
      throw new RangeError(`slice: ${from}..${to} of axis ${axis} of [${x}]`);
    }
    return x!.map((dim, i) => (i === axis ? to - from : dim));
  },
  groupStats: ([x], { groups }) => {
    wholeGroups(x!, groups, "groupStats");
    return [x![0]!, groups, 2];
  },
  groupNormApply: ([x, statistics, w, b], { groups }) => {
    wholeGroups(x!, groups, "groupNormApply");
    const [batch, found, pair] = rank(statistics, 3, "groupNormApply statistics");
    same(batch, x![0], "groupNormApply batch");
    same(found, groups, "groupNormApply groups");
    same(pair, 2, "groupNormApply mean and variance");
    same(w?.[0], x![1], "groupNormApply weight");
    same(b?.[0], x![1], "groupNormApply bias");
    return x!;
  },
};

/** An image's second axis, of other values the last. */
export function channelsOf(shape: Shape): number {
  return shape.length === 4 ? shape[1]! : shape.at(-1)!;
}

function wholeGroups(x: Shape, groups: number, what: string): void {
  if (x[1]! % groups !== 0) throw new RangeError(`${what}: ${x[1]} channels in ${groups} groups`);
}

function rank(shape: Shape | undefined, axes: number, what: string): Shape {
  if (shape?.length !== axes) throw new RangeError(`${what}: expected ${axes} axes, got [${shape}]`);
  return shape;
}

function same(found: number | undefined, expected: number | undefined, what: string): void {
  if (found === undefined || found !== expected) throw new RangeError(`${what}: ${found} is not ${expected}`);
}
