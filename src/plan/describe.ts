/** @file From a graph to what a plan needs of it: blocks of weights, lifetimes of values, arithmetic, scratch. Pure. */
import type { Device, StoredWeight } from "../backend/device.ts";
import { segmentFlops } from "../ir/cost.ts";
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import { alignUp } from "../tensor/align.ts";
import type { PlanDevice, PlanPass, PlanSegment, PlanValue } from "./plan.ts";

/** A weight's place within the stored bytes of its block. */
export interface StoredTensor {
  readonly name: string;
  readonly stored: StoredWeight;
  readonly offsetBytes: number;
}

/** The weights of one segment, as whoever stores them lays them out. */
export interface StoredBlock {
  /** Equal keys are the same weights. */
  readonly key: string;
  readonly storedBytes: number;
  readonly tensors: readonly StoredTensor[];
}

/** Finds a segment's block by the parameters it reads. */
export type BlockCatalog = (segmentName: string, weightNames: readonly string[]) => StoredBlock;

/** Sizes that only the device knows. */
export type DeviceSizes = PlanDevice & Pick<Device, "activationBytes" | "weightBytes" | "scratchBytes">;

/** Offsets of a block's weights on the device, and its length there. */
export function layOutBlock(
  device: DeviceSizes,
  block: StoredBlock,
): { readonly offsets: readonly number[]; readonly lengthBytes: number } {
  let lengthBytes = 0;
  const offsets = block.tensors.map(({ stored }) => {
    const offset = lengthBytes;
    lengthBytes += alignUp(device.weightBytes(stored), device.alignmentBytes);
    return offset;
  });
  return { offsets, lengthBytes };
}

export function segmentBlock(graph: Graph, segment: Segment, catalog: BlockCatalog): StoredBlock | undefined {
  if (segment.weights.length === 0) return undefined;
  return catalog(
    segment.name,
    segment.weights.map((id) => graph.values[id]!.name),
  );
}

export interface PassDescription {
  readonly repeats?: number;
  readonly cyclic?: boolean;
  /** Names of graph inputs and outputs that live in the phase's link arena instead of the pass's. */
  readonly links?: ReadonlySet<string>;
}

export function describePass(
  device: DeviceSizes,
  graph: Graph,
  catalog: BlockCatalog,
  { repeats = 1, cyclic = false, links = new Set() }: PassDescription = {},
): PlanPass {
  return {
    name: graph.name,
    repeats,
    cyclic,
    segments: graph.segments.map((segment) => describeSegment(device, graph, segment, catalog)),
    values: valueLifetimes(device, graph, links),
  };
}

function describeSegment(device: DeviceSizes, graph: Graph, segment: Segment, catalog: BlockCatalog): PlanSegment {
  const stored = segmentBlock(graph, segment, catalog);
  const weights = stored ? storedWeights(graph, segment, stored) : [];
  const deviceBytes = stored ? layOutBlock(device, stored).lengthBytes : 0;
  const activations = [...segment.inputs, ...segment.outputs];
  const activationBytes = activations.reduce((sum, id) => sum + device.activationBytes(graph, id), 0);
  return {
    name: segment.name,
    ...(stored ? { block: { key: stored.key, deviceBytes, storedBytes: stored.storedBytes } } : {}),
    flops: segmentFlops(graph, segment),
    trafficBytes: activationBytes + deviceBytes,
    scratch: device.scratchBytes(graph, segment, weights),
  };
}

/** In the order of `segment.weights`. */
export function storedWeights(graph: Graph, segment: Segment, block: StoredBlock): StoredWeight[] {
  const byName = new Map(block.tensors.map(({ name, stored }) => [name, stored]));
  return segment.weights.map((id) => byName.get(graph.values[id]!.name)!);
}

/** Graph inputs live from the start to their last reader, graph outputs from their segment to the end. */
export function valueLifetimes(device: DeviceSizes, graph: Graph, links: ReadonlySet<string>): PlanValue[] {
  const from = new Map<ValueId, number>();
  const to = new Map<ValueId, number>();
  const linked = new Set<ValueId>();
  for (const [name, id] of graph.inputs) {
    if (links.has(name)) linked.add(id);
    from.set(id, 0);
    to.set(id, 0);
  }
  graph.segments.forEach((segment, index) => {
    for (const id of segment.inputs) to.set(id, index);
    for (const id of segment.outputs) {
      from.set(id, index);
      to.set(id, index);
    }
  });
  for (const [name, id] of graph.outputs) {
    if (links.has(name)) linked.add(id);
    to.set(id, graph.segments.length);
  }
  return [...from.keys()]
    .filter((id) => !linked.has(id))
    .map((id) => ({
      id,
      lengthBytes: device.activationBytes(graph, id),
      firstStep: from.get(id)!,
      lastStep: to.get(id)!,
    }));
}
