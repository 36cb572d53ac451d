/**
 * @file What ONNX Runtime takes for itself while it runs a segment: the values between nodes for as long as they live, and
 * each op's temporaries. Figures of the lowering in lowering.ts and winograd.ts; an upper
 * bound, checked against the process's memory by bench/scratch.ts.
 */

import type { AnyNode, Graph, Segment, ValueId } from "../../ir/graph.ts";
import type { OpName } from "../../ir/ops.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { StoredWeight } from "../device.ts";
import { winogradPays, winogradScratchBytes } from "./winograd.ts";

/** What an op looks at: shapes of its inputs and output. */
interface OpShapes {
  readonly inputs: readonly (readonly number[])[];
  readonly output: readonly number[];
  readonly node: AnyNode;
}

const bytes = (shape: readonly number[] | undefined) => (shape ? elementCount(shape) * 4 : 0);

/** Temporaries of one op besides inputs, output and casts of weights. */
const TEMPORARY_BYTES: { readonly [Op in OpName]: (shapes: OpShapes) => number } = {
  conv2d: ({ inputs: [x, w], output, node }) => {
    if (node.op !== "conv2d") return 0;
    const shape = { x: x!, w: w!, stride: node.attrs.stride, pad: node.attrs.pad };
    // Copies of input and output: padded and sliced, or in the blocked layout of direct convolution.
    return bytes(x) + bytes(output) + (winogradPays(shape) ? winogradScratchBytes(shape) : 0);
  },
  linear: () => 0,
  groupNorm: ({ output }) => 2 * bytes(output),
  layerNorm: () => 0,
  silu: () => 0,
  gelu: ({ output }) => bytes(output),
  quickGelu: () => 0,
  leakyRelu: () => 0,
  prelu: () => 0,
  // The product, before the sum.
  affine: ({ inputs, output }) => (inputs.length > 2 ? bytes(output) : 0),
  // Two halves, and the gate after its activation.
  geglu: ({ output }) => 3 * bytes(output),
  add: () => 0,
  addChannels: () => 0,
  scale: () => 0,
  // Queries, keys, values and result by head.
  attention: ({ inputs: [q, k, v], output }) => bytes(q) + bytes(k) + bytes(v) + bytes(output),
  embedding: () => 0,
  reshape: () => 0,
  toTokens: () => 0,
  toImage: () => 0,
  upsampleNearest: () => 0,
  concat: () => 0,
  slice: () => 0,
  // Squared differences.
  groupStats: ({ inputs: [x] }) => 2 * bytes(x),
  groupNormApply: ({ output }) => bytes(output),
};

/** Upper bound in bytes. `weights` in the order of `segment.weights`. */
export function onnxScratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): number {
  // A table that is only looked up is never cast as a whole. Weights are cast well before their use: all that are yet to be
  // used may be there.
  const products = new Set(segment.nodes.flatMap(({ op, inputs }) => (op === "embedding" ? inputs.slice(1) : inputs)));
  const live = new Map<ValueId, number>();
  segment.weights.forEach((id, i) => {
    if (weights[i]?.dtype === "f16" && products.has(id)) live.set(id, bytes(weights[i]!.shape));
  });
  const lastUse = new Map<ValueId, number>();
  segment.nodes.forEach((node, index) => {
    for (const id of node.inputs) lastUse.set(id, index);
  });
  const outputs = new Set(segment.outputs);
  let peakBytes = 0;
  for (const [index, node] of segment.nodes.entries()) {
    const shape = (id: ValueId) => graph.values[id]!.shape;
    if (!outputs.has(node.output)) live.set(node.output, bytes(shape(node.output)));
    const temporary = TEMPORARY_BYTES[node.op]({ inputs: node.inputs.map(shape), output: shape(node.output), node });
    const now = [...live.values()].reduce((sum, size) => sum + size, temporary);
    peakBytes = Math.max(peakBytes, now);
    for (const id of [...node.inputs, node.output]) if ((lastUse.get(id) ?? -1) <= index) live.delete(id);
  }
  // onnxruntime-node copies every result once more (freed in backend.ts) when all else is gone.
  const copiesBytes = segment.outputs.reduce((sum, id) => sum + bytes(graph.values[id]!.shape), 0);
  return Math.max(peakBytes, copiesBytes);
}
