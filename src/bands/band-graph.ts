/** @file The graph of one band: a layer's nodes at the shapes that a range of rows needs. */

import { GraphBuilder, type Tensor } from "../ir/builder.ts";
import type { AnyNode, Graph, ValueId } from "../ir/graph.ts";
import type { OpAttrs, OpName } from "../ir/ops.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { LayerNodes, StatisticsOf } from "./band-layers.ts";
import {
  bandShape,
  kernelRows,
  nearestRows,
  type RowRange,
  type Rows,
  readingOf,
  repeatedRows,
  unionOf,
} from "./rows.ts";

export interface BandSource {
  readonly graph: Graph;
  readonly rows: ReadonlyMap<ValueId, Rows>;
  readonly layer: LayerNodes;
  /** Of the segment; its weights are the same for all bands of a layer. */
  readonly name: string;
}

/** What a band reads and makes, in rows of the whole values. */
export interface BandRanges {
  /** Of each value the layer reads, the rows that its input must hold. */
  readonly reads: ReadonlyMap<ValueId, RowRange>;
  /** Of each value the layer keeps (and each image of the caller whose statistics it makes), this band's rows. */
  readonly keeps: ReadonlyMap<ValueId, RowRange>;
  /** Rows that are computed of each result of a node. */
  readonly computed: ReadonlyMap<ValueId, RowRange>;
}

/** Works back from the rows to keep to the rows to read. */
export function bandRanges({ graph, rows, layer }: BandSource, keeps: ReadonlyMap<ValueId, RowRange>): BandRanges {
  const needed = new Map<ValueId, RowRange>(keeps);
  const computed = new Map<ValueId, RowRange>();
  for (const node of layer.nodes.toReversed()) {
    // A kept value may be needed beyond the band, by a kernel of the same layer.
    const range = computedRows(node, rows, needed.get(node.output)!);
    computed.set(node.output, range);
    node.inputs.forEach((id, i) => {
      const read = readRows(graph, rows, node, i, range);
      if (read) needed.set(id, unionOf(needed.get(id), read));
    });
  }
  const fed = layer.statistics.map(({ value }) => value).filter((value) => graph.values[value]!.kind === "input");
  const reads = [...new Set([...layer.reads, ...fed])];
  return { keeps, computed, reads: new Map(reads.map((id) => [id, needed.get(id)!])) };
}

function computedRows(node: AnyNode, rows: ReadonlyMap<ValueId, Rows>, needed: RowRange): RowRange {
  if (node.op !== "upsampleNearest") return needed;
  return repeatedRows(rows.get(node.output)!, rows.get(node.inputs[0]!)!, needed);
}

function readRows(
  graph: Graph,
  rows: ReadonlyMap<ValueId, Rows>,
  node: AnyNode,
  index: number,
  range: RowRange,
): RowRange | undefined {
  const id = node.inputs[index]!;
  switch (readingOf(graph, rows, node, index)) {
    case "none":
      return undefined;
    case "all":
      return { from: 0, to: rows.get(id)!.count };
    case "nearest":
      return nearestRows(rows.get(node.output)!, rows.get(id)!, range);
    case "kernel":
      // Only conv2d reads so.
      return kernelRows(graph, node as Extract<AnyNode, { op: "conv2d" }>, range).range;
    default:
      return range;
  }
}

/** Name of a value's band, or of a value without rows, among a band graph's inputs and outputs. */
export function valueName(value: ValueId): string {
  return `value ${value}`;
}

/** Name of statistics among a band graph's inputs (of all rows) and outputs (of the band's). */
export function statisticsName({ value, groups }: StatisticsOf): string {
  return `statistics ${value} ${groups}`;
}

