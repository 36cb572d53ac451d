/**
 * @file One IR segment -> one ONNX graph. Weights are graph inputs in their stored type and are cast inside, so that equal
 * blocks share a session and weights come and go. Which ONNX op serves which IR op, and at what speed: docs/decisions.
 */
import type { AnyNode, Graph, Node, Segment, ValueId } from "../../ir/graph.ts";
import type { OpName } from "../../ir/ops.ts";
import { elementCount } from "../../tensor/dtype.ts";
import { Emitter, type LoweredSegment, type WeightType } from "./emitter.ts";
import { lowerWinograd, winogradPays } from "./winograd.ts";

export function lowerSegment(graph: Graph, segment: Segment, weightTypes: readonly WeightType[]): LoweredSegment {
  const emitter = new Emitter(graph, segment, weightTypes);
  for (const node of segment.nodes) lowerNode(emitter, node);
  return emitter.finish();
}

type Lower<Op extends OpName> = (emitter: Emitter, node: Node<Op>) => void;

function lowerNode(emitter: Emitter, node: AnyNode): void {
  // The table's row fits the node's op by construction; TypeScript can't follow a union through it.
  (LOWER[node.op] as Lower<OpName>)(emitter, node);
}

const LOWER: { readonly [Op in OpName]: Lower<Op> } = {
  conv2d(e, { inputs: [x, w, b], output, attrs: { stride, pad } }) {
    const shape = { x: e.shape(x!), w: e.shape(w!), stride, pad };
    if (winogradPays(shape)) {
      lowerWinograd(
        e,
        shape,
        { x: e.value(x!), w: e.weight(w!), b: b === undefined ? undefined : e.weight(b) },
        output,
      );
      return;
    }
    const attributes = { kernel_shape: e.shape(w!).slice(2), strides: [stride, stride], pads: pad };
    e.emit("Conv", [e.value(x!), e.weight(w!), ...(b === undefined ? [] : [e.weight(b)])], output, attributes);
  },
  linear(e, { inputs: [x, w, b], output }) {
    const shape = e.shape(x!);
    const columns = shape.at(-1)!;
    const rows = shape.slice(0, -1).reduce((product, dim) => product * dim, 1);
    const flat = shape.length === 2 ? e.value(x!) : e.reshape(e.value(x!), [rows, columns]);
    const inputs = [flat, e.weight(w!), ...(b === undefined ? [] : [e.weight(b)])];
    const product = e.temporary("Gemm", inputs, { transB: 1 });
    e.reshapeTo(product, e.shape(output), output);
  },
  groupNorm(e, { inputs: [x, w, b], output, attrs: { groups, eps } }) {
    // Not InstanceNormalization: its fp32 sums over whole groups cost 5e-5 of a 512x512 picture, and more time.
    lowerGroupNorm(e, { x: x!, w: w!, b: b!, output, groups, eps }, lowerGroupStatistics(e, x!, groups));
  },
  layerNorm(e, { inputs: [x, w, b], output, attrs: { eps } }) {
    e.emit("LayerNormalization", [e.value(x!), e.weight(w!), e.weight(b!)], output, {
      axis: -1,
      epsilon: { float: eps },
    });
  },
  silu(e, { inputs: [x], output }) {
    e.emit("QuickGelu", [e.value(x!)], output, { alpha: { float: 1 } }, "com.microsoft");
  },
  gelu(e, { inputs: [x], output }) {
    e.emit("Gelu", [e.value(x!)], output);
  },
  quickGelu(e, { inputs: [x], output }) {
    e.emit("QuickGelu", [e.value(x!)], output, { alpha: { float: 1.702 } }, "com.microsoft");
  },
  leakyRelu(e, { inputs: [x], output, attrs: { slope } }) {
    e.emit("LeakyRelu", [e.value(x!)], output, { alpha: { float: slope } });
  },
  prelu(e, { inputs: [x, w], output }) {
    e.emit("PRelu", [e.value(x!), e.reshape(e.weight(w!), [...e.shape(w!), 1, 1])], output);
  },
  affine(e, { inputs: [x, w, b], output }) {
    const perChannel = (id: ValueId) =>
      e.shape(x!).length === 4 ? e.reshape(e.value(id), [...e.shape(id), 1, 1]) : e.value(id);
    const scaled = [e.value(x!), perChannel(w!)];
    if (b === undefined) e.emit("Mul", scaled, output);
    else e.emit("Add", [e.temporary("Mul", scaled), perChannel(b)], output);
  },
  geglu(e, { inputs: [x], output }) {
    const [left, right] = [e.name(), e.name()];
    e.node({ op: "Split", inputs: [e.value(x!)], outputs: [left, right], attributes: { axis: -1, num_outputs: 2 } });
    e.emit("Mul", [left, e.temporary("Gelu", [right])], output);
  },
  add(e, { inputs: [a, b], output }) {
    e.emit("Add", [e.value(a!), e.value(b!)], output);
  },
  addChannels(e, { inputs: [x, t], output }) {
    e.emit("Add", [e.value(x!), e.reshape(e.value(t!), [...e.shape(t!), 1, 1])], output);
  },
  scale(e, { inputs: [x], output, attrs: { factor } }) {
    e.emit("Mul", [e.value(x!), e.constant("f32", [], [factor])], output);
  },
  attention(e, { inputs: [q, k, v], output, attrs: { heads, causal } }) {
    const attributes = { num_heads: heads, unidirectional: causal ? 1 : 0 };
    e.emit("MultiHeadAttention", [e.value(q!), e.value(k!), e.value(v!)], output, attributes, "com.microsoft");
  },
  embedding(e, { inputs: [table, ids], output }) {
    // Only the rows that are read get cast.
    const rows = e.temporary("Gather", [e.stored(table!), e.value(ids!)], { axis: 0 });
    e.emit("Cast", [rows], output, { to: 1 });
  },
  reshape(e, { inputs: [x], output, attrs: { shape } }) {
    e.reshapeTo(e.value(x!), shape, output);
  },
  toTokens(e, { inputs: [x], output }) {
    const [batch, channels] = e.shape(x!);
    e.emit("Transpose", [e.reshape(e.value(x!), [batch!, channels!, -1])], output, { perm: [0, 2, 1] });
  },
  toImage(e, { inputs: [x], output }) {
    const transposed = e.temporary("Transpose", [e.value(x!)], { perm: [0, 2, 1] });
    e.reshapeTo(transposed, e.shape(output), output);
  },
  upsampleNearest(e, { inputs: [x], output }) {
    const sizes = e.constant("i64", [4], e.shape(output));
    const attributes = { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" };
    e.emit("Resize", [e.value(x!), "", "", sizes], output, attributes);
  },
  concat(e, { inputs: [a, b], output, attrs: { axis } }) {
    e.emit("Concat", [e.value(a!), e.value(b!)], output, { axis });
  },
  slice(e, { inputs: [x], output, attrs: { axis, from, to } }) {
    const list = (value: number) => e.constant("i64", [1], [value]);
    e.emit("Slice", [e.value(x!), list(from), list(to), list(axis)], output);
  },
  groupStats(e, { inputs: [x], output, attrs: { groups } }) {
    const { mean, variance } = lowerGroupStatistics(e, x!, groups);
    e.emit("Concat", [mean, variance], output, { axis: 2 });
  },
  groupNormApply(e, { inputs: [x, statistics, w, b], output, attrs: { groups, eps } }) {
    const both = e.value(statistics!);
    const [mean, variance] = [e.slice(both, 2, 0, 1), e.slice(both, 2, 1, 2)];
    lowerGroupNorm(e, { x: x!, w: w!, b: b!, output, groups, eps }, { mean, variance });
  },
};

/** Names of [B, groups, 1] values. */
interface GroupStatistics {
  readonly mean: string;
  readonly variance: string;
}

/** Sums over one line first and over the lines then: fp32 sums of millions would lose digits. */
function lowerGroupStatistics(e: Emitter, x: ValueId, groups: number): GroupStatistics {
  const shape = e.shape(x);
  const line = shape.at(-1)!;
  const lines = elementCount(shape.slice(0, -1)) / (shape[0]! * groups);
  const [axis2, axis3] = [e.constant("i64", [1], [2]), e.constant("i64", [1], [3])];
  const grouped = e.reshape(e.value(x), [shape[0]!, groups, lines, line]);
  const overLines = (values: string) => e.temporary("ReduceMean", [values, axis2], { keepdims: 1 });
  const mean = overLines(e.temporary("ReduceMean", [grouped, axis3], { keepdims: 0 }));
  const centred = e.temporary("Sub", [grouped, e.reshape(mean, [shape[0]!, groups, 1, 1])]);
  const squares = overLines(e.temporary("ReduceSumSquare", [centred, axis3], { keepdims: 0 }));
  return { mean, variance: e.temporary("Mul", [squares, e.constant("f32", [], [1 / line])]) };
}

interface GroupNormPlaces {
  readonly x: ValueId;
  readonly w: ValueId;
  readonly b: ValueId;
  readonly output: ValueId;
  readonly groups: number;
  readonly eps: number;
}

/** One product and one sum an element; all else is as small as the statistics. */
function lowerGroupNorm(e: Emitter, places: GroupNormPlaces, { mean, variance }: GroupStatistics): void {
  const { x, w, b, output, groups, eps } = places;
  const shape = e.shape(x);
  const perGroup = [1, groups, shape[1]! / groups];
  const deviation = e.temporary("Sqrt", [e.temporary("Add", [variance, e.constant("f32", [], [eps])])]);
  const factor = e.temporary("Div", [e.reshape(e.weight(w), perGroup), deviation]); // [B, groups, C / groups]
  const shift = e.temporary("Sub", [e.reshape(e.weight(b), perGroup), e.temporary("Mul", [mean, factor])]);
  const perPlane = [shape[0]!, shape[1]!, ...shape.slice(2).map(() => 1)];
  const scaled = e.temporary("Mul", [e.value(x), e.reshape(factor, perPlane)]);
  e.emit("Add", [scaled, e.reshape(shift, perPlane)], output);
}
