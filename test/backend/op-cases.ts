/**
 * @file What every backend must compute as the reference backend does: cases as data, one op each.
 * Activations come from the caller, weights from the store; both are seeded multiples of 1/64, so that a weight has the
 * same value in f16, bf16 and f32.
 */
import type { OpAttrs, OpName } from "../../src/ir/ops.ts";

export interface CaseInput {
  readonly kind: "activation" | "weight" | "ids";
  readonly shape: readonly number[];
  /** Given where the values matter; else drawn. */
  readonly values?: readonly number[];
  /** Drawn values are multiplied by this (a power of two) and then moved by `offset`. */
  readonly factor?: number;
  readonly offset?: number;
}

/** One op with fitting attributes. */
export type OpCase = {
  readonly [Op in OpName]: {
    readonly op: Op;
    readonly name: string;
    readonly attrs: OpAttrs[Op];
    readonly inputs: readonly CaseInput[];
  };
}[OpName];

const x = (...shape: readonly number[]): CaseInput => ({ kind: "activation", shape });
const w = (...shape: readonly number[]): CaseInput => ({ kind: "weight", shape });
const ids = (shape: readonly number[], values: readonly number[]): CaseInput => ({ kind: "ids", shape, values });
const given = (values: readonly number[]): CaseInput => ({ kind: "activation", shape: [values.length], values });

/** Both tails, where sigmoid and erf saturate, and zero from both sides. */
const TAILS = given([-90, -40, -12, -5.5, -3, -1, -0.5, -1e-6, -0, 0, 1e-6, 0.5, 1, 3, 5.5, 12, 40, 90]);

const conv = (
  name: string,
  inputs: readonly CaseInput[],
  stride = 1,
  pad: OpAttrs["conv2d"]["pad"] = [1, 1, 1, 1],
): OpCase => ({ op: "conv2d", name, attrs: { stride, pad }, inputs });
const linear = (name: string, ...inputs: readonly CaseInput[]): OpCase => ({ op: "linear", name, attrs: {}, inputs });
/** [B, groups, 2]: means about 0, variances from 1/4 on. */
const statistics = (batch: number, groups: number): CaseInput => ({
  kind: "activation",
  shape: [batch, groups, 2],
  values: Array.from({ length: batch * groups * 2 }, (_, i) => (i % 2 === 0 ? (i % 5) / 4 - 0.5 : (i + 1) / 8)),
});
const attention = (
  name: string,
  heads: number,
  causal: boolean,
  [batch, queries, keys, channels]: readonly [number, number, number, number],
  factor = 1,
): OpCase => ({
  op: "attention",
  name,
  attrs: { heads, causal },
  inputs: [
    { ...x(batch, queries, channels), factor },
    { ...x(batch, keys, channels), factor },
    x(batch, keys, channels),
  ],
});

