/** @file Random small shapes of every op, the same in every run: sizes of 1, odd ones, primes, and multiples of tiles. */
import type { OpAttrs } from "../../src/ir/ops.ts";
import { randomNumbers } from "../support/seed.ts";
import type { CaseInput, OpCase } from "./op-cases.ts";

const next = randomNumbers(20261124);
const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)]!;
/** From 1 to `limit`, the ends more often than not. */
const size = (limit: number) => pick([1, 2, limit, 1 + Math.floor(next() * limit), 1 + Math.floor(next() * limit)]);
const axes = (count: number, limit: number) => Array.from({ length: count }, () => size(limit));

const x = (...shape: readonly number[]): CaseInput => ({ kind: "activation", shape });
const w = (...shape: readonly number[]): CaseInput => ({ kind: "weight", shape });

type Make = { readonly [Op in keyof OpAttrs]: () => Omit<Extract<OpCase, { op: Op }>, "op" | "name"> };

const normal = () => {
  const groups = pick([1, 2, 3, 8, 32]);
  const channels = groups * size(5);
  return { groups, channels, shape: [size(3), channels, size(9), size(9)] };
};

const same = () => ({ attrs: {}, inputs: [x(...axes(pick([1, 2, 3, 4]), 7))] });

const MAKE: Make = {
  conv2d: () => {
    const kernel = pick([1, 3]);
    const channels = pick([1, 3, 4, 8, 13, 36]);
    const [height, width] = [size(11) + 2, size(11) + 2];
    const out = pick([1, 3, 4, 33]);
    const side = () => pick([0, 1]);
    const pad = [side(), side(), side(), side()] as const;
    const bias = pick([[], [w(out)]]);
    const inputs = [x(size(2), channels, height, width), w(out, channels, kernel, kernel), ...bias];
    return { attrs: { stride: pick([1, 2]), pad }, inputs };
  },
  linear: () => {
    const [depth, columns] = [pick([1, 5, 16, 17, 64, 130]), pick([1, 4, 7, 36, 100])];
    return { attrs: {}, inputs: [x(size(3), size(70), depth), w(columns, depth), ...pick([[], [w(columns)]])] };
  },
  groupNorm: () => {
    const { groups, channels, shape } = normal();
    return { attrs: { groups, eps: 1e-5 }, inputs: [x(...shape), w(channels), w(channels)] };
  },
  groupStats: () => {
    const { groups, shape } = normal();
    return { attrs: { groups }, inputs: [x(...shape)] };
  },
  groupNormApply: () => {
    const { groups, channels, shape } = normal();
    const count = shape[0]! * groups * 2;
    const values = Array.from({ length: count }, () => next());
    const statistics: CaseInput = { kind: "activation", shape: [shape[0]!, groups, 2], values };
    return { attrs: { groups, eps: 1e-3 }, inputs: [x(...shape), statistics, w(channels), w(channels)] };
  },
  layerNorm: () => {
    const channels = size(150) + 1;
    return { attrs: { eps: 1e-5 }, inputs: [x(size(3), size(9), channels), w(channels), w(channels)] };
  },
  silu: same,
  gelu: same,
  quickGelu: same,
  leakyRelu: () => ({ attrs: { slope: next() }, inputs: [x(...axes(3, 7))] }),
  prelu: () => {
    const channels = size(9);
    return { attrs: {}, inputs: [x(size(2), channels, size(6), size(6)), w(channels)] };
  },
  affine: () => {
    const shape = axes(pick([2, 3, 4]), 6);
    const channels = shape.length === 4 ? shape[1]! : shape.at(-1)!;
    const vector = () => pick([x, w])(pick([1, channels]));
    return { attrs: {}, inputs: [x(...shape), vector(), ...(pick([true, false]) ? [vector()] : [])] };
  },
  geglu: () => ({ attrs: {}, inputs: [x(...axes(pick([1, 2, 3]), 6), 2 * size(20))] }),
  add: () => {
    const shape = axes(pick([1, 2, 3, 4]), 6);
    const other = shape.slice(Math.floor(next() * shape.length)).map((dim) => pick([dim, dim, 1]));
    return { attrs: {}, inputs: [x(...shape), x(...other)] };
  },
  addChannels: () => {
    const [batch, channels] = [size(3), size(9)];
    return { attrs: {}, inputs: [x(batch, channels, size(6), size(6)), x(batch, channels)] };
  },
  scale: () => ({ attrs: { factor: next() * 4 - 2 }, inputs: [x(...axes(3, 7))] }),
  attention: () => {
    const heads = size(4);
    const channels = heads * pick([1, 8, 20, 32, 64, 144]);
    const [batch, queries] = [size(2), size(80)];
    const causal = channels / heads === 8 && next() < 0.5;
    const keys = causal ? queries : size(80);
    const part = (tokens: number): CaseInput => ({ ...x(batch, tokens, channels), factor: 0.5 });
    return { attrs: { heads, causal }, inputs: [part(queries), part(keys), part(keys)] };
  },
  embedding: () => {
    const rows = size(12);
    const shape = axes(pick([1, 2]), 6);
    const values = Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.floor(next() * rows));
    return { attrs: {}, inputs: [w(rows, size(33)), { kind: "ids", shape, values }] };
  },
  reshape: () => {
    const shape = axes(pick([2, 3, 4]), 6);
    const all = shape.reduce((a, b) => a * b, 1);
    return { attrs: { shape: pick([[all], [1, all], [shape[0]!, all / shape[0]!]]) }, inputs: [x(...shape)] };
  },
  toTokens: () => ({ attrs: {}, inputs: [x(...axes(4, 6))] }),
  toImage: () => {
    const [height, width] = [size(6), size(6)];
    return { attrs: { height, width }, inputs: [x(size(3), height * width, size(9))] };
  },
  upsampleNearest: () => {
    const [height, width] = [size(12), size(12)];
    return { attrs: { height, width }, inputs: [x(...axes(4, 6))] };
  },
  concat: () => {
    const shape = axes(pick([1, 2, 3, 4]), 6);
    const axis = Math.floor(next() * shape.length);
    return { attrs: { axis }, inputs: [x(...shape), x(...shape.with(axis, size(6)))] };
  },
  slice: () => {
    const shape = axes(pick([1, 2, 3, 4]), 7);
    const axis = Math.floor(next() * shape.length);
    const from = Math.floor(next() * shape[axis]!);
    const to = from + 1 + Math.floor(next() * (shape[axis]! - from));
    return { attrs: { axis, from, to }, inputs: [x(...shape)] };
  },
};

const PER_OP = 52;

export const RANDOM_CASES: readonly OpCase[] = Object.entries(MAKE).flatMap(([op, make]) =>
  // Each maker gives what its op takes; the table's type holds that.
  Array.from({ length: PER_OP }, (_, i) => ({ op, name: `random ${i}`, ...make() }) as OpCase),
);
