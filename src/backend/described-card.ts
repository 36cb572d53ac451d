/**
 * @file Sizes on a graphics card that isn't there: as the WebGPU backend lays things out (fp16 weights in packed pairs, fp32
 * activations, offsets of 256 bytes), so that a plan can be read before anybody owns the card.
 */
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { Device, ScratchBytes, StoredWeight } from "./device.ts";

const MiB = 1024 ** 2;
/** Three staging buffers, and what a driver takes for its context and pipelines. */
const OVERHEAD_BYTES = 3 * 32 * MiB + 256 * MiB;

export type DescribedDevice = Pick<
  Device,
  "name" | "alignmentBytes" | "overheadBytes" | "sharesHostMemory" | "activationBytes" | "weightBytes" | "scratchBytes"
>;

export const DESCRIBED_CARD: DescribedDevice = {
  name: "webgpu",
  alignmentBytes: 256,
  overheadBytes: OVERHEAD_BYTES,
  sharesHostMemory: false,
  activationBytes: (graph: Graph, id: ValueId) => elementCount(graph.values[id]!.shape) * 4,
  weightBytes: ({ dtype, shape }: StoredWeight) =>
    dtype === "f16" ? 4 * Math.ceil(elementCount(shape) / 2) : 4 * elementCount(shape),
  scratchBytes: liveBytes,
};

/** Values between a segment's nodes, as long as they live. */
function liveBytes(graph: Graph, segment: Segment): ScratchBytes {
  const bytes = (id: ValueId) => elementCount(graph.values[id]!.shape) * 4;
  const lastUse = new Map<ValueId, number>();
  segment.nodes.forEach((node, index) => {
    for (const id of node.inputs) lastUse.set(id, index);
  });
  const inner = new Set<ValueId>();
  let peakBytes = 0;
  segment.nodes.forEach((node, index) => {
    if (!segment.outputs.includes(node.output)) inner.add(node.output);
    let now = 0;
    for (const id of inner) now += bytes(id);
    peakBytes = Math.max(peakBytes, now);
    for (const id of node.inputs) if (lastUse.get(id) === index) inner.delete(id);
  });
  return { given: peakBytes, taken: 0 };
}
