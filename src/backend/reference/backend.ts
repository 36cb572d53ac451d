/**
 * @file The reference backend: plain loops that define what every op means. fp32 values between ops, fp64 sums within.
 * Runs anywhere JavaScript does; meant for small models, tests and for judging the other backends.
 */
import type { AnyNode, Graph, Segment, ValueId } from "../../ir/graph.ts";
import type { OpAttrs, OpName } from "../../ir/ops.ts";
import { elementCount, toFloat32 } from "../../tensor/dtype.ts";
import type { ActivationData, Backend, SegmentRun } from "../backend.ts";
import { attention } from "./attention.ts";
import { conv2d, linear } from "./matmul.ts";
import { concat, embedding, reshape, slice, toImage, toTokens, upsampleNearest } from "./movement.ts";
import { groupNorm, groupNormApply, groupStats, layerNorm } from "./norm.ts";
import { add, addChannels, affine, geglu, gelu, leakyRelu, prelu, quickGelu, scale, silu } from "./pointwise.ts";
import type { Kernel, ReferenceTensor } from "./tensor.ts";

const KERNELS = {
  conv2d,
  linear,
  groupNorm,
  layerNorm,
  silu,
  gelu,
  quickGelu,
  leakyRelu,
  prelu,
  affine,
  geglu,
  add,
  addChannels,
  scale,
  attention,
  embedding,
  reshape,
  toTokens,
  toImage,
  upsampleNearest,
  concat,
  slice,
  groupStats,
  groupNormApply,
} satisfies { [Op in OpName]: Kernel<Op> };

/** Longest stretch of computing before other work of the thread (timers, Ctrl-C) gets its turn. */
const YIELD_AFTER_MS = 30;

/** `run` rejects with the signal's reason once it is aborted (looked at between nodes). */
export function createReferenceBackend(): Backend {
  let lastYield = performance.now();

  const run = async ({ graph, segment, inputs, weights, outputs }: SegmentRun, signal?: AbortSignal) => {
    const values = new Map<ValueId, ActivationData>(inputs);
    for (const [id, weight] of weights) values.set(id, toFloat32(weight.dtype, weight.bytes));
    const read = (id: ValueId): ReferenceTensor => {
      const data = values.get(id);
      const value = graph.values[id];
      if (!data || !value) throw new RangeError(`${segment.name}: value ${id} (${value?.name}) was not given`);
      return { shape: value.shape, data };
    };
    const uses = new Map<ValueId, number>();
    for (const node of segment.nodes) for (const id of node.inputs) uses.set(id, (uses.get(id) ?? 0) + 1);

    for (const node of segment.nodes) {
      if (performance.now() - lastYield > YIELD_AFTER_MS) {
        await new Promise<void>((resolve) => setTimeout(resolve, 0));
        lastYield = performance.now();
      }
      signal?.throwIfAborted();
      const result = compute(node, node.inputs.map(read), graph.values[node.output]!.shape);
      values.set(node.output, result);
      outputs.get(node.output)?.set(result);
      for (const id of node.inputs) {
        const left = uses.get(id)! - 1;
        uses.set(id, left);
        if (left === 0) values.delete(id);
      }
    }
  };

  const release = async () => {};
  return {
    name: "reference",
    overheadBytes: 0,
    weightDTypes: new Set(["f32"]),
    scratchBytes,
    prepare: async () => {}, // there is nothing to compile
    run,
    release,
    [Symbol.asyncDispose]: release,
  };
}

/** All values between the segment's nodes at once, and a copy of the largest (results are made aside). */
function scratchBytes(graph: Graph, segment: Segment): number {
  const sizes = segment.nodes.map((node) => elementCount(graph.values[node.output]!.shape) * 4);
  return sizes.reduce((sum, bytes) => sum + bytes, 0) + Math.max(0, ...sizes);
}

function compute(node: AnyNode, inputs: readonly ReferenceTensor[], shape: readonly number[]): Float32Array {
  // Node<Op> pairs each op with its own attrs; TypeScript can't follow that through an indexed table.
  const kernel = KERNELS[node.op] as (i: typeof inputs, attrs: OpAttrs[OpName], s: typeof shape) => Float32Array;
  return kernel(inputs, node.attrs, shape);
}
