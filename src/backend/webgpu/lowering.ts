/** @file A segment as a list of dispatches: fused steps, each with its storages. Pure: shapes and stored dtypes in, data out. */
import type { AnyNode, Graph, Node, Segment, ValueId } from "../../ir/graph.ts";
import type { OpName } from "../../ir/ops.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { StoredWeight } from "../device.ts";
import { addAttention } from "./attentions.ts";
import { BYTE_COST, DispatchBuilder, type DispatchList, type Window } from "./dispatches.ts";
import { fuseSegment, type GroupNormStep, type ProductStep, type Step } from "./fusion.ts";
import { addKernel, broadcastAddKernel, ELEMENTWISE_QUADS, gegluKernel, SCALAR_ITEMS, unaryKernel } from "./kernels/elementwise.ts";
import { channelMomentsKernel, groupMomentsKernel, MOMENT_THREADS, NORMALIZE_ITEMS, normalizeKernel, pixelsPerRun } from "./kernels/group-norm.ts";
import { chooseTile } from "./kernels/gemm-tiles.ts";
import { layerNormKernel } from "./kernels/layer-norm.ts";
import { COPY_ITEMS, copyKernel, embeddingKernel, upsampleKernel } from "./kernels/layout.ts";
import { activationBytes, isRowMajor, physicalShape, physicalStrides, rowMajorStrides, weightBytes, weightStorage } from "./layout.ts";
import { addProduct, type TileChoice } from "./products.ts";
import type { Storage } from "./wgsl.ts";

export interface LoweringLimits {
  /** The adapter's limit on one storage binding. */
  readonly bindingBytes: number;
  /** The adapter's limit on workgroup memory. */
  readonly workgroupBytes: number;
}

export interface LoweringOptions {
  readonly limits: LoweringLimits;
  readonly chooseTile?: TileChoice;
}

/** `weights` in the order of `segment.weights`. */
export function lowerSegment(
  graph: Graph,
  segment: Segment,
  weights: readonly StoredWeight[],
  options: LoweringOptions,
): DispatchList {
  return new Lowering(graph, segment, weights, options).run();
}

/** Equal for segments that lower to equal lists: ids are numbered within the segment, names don't count. */
export function segmentSignature(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): string {
  const places = new Map<ValueId, number>();
  const place = (id: ValueId) => {
    const known = places.get(id);
    if (known !== undefined) return known;
    places.set(id, places.size);
    return places.size - 1;
  };
  const shape = (id: ValueId) => `${place(id)}[${graph.values[id]!.shape}]`;
  const inputs = segment.inputs.map((id) => `${shape(id)}${graph.values[id]!.dtype}`).join(" ");
  const stored = segment.weights.map((id, i) => `${shape(id)}${weights[i]!.dtype}`).join(" ");
  const nodes = segment.nodes.map(
    ({ op, inputs: read, output, attrs }) => `${op}(${read.map(place)})${shape(output)}${JSON.stringify(attrs)}`,
  );
  return `${inputs}|${stored}|${nodes.join(";")}|${segment.outputs.map(place)}`;
}

/** The numbers of a value: where, and stored how. */
interface Numbers {
  readonly storage: number;
  readonly type: Storage;
}

class Lowering {
  readonly graph: Graph;
  readonly builder: DispatchBuilder;
  readonly #segment: Segment;
  readonly #options: LoweringOptions;
  readonly #places = new Map<ValueId, Numbers>();
  readonly #outputs: ReadonlySet<ValueId>;
  readonly #asFloats = new Map<ValueId, number>();
  readonly #asRows = new Map<ValueId, number>();

