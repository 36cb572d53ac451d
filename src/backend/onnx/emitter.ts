/** @file Builds the ONNX graph of one segment: names for values, casts of weights, reshapes, constants. */
import type { Graph, Segment, ValueId } from "../../ir/graph.ts";
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

export class Emitter {
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
    this.node({ op, inputs, outputs, attributes, domain });
  }

  temporary(op: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>): string {
    const name = this.name();
    this.node({ op, inputs, outputs: [name], attributes });
    return name;
  }

  reshape(input: string, shape: readonly number[]): string {
    return this.temporary("Reshape", [input, this.constant("i64", [shape.length], shape)]);
  }

  reshapeTo(input: string, shape: readonly number[], output: ValueId): void {
    this.emit("Reshape", [input, this.constant("i64", [shape.length], shape)], output);
  }

  /** Elements [from, to) of one axis. */
  slice(input: string, axis: number, from: number, to: number): string {
    const list = (value: number) => this.constant("i64", [1], [value]);
    return this.temporary("Slice", [input, list(from), list(to), list(axis)]);
  }

  expand(input: string, shape: readonly number[]): string {
    return this.temporary("Expand", [input, this.constant("i64", [shape.length], shape)]);
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
    return {
      graph,
      inputNames: names(inputs),
      weightNames: names(weights),
      outputNames: names(outputs),
    };
  }
}
