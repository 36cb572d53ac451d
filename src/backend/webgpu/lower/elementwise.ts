/** @file Dispatches of ops on each element alone. Pure. */
import type { AnyNode, ValueId } from "../../../ir/graph.ts";
import { channelsOf } from "../../../ir/ops.ts";
import { elementCount } from "../../../tensor/dtype.ts";
import {
  addKernel,
  affineKernel,
  broadcastAddKernel,
  ELEMENTWISE_QUADS,
  gegluKernel,
  preluKernel,
  SCALAR_ITEMS,
  type UnaryOp,
  unaryKernel,
} from "../kernels/elementwise.ts";
import { BYTE_COST } from "./dispatches.ts";
import { type LoweringScope, shareWindow } from "./lowering-scope.ts";
import { physicalShape, physicalStrides } from "./tensor-layout.ts";

/** A kernel from x to a result of the same shape. */
export function unary(op: UnaryOp) {
  return (l: LoweringScope, node: AnyNode) => {
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
      params: { quads, ...factorOf(node) },
      costPerWorkgroup: ELEMENTWISE_QUADS * 32 * BYTE_COST,
    });
  };
}

function factorOf(node: AnyNode): { readonly factor?: number } {
  if (node.op === "scale") return { factor: node.attrs.factor };
  return node.op === "leakyRelu" ? { factor: node.attrs.slope } : {};
}

/** x [B, C, H, W], its physical last axis the channels, by w [C]. */
export function addPrelu(l: LoweringScope, node: AnyNode): void {
  const [x, w] = node.inputs as [ValueId, ValueId];
  const out = l.target(node.output);
  const items = elementCount(l.shape(node.output));
  const window = shareWindow(SCALAR_ITEMS * 4, l.builder.bytes(out));
  l.builder.add({
    label: l.label(node.output),
    operands: [
      { name: "x", storage: l.floats(x), window },
      { name: "w", storage: l.floats(w) },
      { name: "out", storage: out, window },
    ],
    kernel: () => preluKernel(),
    workgroups: Math.ceil(items / SCALAR_ITEMS),
    params: { items, channels: l.shape(x)[1]! },
    costPerWorkgroup: SCALAR_ITEMS * 8 * BYTE_COST,
  });
}

/** x by w plus b, a channel each: the physical last axis, also of images. */
export function addAffine(l: LoweringScope, node: AnyNode): void {
  const [x, w, b] = node.inputs as [ValueId, ValueId, ValueId | undefined];
  const out = l.target(node.output);
  const items = elementCount(l.shape(node.output));
  const window = shareWindow(SCALAR_ITEMS * 4, l.builder.bytes(out));
  const step = (id: ValueId) => (l.shape(id)[0] === 1 ? 0 : 1);
  l.builder.add({
    label: l.label(node.output),
    operands: [
      { name: "x", storage: l.floats(x), window },
      { name: "w", storage: l.floats(w) },
      ...(b === undefined ? [] : [{ name: "b", storage: l.floats(b) }]),
      { name: "out", storage: out, window },
    ],
    kernel: (s) => affineKernel({ x: s.x!, w: s.w!, b: s.b, out: s.out! }),
    workgroups: Math.ceil(items / SCALAR_ITEMS),
    params: {
      items,
      channels: channelsOf(l.shape(x)),
      wStep: step(w),
      ...(b !== undefined && { bStep: step(b) }),
    },
    costPerWorkgroup: SCALAR_ITEMS * 8 * BYTE_COST,
  });
}

/** out = a + b, b's strides along out's physical axes given (equal shapes: none). */
export function addSum(l: LoweringScope, output: ValueId, a: number, b: number, strides?: readonly number[]): void {
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
export function broadcastStrides(a: readonly number[], b: readonly number[]): readonly number[] {
  const own = physicalStrides(b);
  const strides = a.map((_, axis) => {
    const place = axis - (a.length - b.length);
    return place < 0 || b[place] === 1 ? 0 : own[place]!;
  });
  const physical = a.length === 4 ? [strides[0]!, strides[2]!, strides[3]!, strides[1]!] : strides;
  return [0, 0, 0, ...physical].slice(-4);
}

/** x [..., 2 C] -> [..., C]. */
export function addGeglu(l: LoweringScope, node: AnyNode): void {
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
}