  constructor(graph: Graph, segment: Segment, weights: readonly StoredWeight[], options: LoweringOptions) {
    this.graph = graph;
    this.#segment = segment;
    this.#options = options;
    this.builder = new DispatchBuilder(options.limits.bindingBytes);
    this.#outputs = new Set(segment.outputs);
    segment.inputs.forEach((id, index) => {
      const storage = this.builder.storage({ kind: "input", index, bytes: activationBytes(graph, id) });
      this.#places.set(id, { storage, type: "f32" });
    });
    segment.weights.forEach((id, index) => {
      const storage = this.builder.storage({ kind: "weight", index, bytes: weightBytes(weights[index]!) });
      this.#places.set(id, { storage, type: weightStorage(weights[index]!.dtype) });
    });
    segment.outputs.forEach((id, index) => {
      const storage = this.builder.storage({ kind: "output", index, bytes: activationBytes(graph, id) });
      this.#places.set(id, { storage, type: "f32" });
    });
  }

  run(): DispatchList {
    const steps = fuseSegment(this.graph, this.#segment);
    for (const step of steps) this.#step(step);
    return this.builder.build();
  }

  get chooseTile(): TileChoice {
    return this.#options.chooseTile ?? chooseTile;
  }

  get limits(): LoweringLimits {
    return this.#options.limits;
  }

  shape(id: ValueId): readonly number[] {
    return this.graph.values[id]!.shape;
  }

  label(id: ValueId): string {
    return `${this.#segment.name}: ${this.graph.values[id]!.name}`;
  }

  /** The numbers as they are stored. */
  numbers(id: ValueId): Numbers {
    const place = this.#places.get(id);
    if (!place) throw new Error(`${this.label(id)} is read before it is computed`);
    return place;
  }

  /** The numbers as fp32: a weight of 16 bits is converted once. */
  floats(id: ValueId): number {
    const { storage, type } = this.numbers(id);
    if (type === "f32") return storage;
    const known = this.#asFloats.get(id);
    if (known !== undefined) return known;
    const converted = this.builder.scratch(activationBytes(this.graph, id));
    this.#asFloats.set(id, converted);
    const shape = [elementCount(this.shape(id))];
    this.copy(this.label(id), { storage, type }, converted, shape, [1], [1]);
    return converted;
  }

  /** The numbers as fp32 in logical order. */
  rows(id: ValueId): number {
    const shape = this.shape(id);
    const storage = this.floats(id);
    if (isRowMajor(shape)) return storage;
    const known = this.#asRows.get(id);
    if (known !== undefined) return known;
    const ordered = this.builder.scratch(activationBytes(this.graph, id));
    this.#asRows.set(id, ordered);
    this.copy(this.label(id), { storage, type: "f32" }, ordered, shape, physicalStrides(shape), rowMajorStrides(shape));
    return ordered;
  }

  /** Where `id`, about to be computed, goes. */
  target(id: ValueId): number {
    const known = this.#places.get(id);
    if (known) return known.storage;
    const storage = this.builder.scratch(activationBytes(this.graph, id));
    this.#places.set(id, { storage, type: "f32" });
    return storage;
  }

  /** Where `id` goes in logical order; `done` brings it into the device's order. */
  targetRows(id: ValueId): { readonly storage: number; readonly done: () => void } {
    const shape = this.shape(id);
    if (isRowMajor(shape)) return { storage: this.target(id), done: () => undefined };
    const storage = this.builder.scratch(activationBytes(this.graph, id));
    const done = () => {
      const from: Numbers = { storage, type: "f32" };
      this.copy(this.label(id), from, this.target(id), shape, rowMajorStrides(shape), physicalStrides(shape));
    };
    return { storage, done };
  }

  /** Copies numbers in the order of `shape`'s axes (at most four), from and to places with strides and starts. */
  copy(
    label: string,
    from: Numbers,
    to: number,
    shape: readonly number[],
    fromStrides: readonly number[],
    toStrides: readonly number[],
    toStart = 0,
  ): void {
    if (shape.length > 4) throw new Error(`${label}: a copy of ${shape.length} axes`);
    const four = <T>(items: readonly T[], fill: T) => [...new Array<T>(4 - items.length).fill(fill), ...items];
    const sizes = four(shape, 1);
    const [f, t] = [four(fromStrides, 0), four(toStrides, 0)];
    const items = elementCount(shape);
    const named = (prefix: string, numbers: readonly number[]) =>
      Object.fromEntries(numbers.map((value, axis) => [`${prefix}${axis}`, value]));
    const params = { items, ...named("size", sizes), source: 0, place: toStart, ...named("source", f), ...named("place", t) };
    this.builder.add({
      label,
      operands: [
        { name: "x", storage: from.storage, ...slowAxisWindow(items, COPY_ITEMS, sizes, f, 0, from.type === "f32" ? 4 : 2) },
        { name: "out", storage: to, ...slowAxisWindow(items, COPY_ITEMS, sizes, t, toStart, 4) },
      ],
      kernel: () => copyKernel(from.type),
      workgroups: Math.ceil(items / COPY_ITEMS),
      params,
      costPerWorkgroup: COPY_ITEMS * 8 * BYTE_COST,
    });
  }

  #step(step: Step): void {
    switch (step.kind) {
      case "product":
        return this.#product(step);
      case "groupNorm":
        return this.#groupNorm(step);
      case "alias":
        return this.#alias(step.x, step.output);
      case "plain":
        return this.#plain(step.node);
    }
  }

