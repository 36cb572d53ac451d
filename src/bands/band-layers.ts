/**
 * @file Cuts a graph into layers that can be computed band by band: what a layer reads is whole in memory (and its group
 * statistics known) before the layer begins; within a layer, a band goes through all nodes at once.
 */

import type { AnyNode, Graph, ValueId } from "../ir/graph.ts";
import { elementCount } from "../tensor/dtype.ts";
import { type Reading, type Rows, readingOf } from "./rows.ts";

/** Statistics of groups of a value's channels. */
export interface StatisticsOf {
  readonly value: ValueId;
  readonly groups: number;
}

export interface LayerNodes {
  /** In the graph's order. May be empty in the first layer: then only statistics of a caller's image are made. */
  readonly nodes: readonly AnyNode[];
  /** Values with rows that are read whole from memory or by band: the caller's, and results of earlier layers. */
  readonly reads: readonly ValueId[];
  /** Values that later layers or the caller read. */
  readonly keeps: readonly ValueId[];
  /** Made by this layer, of what it keeps or of the caller's images. */
  readonly statistics: readonly StatisticsOf[];
}

interface Edge {
  readonly node: number;
  readonly value: ValueId;
  readonly reading: Reading;
  /** By the caller, so whole from the start. */
  readonly fed: boolean;
}

export function cutIntoLayers(graph: Graph, rows: ReadonlyMap<ValueId, Rows>): readonly LayerNodes[] {
  const nodes = neededNodes(graph);
  const producer = new Map(nodes.map((node, index) => [node.output, index]));
  const edges: readonly Edge[] = nodes.flatMap((node, index) =>
    node.inputs
      .map((value, i) => ({
        node: index,
        value,
        reading: readingOf(graph, rows, node, i),
        fed: !producer.has(value),
      }))
      .filter(({ reading }) => reading !== "none"),
  );
  const reads = nodes.map((_, index) => edges.filter(({ node }) => node === index));
  const readers = new Map<ValueId, readonly Edge[]>();
  for (const edge of edges) readers.set(edge.value, [...(readers.get(edge.value) ?? []), edge]);
  const layers = earliestLayers(nodes, reads, producer);
  saveMemory(graph, { nodes, reads, readers, producer, layers });

  const outputs = new Set(graph.outputs.values());
  const count = Math.max(...layers) + 1;
  const layerOf = (value: ValueId) => layers[producer.get(value) ?? -1] ?? 0;
  const keeps = (value: ValueId) =>
    outputs.has(value) || (readers.get(value) ?? []).some(({ node }) => layers[node]! > layerOf(value));
  const statistics = uniqueStatistics(nodes);
  const cut = Array.from({ length: count }, (_, layer): LayerNodes => {
    const own = nodes.filter((_, index) => layers[index] === layer);
    const outside = reads
      .filter((_, index) => layers[index] === layer)
      .flat()
      .map(({ value }) => value)
      .filter((value) => !producer.has(value) || layerOf(value) < layer);
    return {
      nodes: own,
      reads: [...new Set(outside)],
      keeps: own.map(({ output }) => output).filter(keeps),
      statistics: statistics.filter(({ value }) => layerOf(value) === layer),
    };
  });
  return cut.filter(({ nodes: own, statistics: made }) => own.length > 0 || made.length > 0);
}

/** Without those that no result of the graph depends on. */
function neededNodes(graph: Graph): readonly AnyNode[] {
  const needed = new Set(graph.outputs.values());
  const all = graph.segments.flatMap((segment) => segment.nodes);
  for (const node of all.toReversed()) if (needed.has(node.output)) for (const id of node.inputs) needed.add(id);
  return all.filter(({ output }) => needed.has(output));
}

/** 1 where the reader must wait for the next layer, given the layers so far. */
function barrier(
  { value, reading, fed }: Edge,
  layer: number,
  heavy: (value: ValueId, layer: number) => boolean,
): 0 | 1 {
  if (reading === "after" || (reading === "all" && !fed)) return 1;
  // A halo is computed twice, by both bands that it belongs to: never more than cheap, element-wise work.
  return (reading === "kernel" || reading === "nearest") && heavy(value, layer) ? 1 : 0;
}

