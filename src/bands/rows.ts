/**
 * @file Which rows of a picture an op's result needs: what cutting a graph into bands of rows (bands.ts) stands on.
 * A value has rows if it is an image [B, C, H, W] (a row is an H) or made of one by toTokens, [B, H W, C] (a row is W tokens).
 */
import type { AnyNode, Graph, Value, ValueId } from "../ir/graph.ts";
import type { OpName } from "../ir/ops.ts";

/** From `from` up to, not including, `to`. */
export interface RowRange {
  readonly from: number;
  readonly to: number;
}

/** How the rows of a value lie in its shape. */
export interface Rows {
  readonly count: number;
  readonly axis: number;
  /** Elements of `axis` that make one row. */
  readonly unit: number;
}

/**
 * How an op reads an input to make a range of its result's rows. "same": those rows. "kernel": those under the kernel
 * (conv2d). "nearest": those that they repeat (upsampleNearest). "after": the same rows, when the statistics of all are known
 * (groupNorm). "all": all rows. "none": an input without rows (weights, one vector an image).
 */
export type Reading = "same" | "kernel" | "nearest" | "after" | "all" | "none";

/** By op and input; null where an op can't be computed by rows. */
const READINGS: { readonly [Op in OpName]: readonly Reading[] | null } = {
  conv2d: ["kernel", "none", "none"],
  linear: ["same", "none", "none"],
  groupNorm: ["after", "none", "none"],
  layerNorm: ["same", "none", "none"],
  silu: ["same"],
  gelu: ["same"],
  quickGelu: ["same"],
  leakyRelu: ["same"],
  prelu: ["same", "none"],
  affine: null,
  geglu: ["same"],
  add: ["same", "same"],
  addChannels: ["same", "none"],
  scale: ["same"],
  attention: ["same", "all", "all"],
  embedding: null,
  reshape: null,
  toTokens: ["same"],
  toImage: ["same"],
  upsampleNearest: ["nearest"],
  concat: ["same", "same"],
  slice: null,
  groupStats: null,
  groupNormApply: ["same", "none", "none", "none"],
};

/** Rows of the caller's images and of all that is computed from them. Throws RangeError where a node can't be cut by rows. */
export function rowsOfValues(graph: Graph): ReadonlyMap<ValueId, Rows> {
  const rows = new Map<ValueId, Rows>();
  for (const id of graph.inputs.values()) {
    const { shape, dtype } = graph.values[id]!;
    if (shape.length === 4 && dtype === "f32") rows.set(id, { count: shape[2]!, axis: 2, unit: 1 });
  }
  for (const { nodes } of graph.segments)
    for (const node of nodes) rows.set(node.output, outputRows(graph, node, rows));
  return rows;
}

function outputRows(graph: Graph, node: AnyNode, rows: ReadonlyMap<ValueId, Rows>): Rows {
  const shapeOf = (id: ValueId) => graph.values[id]!.shape;
  const refuse = (why: string): never => {
    throw new RangeError(`${graph.name}: ${node.op} (value ${node.output}) can't be computed by rows: ${why}`);
  };
  const x = rows.get(node.inputs[0]!);
  if (!READINGS[node.op]) return refuse("no rule says which rows it reads");
  if (!x) return refuse("its input is no image");
  const shape = shapeOf(node.output);
  switch (node.op) {
    case "toTokens":
      return { count: x.count, axis: 1, unit: shapeOf(node.inputs[0]!)[3]! };
    case "toImage":
      if (x.count !== node.attrs.height || x.unit !== node.attrs.width) return refuse("it lays the tokens out anew");
      return { count: x.count, axis: 2, unit: 1 };
    case "conv2d": {
      const kernel = shapeOf(node.inputs[1]!)[2]!;
      if (Math.max(node.attrs.pad[0], node.attrs.pad[2]) >= kernel) return refuse("it has rows of padding only");
      return x.axis === 2 ? { ...x, count: shape[2]! } : refuse("its input is no image");
    }
    case "upsampleNearest":
    case "groupNorm":
    case "groupNormApply":
    case "addChannels":
    case "prelu":
      if (x.axis !== 2) return refuse("its input is no image");
      return { ...x, count: shape[2]! };
    case "linear":
    case "layerNorm":
    case "geglu":
      return x.axis === shape.length - 1 ? refuse("it works along the rows") : x;
    case "attention":
      return node.attrs.causal ? refuse("it is causal") : x;
    case "concat": {
      const other = rows.get(node.inputs[1]!);
      if (node.attrs.axis === x.axis || !other || other.count !== x.count) return refuse("it joins rows to rows");
      return x;
    }
    case "add": {
      const [b, axis] = [shapeOf(node.inputs[1]!), x.axis - shape.length];
      const broadcast = (b.at(axis) ?? 1) === 1 || b.length < -axis;
      return broadcast || rows.get(node.inputs[1]!)?.count === x.count ? x : refuse("it adds what has no rows to rows");
    }
    default:
      return x;
  }
}