  /** The same storage under another name, unless both have spans of their own. */
  #alias(x: ValueId, output: ValueId): void {
    const from = this.numbers(x);
    if (!this.#outputs.has(output)) {
      this.#places.set(output, from);
      return;
    }
    const count = [elementCount(this.shape(output))];
    this.copy(this.label(output), from, this.target(output), count, [1], [1]);
  }

  #product(step: ProductStep): void {
    const { rows, columns, depth, image, geglu, activation, factor, channels, residual } = step;
    const b = this.numbers(step.w);
    const bias = step.bias === undefined ? undefined : this.numbers(step.bias);
    const [first, second] = step.x;
    const joined = second === undefined ? {} : { joined: { storage: this.floats(second), first: this.shape(first!)[1]! } };
    addProduct(
      this.builder,
      {
        label: this.label(step.output),
        a: { storage: this.floats(first!) },
        ...joined,
        ...(image ? { image } : {}),
        b: { storage: b.storage, numbers: b.type },
        ...(bias ? { bias: { storage: bias.storage, numbers: bias.type } } : {}),
        ...(channels ? { channels: { storage: this.floats(channels.value), pixels: channels.pixels } } : {}),
        ...(residual === undefined ? {} : { residual: this.floats(residual) }),
        out: { storage: this.target(step.output) },
        rows,
        columns: geglu ? columns / 2 : columns,
        depth,
        geglu,
        ...(activation ? { activation } : {}),
        ...(factor === undefined ? {} : { factor }),
      },
      this.chooseTile,
    );
  }

  #groupNorm({ x, w, b, groups, eps, batch, pixels, channels, silu, output }: GroupNormStep): void {
    const storages = x.map((id) => this.floats(id));
    const widths = x.map((id) => this.shape(id)[1]!);
    this.groupNorm(this.label(output), { storages, widths, w, b, groups, eps, batch, pixels, channels, silu }, this.target(output));
  }

  /** Images [B, P, C] in memory order, in one storage or in two halves of the channels. */
  groupNorm(
    label: string,
    step: {
      readonly storages: readonly number[];
      readonly widths: readonly number[];
      readonly w: ValueId;
      readonly b: ValueId;
      readonly groups: number;
      readonly eps: number;
      readonly batch: number;
      readonly pixels: number;
      readonly channels: number;
      readonly silu: boolean;
    },
    out: number,
  ): void {
    const { storages, widths, groups, batch, pixels, channels } = step;
    const run = pixelsPerRun(pixels);
    const runs = Math.ceil(pixels / run);
    const blocks = Math.ceil(channels / MOMENT_THREADS);
    const parts = this.builder.scratch(batch * runs * channels * 8);
    const moments = this.builder.scratch(batch * groups * 8);
    const channelsFirst = widths[0]!;
    const sources = (window: (width: number) => Window) =>
      storages.map((storage, i) => ({ name: i === 0 ? "x" : "x2", storage, window: window(widths[i]!) }));
    const runWindow =
      (width: number): Window =>
      (first, last) => {
        const pixel = (index: number) => Math.floor(index / runs) * pixels + (index % runs) * run;
        const end = Math.min(pixel(Math.ceil(last / blocks) - 1) + run, batch * pixels);
        return [pixel(Math.floor(first / blocks)) * width * 4, end * width * 4];
      };
    this.builder.add({
      label,
      operands: [...sources(runWindow), { name: "parts", storage: parts }],
      kernel: (s) => channelMomentsKernel({ x: s.x!, ...(s.x2 === undefined ? {} : { x2: s.x2 }), parts: s.parts! }),
      workgroups: batch * runs * blocks,
      params: { pixels, channels, channelsFirst, run, runs, blocks },
      costPerWorkgroup: run * MOMENT_THREADS * 4 * BYTE_COST,
      step: blocks,
    });
    this.builder.add({
      label,
      operands: [
        { name: "parts", storage: parts },
        { name: "moments", storage: moments },
      ],
      kernel: () => groupMomentsKernel(),
      workgroups: batch * groups,
      params: { pixels, channels, run, runs, groups, eps: step.eps },
      costPerWorkgroup: (runs * channels * 8 * BYTE_COST) / groups,
    });
    const quad = widths.every((width) => width % 4 === 0);
    const items = (batch * pixels * channels) / (quad ? 4 : 1);
    const perPixel = channels / (quad ? 4 : 1);
    const pixelWindow =
      (width: number): Window =>
      (first, last) => {
        const from = Math.floor((first * NORMALIZE_ITEMS) / perPixel);
        const to = Math.min(batch * pixels, Math.ceil((last * NORMALIZE_ITEMS) / perPixel));
        return [from * width * 4, to * width * 4];
      };
    const [w, b] = [this.numbers(step.w), this.numbers(step.b)];
    this.builder.add({
      label,
      operands: [
        ...sources(pixelWindow),
        { name: "moments", storage: moments },
        { name: "w", storage: w.storage },
        { name: "b", storage: b.storage },
        { name: "out", storage: out, window: pixelWindow(channels) },
      ],
      kernel: (s) =>
        normalizeKernel({
          slots: { x: s.x!, ...(s.x2 === undefined ? {} : { x2: s.x2 }), moments: s.moments!, w: s.w!, b: s.b!, out: s.out! },
          wStorage: w.type,
          bStorage: b.type,
          silu: step.silu,
          quad,
        }),
      workgroups: Math.ceil(items / NORMALIZE_ITEMS),
      params: { items, pixels, channels, channelsFirst, groups },
      costPerWorkgroup: NORMALIZE_ITEMS * (quad ? 4 : 1) * 8 * BYTE_COST,
    });
  }

  #plain(node: AnyNode): void {
    // Node<Op> pairs each op with its own attrs; TypeScript can't follow that through an indexed table.
    const lower = PLAIN[node.op] as (lowering: Lowering, node: AnyNode) => void;
    lower(this, node);
  }
}