/** The layer's nodes for one band, one segment. Inputs and outputs are named by `valueName` and `statisticsName`. */
export function bandGraph({ graph, rows, layer, name }: BandSource, ranges: BandRanges): Graph {
  const g = new GraphBuilder(graph.name, { fp32: graph.fp32 });
  /** Values of this band and the rows they hold. */
  const tensors = new Map<ValueId, Tensor>();
  const slices = new Map<string, Tensor>();
  const heldRows = (id: ValueId) => ranges.computed.get(id) ?? ranges.reads.get(id)!;

  for (const [id, range] of ranges.reads) {
    tensors.set(id, g.input(valueName(id), bandShape(graph.values[id]!, rows.get(id)!, range)));
  }
  /** A value without rows. */
  const plain = (id: ValueId): Tensor => {
    const value = graph.values[id]!;
    if (value.kind === "weight") return g.weight(value.name, value.shape);
    const tensor = tensors.get(id) ?? g.input(valueName(id), value.shape, value.dtype);
    tensors.set(id, tensor);
    return tensor;
  };
  const statistics = (of: StatisticsOf): Tensor => {
    const known = slices.get(statisticsName(of));
    if (known) return known;
    const tensor = g.input(statisticsName(of), [graph.values[of.value]!.shape[0]!, of.groups, 2]);
    slices.set(statisticsName(of), tensor);
    return tensor;
  };
  /** Just these rows of a value, cut out where more are there. */
  const part = (id: ValueId, range: RowRange): Tensor => {
    const held = heldRows(id);
    const tensor = tensors.get(id)!;
    if (held.from === range.from && held.to === range.to) return tensor;
    const key = `${id} ${range.from} ${range.to}`;
    const { axis, unit } = rows.get(id)!;
    const [from, to] = [(range.from - held.from) * unit, (range.to - held.from) * unit];
    const cut = slices.get(key) ?? g.node("slice", [tensor], { axis, from, to });
    slices.set(key, cut);
    return cut;
  };

  g.segment(name, () => {
    for (const node of layer.nodes) {
      const range = ranges.computed.get(node.output)!;
      const inputs = node.inputs.map((id, i) => {
        const read = readRows(graph, rows, node, i, range);
        return read ? part(id, read) : plain(id);
      });
      const label = graph.values[node.output]!.name;
      tensors.set(node.output, bandNode(node, inputs, label));
    }
    for (const id of layer.keeps) g.output(valueName(id), part(id, ranges.keeps.get(id)!));
    for (const of of layer.statistics) {
      const own = part(of.value, ranges.keeps.get(of.value)!);
      g.output(statisticsName(of), g.node("groupStats", [own], { groups: of.groups }));
    }
  });
  return g.build();

  function bandNode(node: AnyNode, inputs: readonly Tensor[], label: string): Tensor {
    const range = ranges.computed.get(node.output)!;
    const height = range.to - range.from;
    switch (node.op) {
      case "conv2d": {
        const [, left, , right] = node.attrs.pad;
        const { padTop, padBottom } = kernelRows(graph, node, range);
        return g.node("conv2d", inputs, { ...node.attrs, pad: [padTop, left, padBottom, right] }, label);
      }
      case "groupNorm": {
        const [x, w, b] = inputs as [Tensor, Tensor, Tensor];
        const all = statistics({ value: node.inputs[0]!, groups: node.attrs.groups });
        return g.node("groupNormApply", [x, all, w, b], node.attrs, label);
      }
      case "toImage":
      case "upsampleNearest":
        return g.node(node.op, inputs, { ...node.attrs, height }, label);
      default:
        // Op and attributes come from one node; a union can't say so.
        return g.node(node.op as OpName, inputs, node.attrs as OpAttrs[OpName], label);
    }
  }
}

/**
 * Most bytes that a band's values take at once: what it reads and makes all the while, what lies between from its making to
 * its last use. Weights, and what a backend needs within an op, come on top.
 */
export function bandPeakBytes(graph: Graph): number {
  const segment = graph.segments[0]!;
  const bytes = (id: ValueId) => 4 * elementCount(graph.values[id]!.shape);
  const held = new Set([...segment.inputs, ...segment.outputs]);
  let live = [...held].reduce((sum, id) => sum + bytes(id), 0);
  let peak = live;
  const lastUse = new Map<ValueId, number>();
  segment.nodes.forEach((node, index) => {
    for (const id of node.inputs) lastUse.set(id, index);
  });
  segment.nodes.forEach((node, index) => {
    if (!held.has(node.output)) live += bytes(node.output);
    peak = Math.max(peak, live);
    for (const id of new Set(node.inputs)) {
      const inner = graph.values[id]!.kind === "node" && !held.has(id);
      if (inner && lastUse.get(id) === index) live -= bytes(id);
    }
  });
  return peak;
}
