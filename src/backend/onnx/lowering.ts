/**
 * @file One IR segment -> one ONNX graph. Weights are graph inputs in their stored type and are cast inside, so that equal
 * blocks share a session and weights come and go. Which ONNX op serves which IR op, and at what speed: docs/decisions.
 */
import type { AnyNode, Graph, Node, Segment, ValueId } from "../../ir/graph.ts";
import type { OpName } from "../../ir/ops.ts";
import type { Attribute, OnnxConstant, OnnxGraph, OnnxNode, OnnxType, OnnxValue } from "./protobuf.ts";

/** How a weight enters the graph. bf16 has no tensor type in ONNX Runtime's JavaScript and comes as f32. */
export type WeightType = Extract<OnnxType, "f16" | "f32">;

export interface LoweredSegment {
  readonly graph: OnnxGraph;
  /** Names of the graph's inputs and outputs, in the order of the segment's lists. */
  readonly inputNames: readonly string[];
  readonly weightNames: readonly string[];
  readonly outputNames: readonly string[];
}

export function lowerSegment(graph: Graph, segment: Segment, weightTypes: readonly WeightType[]): LoweredSegment {
  const emitter = new Emitter(graph, segment, weightTypes);
  for (const node of segment.nodes) lowerNode(emitter, node);
  return emitter.finish();
}

/** Equal for segments that one session can serve: same ops, attributes, shapes and weight types, whatever their names. */
export function segmentSignature(graph: Graph, segment: Segment, weightTypes: readonly WeightType[]): string {
  const local = new Map<ValueId, number>();
  const indexOf = (id: ValueId): number => {
    const known = local.get(id);
    if (known !== undefined) return known;
    local.set(id, local.size);
    return local.size - 1;
  };
  const place = (id: ValueId) => `${indexOf(id)}:${graph.values[id]!.dtype}[${graph.values[id]!.shape}]`;
  const inputs = segment.inputs.map(place);
  const weights = segment.weights.map((id, i) => `${place(id)}${weightTypes[i]}`);
  const nodes = segment.nodes.map(
    ({ op, inputs: read, output, attrs }) => `${op}(${read.map(indexOf)})${place(output)}${JSON.stringify(attrs)}`,
  );
  return [inputs, weights, nodes, segment.outputs.map(indexOf)].map((part) => part.join(";")).join("|");
}

type Lower<Op extends OpName> = (emitter: Emitter, node: Node<Op>) => void;

function lowerNode(emitter: Emitter, node: AnyNode): void {
  // The table's row fits the node's op by construction; TypeScript can't follow a union through it.
  (LOWER[node.op] as Lower<OpName>)(emitter, node);
}

const LOWER: { readonly [Op in OpName]: Lower<Op> } = {
  conv2d(e, { inputs: [x, w, b], output, attrs: { stride, pad } }) {
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
    const shape = e.shape(x!);
    const perChannel = [shape[1]!, ...shape.slice(2).map(() => 1)];
    const grouped = e.reshape(e.value(x!), [shape[0]!, groups, -1]);
    const ones = e.constant("f32", [groups], new Array<number>(groups).fill(1));
    const zeros = e.constant("f32", [groups], new Array<number>(groups).fill(0));
    const normed = e.temporary("InstanceNormalization", [grouped, ones, zeros], { epsilon: { float: eps } });
    const scaled = e.temporary("Mul", [e.reshape(normed, shape), e.reshape(e.weight(w!), perChannel)]);
    e.emit("Add", [scaled, e.reshape(e.weight(b!), perChannel)], output);
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
};

class Emitter {
  readonly #graph: Graph;
  readonly #segment: Segment;
  readonly #weightTypes: readonly WeightType[];
  readonly #nodes: OnnxNode[] = [];
  readonly #constants: OnnxConstant[] = [];
  readonly #names = new Map<ValueId, string>();
  readonly #cast = new Map<ValueId, string>();
  #count = 0;

  constructor(graph: Graph, segment: Segment, weightTypes: readonly WeightType[]) {
    this.#graph = graph;
    this.#segment = segment;
    this.#weightTypes = weightTypes;
    for (const [i, id] of segment.inputs.entries()) this.#names.set(id, `x${i}`);
    for (const [i, id] of segment.weights.entries()) this.#names.set(id, `w${i}`);
    for (const [i, id] of segment.outputs.entries()) this.#names.set(id, `y${i}`);
  }

  shape(id: ValueId): readonly number[] {
    return this.#graph.values[id]!.shape;
  }

  /** A value in fp32 (or i32). */
  value(id: ValueId): string {
    return this.#segment.weights.includes(id) ? this.weight(id) : this.stored(id);
  }

  /** A weight, cast to fp32 once. */
  weight(id: ValueId): string {
    const index = this.#segment.weights.indexOf(id);
    if (index < 0 || this.#weightTypes[index] === "f32") return this.stored(id);
    const known = this.#cast.get(id);
    if (known) return known;
    const name = this.temporary("Cast", [this.stored(id)], { to: 1 });
    this.#cast.set(id, name);
    return name;
  }

  /** A value as it comes. */
  stored(id: ValueId): string {
    const known = this.#names.get(id);
    if (known) return known;
    const name = this.name();
    this.#names.set(id, name);
    return name;
  }

  name(): string {
    return `t${this.#count++}`;
  }

  constant(type: OnnxConstant["type"], shape: readonly number[], values: readonly number[]): string {
    const name = `c${this.#count++}`;
    this.#constants.push({ name, type, shape, values });
    return name;
  }

  node(node: OnnxNode): void {
    this.#nodes.push(node);
  }

  emit(
    op: string,
    inputs: readonly string[],
    output: ValueId,
    attributes?: Readonly<Record<string, Attribute>>,
    domain?: "com.microsoft",
  ): void {
    const outputs = [this.stored(output)];
    this.node({ op, inputs, outputs, ...(attributes ? { attributes } : {}), ...(domain ? { domain } : {}) });
  }

  temporary(op: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>): string {
    const name = this.name();
    this.node({ op, inputs, outputs: [name], ...(attributes ? { attributes } : {}) });
    return name;
  }

  reshape(input: string, shape: readonly number[]): string {
    return this.temporary("Reshape", [input, this.constant("i64", [shape.length], shape)]);
  }

  reshapeTo(input: string, shape: readonly number[], output: ValueId): void {
    this.emit("Reshape", [input, this.constant("i64", [shape.length], shape)], output);
  }

  finish(): LoweredSegment {
    const { inputs, weights, outputs } = this.#segment;
    const value = (id: ValueId, type: OnnxType): OnnxValue => ({ name: this.stored(id), type, shape: this.shape(id) });
    const graph: OnnxGraph = {
      nodes: this.#nodes,
      constants: this.#constants,
      inputs: [
        ...inputs.map((id) => value(id, this.#graph.values[id]!.dtype)),
        ...weights.map((id, i) => value(id, this.#weightTypes[i]!)),
      ],
      outputs: outputs.map((id) => value(id, "f32")),
    };
    const names = (ids: readonly ValueId[]) => ids.map((id) => this.stored(id));
    return { graph, inputNames: names(inputs), weightNames: names(weights), outputNames: names(outputs) };
  }
}