/** How `node` reads its `index`-th input. */
export function readingOf(graph: Graph, rows: ReadonlyMap<ValueId, Rows>, node: AnyNode, index: number): Reading {
  const id = node.inputs[index]!;
  const reading = READINGS[node.op]![index]!;
  if (!rows.has(id)) return "none";
  if (node.op === "conv2d" && index === 0) {
    const plain = graph.values[node.inputs[1]!]!.shape[2] === 1 && node.attrs.stride === 1 && node.attrs.pad[0] === 0;
    return plain && node.attrs.pad[2] === 0 ? "same" : "kernel";
  }
  // A single row that is added to all rows.
  if (node.op === "add" && index === 1 && rows.get(id)!.count !== rows.get(node.output)!.count) return "all";
  return reading;
}

/** Values that some node reads whole, whatever rows it makes. */
export function wholeReads(
  graph: Graph,
  rows: ReadonlyMap<ValueId, Rows>,
  nodes: readonly AnyNode[],
): readonly ValueId[] {
  const read = nodes.flatMap((node) => node.inputs.filter((_, i) => readingOf(graph, rows, node, i) === "all"));
  return [...new Set(read)];
}

/** Rows of its input that a convolution needs for `range` of its result, and the padding of a band that has just these. */
export function kernelRows(
  graph: Graph,
  node: Extract<AnyNode, { op: "conv2d" }>,
  range: RowRange,
): { readonly range: RowRange; readonly padTop: number; readonly padBottom: number } {
  const height = graph.values[node.inputs[0]!]!.shape[2]!;
  const kernel = graph.values[node.inputs[1]!]!.shape[2]!;
  const { stride, pad } = node.attrs;
  const first = range.from * stride - pad[0];
  const end = (range.to - 1) * stride - pad[0] + kernel;
  const [from, to] = [Math.max(first, 0), Math.min(end, height)];
  return { range: { from, to }, padTop: from - first, padBottom: end - to };
}

/** The range widened to whole repeats: only such bands can be upsampled by themselves. */
export function repeatedRows(rows: Rows, input: Rows, range: RowRange): RowRange {
  if (rows.count % input.count !== 0) return { from: 0, to: rows.count };
  const factor = rows.count / input.count;
  return { from: Math.floor(range.from / factor) * factor, to: Math.ceil(range.to / factor) * factor };
}

/** Rows of `input` that a range of whole repeats shows. */
export function nearestRows(rows: Rows, input: Rows, repeated: RowRange): RowRange {
  const scale = input.count / rows.count;
  return { from: Math.round(repeated.from * scale), to: Math.round(repeated.to * scale) };
}

export function unionOf(a: RowRange | undefined, b: RowRange): RowRange {
  return a ? { from: Math.min(a.from, b.from), to: Math.max(a.to, b.to) } : b;
}

/** Shape of `range` of a value's rows. */
export function bandShape(value: Value, rows: Rows, range: RowRange): readonly number[] {
  return value.shape.map((dim, axis) => (axis === rows.axis ? (range.to - range.from) * rows.unit : dim));
}