export const OP_CASES: readonly OpCase[] = [
  conv("3x3", [x(1, 3, 6, 5), w(4, 3, 3, 3), w(4)]),
  conv("3x3, batch of 2, 16 to 32 channels", [x(2, 16, 9, 7), w(32, 16, 3, 3), w(32)]),
  conv("3x3, channels that fill no vector", [x(2, 13, 5, 6), w(11, 13, 3, 3), w(11)]),
  conv("3x3, one pixel", [x(2, 4, 1, 1), w(4, 4, 3, 3), w(4)]),
  conv("3x3 without bias", [x(1, 8, 4, 4), w(8, 8, 3, 3)]),
  conv("stride 2, odd sides", [x(2, 8, 7, 9), w(8, 8, 3, 3), w(8)], 2),
  conv("stride 2, right and bottom padding", [x(1, 4, 8, 6), w(8, 4, 3, 3), w(8)], 2, [0, 0, 1, 1]),
  conv("stride 2 without padding", [x(1, 4, 8, 9), w(4, 4, 3, 3), w(4)], 2, [0, 0, 0, 0]),
  conv("1x1", [x(2, 24, 5, 3), w(7, 24, 1, 1), w(7)], 1, [0, 0, 0, 0]),
  conv("unequal padding, 2x3 kernel", [x(1, 2, 5, 5), w(3, 2, 2, 3), w(3)], 1, [0, 2, 1, 1]),
  conv("weights computed by the caller", [x(1, 3, 4, 4), x(2, 3, 3, 3), x(2)]),

  linear("one row", x(1, 6), w(5, 6), w(5)),
  linear("tokens, batch of 2", x(2, 77, 24), w(40, 24), w(40)),
  linear("without bias", x(2, 9, 36), w(36, 36)),
  linear("odd sides", x(3, 5, 17), w(13, 17), w(13)),
  linear("one column", x(4, 1), w(3, 1), w(3)),
  linear("one output", x(4, 12), w(1, 12), w(1)),
  linear("long rows", x(1, 2, 1280), w(8, 1280), w(8)),
  linear("four axes", x(2, 1, 3, 8), w(4, 8), w(4)),
  linear("images by their last axis", x(2, 5, 3, 8), w(6, 8), w(6)),

  { op: "groupNorm", name: "4 groups", attrs: { groups: 4, eps: 1e-5 }, inputs: [x(2, 12, 5, 3), w(12), w(12)] },
  { op: "groupNorm", name: "1 group", attrs: { groups: 1, eps: 1e-6 }, inputs: [x(1, 6, 4, 4), w(6), w(6)] },
  { op: "groupNorm", name: "a group each", attrs: { groups: 8, eps: 1e-6 }, inputs: [x(2, 8, 3, 2), w(8), w(8)] },
  { op: "groupNorm", name: "tokens", attrs: { groups: 3, eps: 1e-5 }, inputs: [x(2, 6, 7), w(6), w(6)] },
  {
    op: "groupNorm",
    name: "far from zero",
    attrs: { groups: 2, eps: 1e-6 },
    inputs: [{ ...x(1, 4, 6, 6), offset: 50 }, w(4), w(4)],
  },
  {
    op: "groupNorm",
    name: "one pixel and a constant group",
    attrs: { groups: 2, eps: 1e-5 },
    inputs: [{ kind: "activation", shape: [1, 4, 1, 1], values: [3, 3, 1, -2] }, w(4), w(4)],
  },

  { op: "layerNorm", name: "tokens, batch of 2", attrs: { eps: 1e-5 }, inputs: [x(2, 9, 20), w(20), w(20)] },
  { op: "layerNorm", name: "two axes", attrs: { eps: 1e-5 }, inputs: [x(3, 7), w(7), w(7)] },
  { op: "layerNorm", name: "large eps", attrs: { eps: 0.5 }, inputs: [x(1, 2, 16), w(16), w(16)] },
  {
    op: "layerNorm",
    name: "far from zero",
    attrs: { eps: 1e-5 },
    inputs: [{ ...x(1, 4, 24), offset: 50 }, w(24), w(24)],
  },

  { op: "silu", name: "tails", attrs: {}, inputs: [TAILS] },
  { op: "silu", name: "image, batch of 2", attrs: {}, inputs: [x(2, 5, 3, 7)] },
  { op: "gelu", name: "tails", attrs: {}, inputs: [TAILS] },
  { op: "gelu", name: "tokens", attrs: {}, inputs: [x(2, 7, 11)] },
  { op: "quickGelu", name: "tails", attrs: {}, inputs: [TAILS] },
  { op: "quickGelu", name: "tokens", attrs: {}, inputs: [x(2, 7, 11)] },
  { op: "leakyRelu", name: "tails", attrs: { slope: 0.2 }, inputs: [TAILS] },
  { op: "leakyRelu", name: "image, batch of 2", attrs: { slope: 0.1 }, inputs: [x(2, 5, 3, 7)] },
  { op: "prelu", name: "image, batch of 2", attrs: {}, inputs: [x(2, 5, 3, 7), w(5)] },
  { op: "prelu", name: "wide", attrs: {}, inputs: [x(1, 64, 9, 8), w(64)] },
  { op: "affine", name: "image, weights", attrs: {}, inputs: [x(2, 5, 3, 7), w(5), w(5)] },
  { op: "affine", name: "tokens, computed", attrs: {}, inputs: [x(2, 7, 33), x(33), x(33)] },
  { op: "affine", name: "one factor", attrs: {}, inputs: [x(2, 8, 5, 5), x(1)] },
  { op: "affine", name: "one factor, a weight added", attrs: {}, inputs: [x(3, 300), x(1), w(300)] },
  { op: "geglu", name: "tokens, batch of 2", attrs: {}, inputs: [x(2, 5, 24)] },
  { op: "geglu", name: "odd half", attrs: {}, inputs: [x(3, 14)] },
  { op: "geglu", name: "gate in the tails", attrs: {}, inputs: [{ ...x(4, 8), factor: 16 }] },

  { op: "add", name: "same shape", attrs: {}, inputs: [x(2, 3, 4, 5), x(2, 3, 4, 5)] },
  { op: "add", name: "last axis", attrs: {}, inputs: [x(2, 3, 4), x(4)] },
  { op: "add", name: "positions", attrs: {}, inputs: [x(2, 7, 4), x(7, 4)] },
  { op: "add", name: "middle axis", attrs: {}, inputs: [x(2, 3, 4), x(3, 1)] },
  { op: "add", name: "one number", attrs: {}, inputs: [x(2, 3), x(1)] },
  { op: "add", name: "a weight", attrs: {}, inputs: [x(2, 5), w(5)] },
  { op: "addChannels", name: "batch of 2", attrs: {}, inputs: [x(2, 6, 3, 4), x(2, 6)] },
  { op: "scale", name: "negative", attrs: { factor: -0.75 }, inputs: [x(2, 3, 4)] },
  { op: "scale", name: "no binary fraction", attrs: { factor: 1 / 0.13025 }, inputs: [x(1, 4, 3, 3)] },

  attention("self, batch of 2", 2, false, [2, 12, 12, 8]),
  attention("one head", 1, false, [1, 9, 9, 12]),
  attention("cross, more keys", 3, false, [2, 5, 77, 18]),
  attention("cross, fewer keys", 4, false, [2, 20, 3, 16]),
  attention("causal, batch of 2", 2, true, [2, 77, 77, 8]),
  attention("causal, two tokens", 1, true, [1, 2, 2, 6]),
  attention("one token", 2, false, [1, 1, 1, 4]),
  attention("one number a head", 6, false, [2, 7, 7, 6]),
  attention("heads of 40", 2, false, [1, 16, 16, 80]),
  attention("more queries than a tile", 1, false, [1, 150, 150, 8]),
  attention("scores that overflow exp", 1, false, [1, 6, 6, 16], 8),

  { op: "embedding", name: "table of weights", attrs: {}, inputs: [w(9, 6), ids([2, 4], [8, 0, 3, 3, 1, 8, 2, 0])] },
  { op: "embedding", name: "table of values", attrs: {}, inputs: [x(6, 5), ids([2], [5, 1])] },
  { op: "embedding", name: "one id", attrs: {}, inputs: [w(3, 4), ids([1], [2])] },

  { op: "reshape", name: "to more axes", attrs: { shape: [3, 2, 2] }, inputs: [x(2, 6)] },
  { op: "reshape", name: "to fewer axes", attrs: { shape: [14, 3] }, inputs: [x(2, 7, 3)] },
  { op: "toTokens", name: "batch of 2", attrs: {}, inputs: [x(2, 5, 3, 4)] },
  { op: "toTokens", name: "one column", attrs: {}, inputs: [x(1, 5, 6, 1)] },
  { op: "toImage", name: "batch of 2", attrs: { height: 3, width: 4 }, inputs: [x(2, 12, 5)] },
  { op: "upsampleNearest", name: "twice, batch of 2", attrs: { height: 6, width: 8 }, inputs: [x(2, 3, 3, 4)] },
  { op: "upsampleNearest", name: "odd target", attrs: { height: 5, width: 7 }, inputs: [x(1, 2, 3, 4)] },
  { op: "upsampleNearest", name: "one side only", attrs: { height: 3, width: 9 }, inputs: [x(1, 2, 3, 5)] },
  { op: "upsampleNearest", name: "from one pixel", attrs: { height: 2, width: 3 }, inputs: [x(1, 4, 1, 1)] },
  { op: "concat", name: "channels", attrs: { axis: 1 }, inputs: [x(2, 3, 4, 5), x(2, 6, 4, 5)] },
  { op: "concat", name: "batch", attrs: { axis: 0 }, inputs: [x(1, 3, 4), x(2, 3, 4)] },
  { op: "concat", name: "last axis", attrs: { axis: 2 }, inputs: [x(2, 3, 1), x(2, 3, 4)] },

  { op: "slice", name: "rows of an image", attrs: { axis: 2, from: 1, to: 4 }, inputs: [x(2, 3, 5, 4)] },
  { op: "slice", name: "the last of the last axis", attrs: { axis: 1, from: 6, to: 7 }, inputs: [x(3, 7)] },
  { op: "slice", name: "all of the first axis", attrs: { axis: 0, from: 0, to: 2 }, inputs: [x(2, 3)] },
  { op: "groupStats", name: "batch of 2", attrs: { groups: 4 }, inputs: [x(2, 8, 5, 3)] },
  { op: "groupStats", name: "one line of one channel", attrs: { groups: 3 }, inputs: [x(1, 3, 1, 7)] },
  { op: "groupStats", name: "far from zero", attrs: { groups: 2 }, inputs: [{ ...x(1, 4, 16, 16), offset: 4 }] },
  {
    op: "groupNormApply",
    name: "batch of 2",
    attrs: { groups: 4, eps: 1e-5 },
    inputs: [x(2, 8, 5, 3), statistics(2, 4), w(8), w(8)],
  },
  {
    op: "groupNormApply",
    name: "tokens",
    attrs: { groups: 3, eps: 1e-5 },
    inputs: [x(2, 6, 7), statistics(2, 3), w(6), w(6)],
  },
  {
    op: "groupNormApply",
    name: "one channel a group, no spread",
    attrs: { groups: 3, eps: 0.25 },
    inputs: [x(1, 3, 2, 2), { ...statistics(1, 3), values: [0, 0, 1, 0, -2, 0] }, w(3), w(3)],
  },
];