/** Window of a strided copy: exact where the slowest axis of the copy is the slowest of the operand, else the whole. */
function slowAxisWindow(
  items: number,
  perWorkgroup: number,
  sizes: readonly number[],
  strides: readonly number[],
  start: number,
  bytesPerNumber: number,
): { readonly window?: Window } {
  const axis = sizes.findIndex((size) => size > 1);
  if (axis < 0) return {};
  const inner = elementCount(sizes.slice(axis + 1));
  const reach = sizes.reduce((sum, size, i) => (i > axis ? sum + (size - 1) * strides[i]! : sum), 1);
  if (strides[axis]! < reach) return {};
  return {
    window: (first, last) => {
      const from = Math.floor((first * perWorkgroup) / inner);
      const to = Math.ceil(Math.min(items, last * perWorkgroup) / inner) - 1;
      return [(start + from * strides[axis]!) * bytesPerNumber, (start + to * strides[axis]! + reach) * bytesPerNumber];
    },
  };
}

/** Window of a tensor of which each workgroup has an equal share. */
function shareWindow(bytesPerWorkgroup: number, bytes: number): Window {
  return (first, last) => [first * bytesPerWorkgroup, Math.min(last * bytesPerWorkgroup, bytes)];
}

function unary(op: "silu" | "gelu" | "quickGelu" | "scale") {
  return (l: Lowering, node: AnyNode) => {
    const x = l.floats(node.inputs[0]!);
    const count = elementCount(l.shape(node.output));
    const out = l.target(node.output);
    const quads = Math.ceil(count / 4);
    const window = shareWindow(ELEMENTWISE_QUADS * 16, l.builder.bytes(out));
    l.builder.add({
      label: l.label(node.output),
      operands: [
        { name: "x", storage: x, window },
        { name: "out", storage: out, window },
      ],
      kernel: () => unaryKernel(op),
      workgroups: Math.ceil(quads / ELEMENTWISE_QUADS),
      params: { quads, ...(node.op === "scale" ? { factor: node.attrs.factor } : {}) },
      costPerWorkgroup: ELEMENTWISE_QUADS * 32 * BYTE_COST,
    });
  };
}

