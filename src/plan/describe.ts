/** @file From graphs to what a plan needs of them: blocks of weights, lifetimes of values, arithmetic, scratch. Pure. */
import { segmentFlops } from "../ir/cost.ts";
import type { Graph, Segment, ValueId } from "../ir/graph.ts";
import { alignUp } from "../tensor/align.ts";
import type { DeviceSizes, StoredWeight } from "./device-sizes.ts";
import type { NamedBytes, PlanPass, PlanPhaseInput, PlanSegment, PlanValue } from "./plan-input.ts";

/** A weight's place within the stored bytes of its block. */
export interface StoredTensor {
  readonly name: string;
  readonly stored: StoredWeight;
  readonly offsetBytes: number;
}

/** Weights of one segment, as whoever stores them lays them out. */
export interface StoredBlock {
  /** Equal keys are the same weights. */
  readonly key: string;
  readonly storedBytes: number;
  readonly tensors: readonly StoredTensor[];
}

/** Finds a segment's blocks by the parameters it reads; together they hold each of these once. */
export type BlockCatalog = (segmentName: string, weightNames: readonly string[]) => readonly StoredBlock[];

/** A graph that a phase runs, as data. */
export interface PassDescription {
  /** Unlike any other in the plan. */
  readonly id: string;
  readonly graph: Graph;
  /** Whose weights it reads. */
  readonly component: string;
  /** Runs in one image. */
  readonly repeats: number;
  /** True if all weights are used before any is used again, `repeats` times. */
  readonly cyclic: boolean;
  /** Names of graph inputs and outputs that live in the phase's link arena: one pass's results, other passes' inputs. */
  readonly links: readonly string[];
}

/** What runs with its memory taken once, as data. */
export interface PhaseDescription {
  /** Unlike any other in the plan. */
  readonly id: string;
  /** For people. */
  readonly title: string;
  readonly passes: readonly PassDescription[];
  /** Host memory that the phase needs whatever is chosen. */
  readonly hostBytes: number;
  /** Activations that lie in host memory while bands of them pass through the device. */
  readonly spilledBytes: number;
  /** Host memory that each further picture takes which is drawn beside. Absent: none. */
  readonly laneBytes?: number | undefined;
}

/** Throws RangeError if a link comes from no pass, or is no input or output of a pass that names it. */
export function describePhase(
  device: DeviceSizes,
  phase: PhaseDescription,
  catalogOf: (component: string) => BlockCatalog,
): PlanPhaseInput {
  const { id, title, hostBytes, spilledBytes, laneBytes } = phase;
  const passes = phase.passes.map((pass) => describePass(device, pass, catalogOf(pass.component)));
  return { id, title, passes, links: phaseLinks(device, phase), hostBytes, spilledBytes, laneBytes };
}

function phaseLinks(device: DeviceSizes, { id, passes }: PhaseDescription): NamedBytes[] {
  for (const { id: passId, graph, links } of passes) {
    const unknown = links.find((name) => !graph.inputs.has(name) && !graph.outputs.has(name));
    if (unknown !== undefined) throw new RangeError(`pass ${passId}: its graph has no input or output ${unknown}`);
  }
  const names = [...new Set(passes.flatMap(({ links }) => links))];
  return names.map((name) => {
    const source = passes.find(({ graph, links }) => links.includes(name) && graph.outputs.has(name));
    if (!source) throw new RangeError(`phase ${id}: no pass makes the link ${name}`);
    return { name, lengthBytes: device.activationBytes(source.graph, source.graph.outputs.get(name)!) };
  });
}

function describePass(device: DeviceSizes, pass: PassDescription, catalog: BlockCatalog): PlanPass {
  const { id, graph, repeats, cyclic, links } = pass;
  return {
    id,
    repeats,
    cyclic,
    segments: graph.segments.map((segment) => describeSegment(device, graph, segment, catalog)),
    values: valueLifetimes(device, graph, new Set(links)),
  };
}

function describeSegment(device: DeviceSizes, graph: Graph, segment: Segment, catalog: BlockCatalog): PlanSegment {
  const stored = segmentBlocks(graph, segment, catalog);
  const blocks = stored.map((block) => ({
    key: block.key,
    deviceBytes: layOutBlock(device, block).lengthBytes,
    storedBytes: block.storedBytes,
  }));
  const activations = [...segment.inputs, ...segment.outputs];
  const activationBytes = activations.reduce((sum, id) => sum + device.activationBytes(graph, id), 0);
  return {
    name: segment.name,
    blocks,
    flops: segmentFlops(graph, segment),
    trafficBytes: activationBytes + blocks.reduce((sum, { deviceBytes }) => sum + deviceBytes, 0),
    scratch: device.scratchBytes(graph, segment, storedWeights(graph, segment, stored)),
  };
}

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

/** None where the segment reads no weights. */
export function segmentBlocks(graph: Graph, segment: Segment, catalog: BlockCatalog): readonly StoredBlock[] {
  if (segment.weights.length === 0) return [];
  return catalog(
    segment.name,
    segment.weights.map((id) => graph.values[id]!.name),
  );
}

/** In the order of `segment.weights`. Throws RangeError if no block holds one of them. */
export function storedWeights(graph: Graph, segment: Segment, blocks: readonly StoredBlock[]): StoredWeight[] {
  const byName = new Map(blocks.flatMap(({ tensors }) => tensors.map(({ name, stored }) => [name, stored] as const)));
  return segment.weights.map((id) => {
    const { name } = graph.values[id]!;
    const stored = byName.get(name);
    if (!stored) throw new RangeError(`${graph.name} ${segment.name}: no block holds ${name}`);
    return stored;
  });
}

/** Graph inputs live from the start to their last reader, graph outputs from their segment to the end. Links are left out. */
function valueLifetimes(device: DeviceSizes, graph: Graph, links: ReadonlySet<string>): PlanValue[] {
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
      firstUse: from.get(id)!,
      lastUse: to.get(id)!,
    }));
}