const HEAVY = new Set(["conv2d", "linear", "attention"]);

/** True if making a row of `value` in `layer` costs products. */
function heaviness(
  nodes: readonly AnyNode[],
  reads: readonly (readonly Edge[])[],
  producer: ReadonlyMap<ValueId, number>,
  layers: readonly number[],
) {
  const heavy = (value: ValueId, layer: number): boolean => {
    const index = producer.get(value);
    if (index === undefined || layers[index] !== layer) return false;
    return HEAVY.has(nodes[index]!.op) || reads[index]!.some((edge) => heavy(edge.value, layer));
  };
  return heavy;
}

/** The first layer each node can be in. The caller's values belong to layer 0. */
function earliestLayers(
  nodes: readonly AnyNode[],
  reads: readonly (readonly Edge[])[],
  producer: ReadonlyMap<ValueId, number>,
): number[] {
  const layers: number[] = [];
  const heavy = heaviness(nodes, reads, producer, layers);
  nodes.forEach((_, index) => {
    const lowest = reads[index]!.map((edge) => {
      const layer = layers[producer.get(edge.value) ?? -1] ?? 0;
      return layer + barrier(edge, layer, heavy);
    });
    layers.push(Math.max(0, ...lowest));
  });
  return layers;
}

interface Cut {
  readonly nodes: readonly AnyNode[];
  readonly reads: readonly (readonly Edge[])[];
  readonly readers: ReadonlyMap<ValueId, readonly Edge[]>;
  readonly producer: ReadonlyMap<ValueId, number>;
  /** Changed in place. */
  readonly layers: number[];
}

/**
 * Moves nodes that may run in one of several layers (a projected shortcut, read two layers later) to the layer where the fewest
 * bytes are spilled. As early as possible, both input and result are spilled; as late as possible, the input is spilled for
 * longer. Best is beside the other reader of the same input.
 */
function saveMemory(graph: Graph, { nodes, reads, readers, producer, layers }: Cut): void {
  const heavy = heaviness(nodes, reads, producer, layers);
  const bytes = (value: ValueId) => (producer.has(value) ? 4 * elementCount(graph.values[value]!.shape) : 0);
  const layerOf = (value: ValueId) => layers[producer.get(value) ?? -1] ?? 0;
  const spilled = (value: ValueId) => {
    const last = Math.max(layerOf(value), ...(readers.get(value) ?? []).map(({ node }) => layers[node]!));
    return bytes(value) * (last - layerOf(value));
  };
  const holds = (edge: Edge) => {
    const from = layerOf(edge.value);
    return layers[edge.node]! >= from + barrier(edge, from, heavy);
  };
  const valid = () => reads.every((edges) => edges.every(holds));
  for (let index = nodes.length - 1; index >= 0; index--) {
    const output = nodes[index]!.output;
    const uses = readers.get(output) ?? [];
    if (uses.length === 0) continue;
    const touched = new Set([output, ...reads[index]!.map(({ value }) => value)]);
    const cost = () => [...touched].reduce((sum, value) => sum + spilled(value), 0);
    const first = layers[index]!;
    const last = Math.min(...uses.map(({ node }) => layers[node]!));
    let best = { layer: first, cost: cost() };
    for (let layer = first + 1; layer <= last; layer++) {
      layers[index] = layer;
      if (cost() < best.cost && valid()) best = { layer, cost: cost() };
    }
    layers[index] = best.layer;
  }
}

function uniqueStatistics(nodes: readonly AnyNode[]): readonly StatisticsOf[] {
  const unique = new Map<string, StatisticsOf>();
  for (const node of nodes) {
    if (node.op !== "groupNorm") continue;
    const [value, { groups }] = [node.inputs[0]!, node.attrs];
    unique.set(`${value} ${groups}`, { value, groups });
  }
  return [...unique.values()];
}