/** out = a + b, b's strides along out's physical axes given (equal shapes: none). */
function sum(l: Lowering, output: ValueId, a: number, b: number, strides?: readonly number[]): void {
  const out = l.target(output);
  const items = elementCount(l.shape(output));
  const label = l.label(output);
  if (!strides) {
    const quads = Math.ceil(items / 4);
    const window = shareWindow(ELEMENTWISE_QUADS * 16, l.builder.bytes(out));
    l.builder.add({
      label,
      operands: [
        { name: "a", storage: a, window },
        { name: "b", storage: b, window },
        { name: "out", storage: out, window },
      ],
      kernel: (s) => addKernel({ a: s.a!, b: s.b!, out: s.out! }),
      workgroups: Math.ceil(quads / ELEMENTWISE_QUADS),
      params: { quads },
      costPerWorkgroup: ELEMENTWISE_QUADS * 48 * BYTE_COST,
    });
    return;
  }
  const shape = physicalShape(l.shape(output));
  const sizes = [1, 1, 1, ...shape].slice(-4);
  const window = shareWindow(SCALAR_ITEMS * 4, l.builder.bytes(out));
  l.builder.add({
    label,
    operands: [
      { name: "a", storage: a, window },
      { name: "b", storage: b },
      { name: "out", storage: out, window },
    ],
    kernel: (s) => broadcastAddKernel({ a: s.a!, b: s.b!, out: s.out! }),
    workgroups: Math.ceil(items / SCALAR_ITEMS),
    params: {
      items,
      size1: sizes[1]!,
      size2: sizes[2]!,
      size3: sizes[3]!,
      stride0: strides[0]!,
      stride1: strides[1]!,
      stride2: strides[2]!,
      stride3: strides[3]!,
    },
    costPerWorkgroup: SCALAR_ITEMS * 12 * BYTE_COST,
  });
}

/** Strides of b along the physical axes of a's shape, 0 where b broadcasts; four of them. */
function broadcastStrides(a: readonly number[], b: readonly number[]): readonly number[] {
  const own = physicalStrides(b);
  const strides = a.map((_, axis) => {
    const place = axis - (a.length - b.length);
    return place < 0 || b[place] === 1 ? 0 : own[place]!;
  });
  const physical = a.length === 4 ? [strides[0]!, strides[2]!, strides[3]!, strides[1]!] : strides;
  return [0, 0, 0, ...physical].slice(-4);
}

type PlainLowering<Op extends OpName> = (l: Lowering, node: Node<Op>) => void;

