/**
 * @file What ONNX Runtime takes for itself while it runs a segment: the values between nodes for as long as they live, and
 * each op's temporaries. Figures of the lowering in lowering.ts and winograd.ts; an upper
 * bound, checked against the process's memory by bench/scratch.ts. Casts of fp16 weights go to given memory.
 */

import type { AnyNode, Graph, Segment, ValueId } from "../../ir/graph.ts";
import type { OpName } from "../../ir/ops.ts";
import { alignUp } from "../../tensor/align.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { ScratchBytes, StoredWeight } from "../device.ts";
import { winogradPays, winogradScratchBytes } from "./winograd.ts";

/** Of each weight within the given memory. */
export const CAST_ALIGNMENT_BYTES = 64;

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

/** Rows of a product below which ONNX Runtime was seen to copy the weights once more. */
const FEW_ROWS = 128;

/** Weights that the runtime copies for itself, as measured: those of direct convolutions, and of products with few rows. */
function copiedWeightBytes(graph: Graph, { nodes }: Segment): number {
  const shape = (id: ValueId | undefined) => graph.values[id!]!.shape;
  return nodes.reduce((sum, node) => {
    const [x, w] = node.inputs;
    if (node.op === "conv2d") {
      const { stride, pad } = node.attrs;
      return winogradPays({ x: shape(x), w: shape(w), stride, pad }) ? sum : sum + bytes(shape(w));
    }
    if (node.op !== "linear") return sum;
    return elementCount(shape(x).slice(0, -1)) < FEW_ROWS ? sum + bytes(shape(w)) : sum;
  }, 0);
}

/** Upper bounds. Given: the weights cast to fp32, all at once. `weights` in the order of `segment.weights`. */
export function onnxScratchBytes(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): ScratchBytes {
  // A table that is only looked up is never cast as a whole.
  const products = new Set(segment.nodes.flatMap(({ op, inputs }) => (op === "embedding" ? inputs.slice(1) : inputs)));
  let given = 0;
  segment.weights.forEach((id, i) => {
    if (weights[i]?.dtype === "f16" && products.has(id))
      given += alignUp(bytes(weights[i]!.shape), CAST_ALIGNMENT_BYTES);
  });
  const lastUse = new Map<ValueId, number>();
  segment.nodes.forEach((node, index) => {
    for (const id of node.inputs) lastUse.set(id, index);
  });
  const outputs = new Set(segment.outputs);
  const live = new Map<ValueId, number>();
  let peakBytes = 0;
  for (const [index, node] of segment.nodes.entries()) {
    const shape = (id: ValueId) => graph.values[id]!.shape;
    if (!outputs.has(node.output)) live.set(node.output, bytes(shape(node.output)));
    const temporary = TEMPORARY_BYTES[node.op]({ inputs: node.inputs.map(shape), output: shape(node.output), node });
    const now = [...live.values()].reduce((sum, size) => sum + size, temporary);
    peakBytes = Math.max(peakBytes, now);
    for (const id of [...node.inputs, node.output]) if ((lastUse.get(id) ?? -1) <= index) live.delete(id);
  }
  return { given, taken: peakBytes + copiedWeightBytes(graph, segment) };
}