/** What fusion leaves as it is. */
const PLAIN = {
  conv2d: notPlain,
  linear(l, node) {
    // Images by their last logical axis: through logical order.
    const [x, w, b] = node.inputs as [ValueId, ValueId, ValueId | undefined];
    const [columns, depth] = l.shape(w) as [number, number];
    const weight = l.numbers(w);
    const bias = b === undefined ? undefined : l.numbers(b);
    const a = l.rows(x);
    const { storage, done } = l.targetRows(node.output);
    addProduct(
      l.builder,
      {
        label: l.label(node.output),
        a: { storage: a },
        b: { storage: weight.storage, numbers: weight.type },
        ...(bias ? { bias: { storage: bias.storage, numbers: bias.type } } : {}),
        out: { storage },
        rows: elementCount(l.shape(x)) / depth,
        columns,
        depth,
      },
      l.chooseTile,
    );
    done();
  },
  groupNorm(l, node) {
    // [B, C, ...] in logical order: channels last, then back.
    const [x, w, b] = node.inputs as [ValueId, ValueId, ValueId];
    const shape = l.shape(x);
    const [batch, channels] = shape as [number, number];
    const pixels = elementCount(shape.slice(2));
    const axes = [batch, channels, pixels];
    const byChannel = [channels * pixels, pixels, 1];
    const byPixel = [channels * pixels, 1, channels];
    const label = l.label(node.output);
    const image = l.builder.scratch(elementCount(shape) * 4);
    const normal = l.builder.scratch(elementCount(shape) * 4);
    l.copy(label, { storage: l.rows(x), type: "f32" }, image, axes, byChannel, byPixel);
    const sizes = { ...node.attrs, batch, pixels, channels, silu: false };
    l.groupNorm(label, { storages: [image], widths: [channels], w, b, ...sizes }, normal);
    const { storage, done } = l.targetRows(node.output);
    l.copy(label, { storage: normal, type: "f32" }, storage, axes, byPixel, byChannel);
    done();
  },
  layerNorm(l, node) {
    const [x, w, b] = node.inputs as [ValueId, ValueId, ValueId];
    const channels = l.shape(x).at(-1)!;
    const from = l.rows(x);
    const { storage, done } = l.targetRows(node.output);
    const [weight, bias] = [l.numbers(w), l.numbers(b)];
    const rows = elementCount(l.shape(x)) / channels;
    const window = shareWindow(channels * 4, l.builder.bytes(storage));
    l.builder.add({
      label: l.label(node.output),
      operands: [
        { name: "x", storage: from, window },
        { name: "w", storage: weight.storage },
        { name: "b", storage: bias.storage },
        { name: "out", storage, window },
      ],
      kernel: (s) =>
        layerNormKernel({
          slots: { x: s.x!, w: s.w!, b: s.b!, out: s.out! },
          wStorage: weight.type,
          bStorage: bias.type,
        }),
      workgroups: rows,
      params: { channels, eps: node.attrs.eps },
      costPerWorkgroup: channels * 12 * BYTE_COST,
    });
    done();
  },
  silu: unary("silu"),
  gelu: unary("gelu"),
  quickGelu: unary("quickGelu"),
  scale: unary("scale"),
  geglu(l, node) {
    const x = l.rows(node.inputs[0]!);
    const { storage, done } = l.targetRows(node.output);
    const items = elementCount(l.shape(node.output));
    const half = l.shape(node.output).at(-1)!;
    const rowsOf = (first: number, last: number) =>
      [Math.floor((first * SCALAR_ITEMS) / half), Math.ceil(Math.min(items, last * SCALAR_ITEMS) / half)] as const;
    l.builder.add({
      label: l.label(node.output),
      operands: [
        { name: "x", storage: x, window: (f, t) => rowsOf(f, t).map((row) => row * half * 8) as [number, number] },
        { name: "out", storage, window: (f, t) => rowsOf(f, t).map((row) => row * half * 4) as [number, number] },
      ],
      kernel: () => gegluKernel(),
      workgroups: Math.ceil(items / SCALAR_ITEMS),
      params: { items, half },
      costPerWorkgroup: SCALAR_ITEMS * 12 * BYTE_COST,
    });
    done();
  },
  add(l, { inputs: [a, b], output }) {
    const [aShape, bShape] = [l.shape(a!), l.shape(b!)];
    const strides = aShape.join() === bShape.join() ? undefined : broadcastStrides(aShape, bShape);
    sum(l, output, l.floats(a!), l.floats(b!), strides);
  },
  addChannels(l, { inputs: [x, t], output }) {
    sum(l, output, l.floats(x!), l.floats(t!), [l.shape(x!)[1]!, 0, 0, 1]);
  },
  attention(l, { inputs: [q, k, v], output, attrs: { heads, causal } }) {
    const [batch, queries, channels] = l.shape(q!) as [number, number, number];
    const keys = l.shape(k!)[1]!;
    const places = { q: l.floats(q!), k: l.floats(k!), v: l.floats(v!), out: l.target(output) };
    const shape = { batch, queries, keys, channels, heads, causal };
    addAttention(l.builder, l.label(output), places, shape, { workgroupBytes: l.limits.workgroupBytes, chooseTile: l.chooseTile });
  },
  embedding(l, { inputs: [table, ids], output }) {
    const [rows, channels] = l.shape(table!) as [number, number];
    const { storage: from, type } = l.numbers(table!);
    const { storage, done } = l.targetRows(output);
    const items = elementCount(l.shape(output));
    l.builder.add({
      label: l.label(output),
      operands: [
        { name: "table", storage: from },
        { name: "ids", storage: l.rows(ids!) },
        { name: "out", storage, window: shareWindow(COPY_ITEMS * 4, l.builder.bytes(storage)) },
      ],
      kernel: () => embeddingKernel(type),
      workgroups: Math.ceil(items / COPY_ITEMS),
      params: { items, rows, channels, nan: 0x7fc00000 },
      costPerWorkgroup: COPY_ITEMS * 8 * BYTE_COST,
    });
    done();
  },
  reshape(l, { inputs: [x], output }) {
    const from = l.rows(x!);
    const { storage, done } = l.targetRows(output);
    l.copy(l.label(output), { storage: from, type: "f32" }, storage, [elementCount(l.shape(output))], [1], [1]);
    done();
  },
  toTokens: notPlain,
  toImage: notPlain,
  upsampleNearest(l, { inputs: [x], output }) {
    const [, channels, height, width] = l.shape(output) as [number, number, number, number];
    const [, , inHeight, inWidth] = l.shape(x!) as [number, number, number, number];
    const out = l.target(output);
    const items = elementCount(l.shape(output));
    const perRow = width * channels;
    const window: Window = (first, last) => {
      const source = (row: number) => Math.floor(row / height) * inHeight + Math.floor(((row % height) * inHeight) / height);
      const from = source(Math.floor((first * COPY_ITEMS) / perRow));
      const to = source(Math.ceil(Math.min(items, last * COPY_ITEMS) / perRow) - 1);
      return [from * inWidth * channels * 4, (to + 1) * inWidth * channels * 4];
    };
    l.builder.add({
      label: l.label(output),
      operands: [
        { name: "x", storage: l.floats(x!), window },
        { name: "out", storage: out, window: shareWindow(COPY_ITEMS * 4, l.builder.bytes(out)) },
      ],
      kernel: () => upsampleKernel(),
      workgroups: Math.ceil(items / COPY_ITEMS),
      params: { items, inHeight, inWidth, height, width, channels },
      costPerWorkgroup: COPY_ITEMS * 8 * BYTE_COST,
    });
  },
  concat(l, { inputs, output, attrs: { axis } }) {
    const out = l.target(output);
    const strides = physicalStrides(l.shape(output));
    let start = 0;
    for (const id of inputs) {
      const shape = l.shape(id);
      l.copy(l.label(output), { storage: l.floats(id), type: "f32" }, out, shape, physicalStrides(shape), strides, start);
      start += shape[axis]! * strides[axis]!;
    }
  },
} satisfies { [Op in OpName]: PlainLowering<Op> };

/** These always become part of a fused step. */
function notPlain(l: Lowering, node: AnyNode): void {
  throw new Error(`${l.label(node.output)}: fusion left a ${node.op}`);
}

