/** @file Builds a Graph node by node; model texts call it, and nothing else makes IR. */
import type { AnyNode, Graph, Segment, Value, ValueDType, ValueId } from "./graph.ts";
import { INFER_SHAPE, type OpAttrs, type OpName } from "./ops.ts";

/** A value under construction: its id and shape are all a model text needs. */
export type Tensor = Value;

export class GraphBuilder {
  readonly #name: string;
  readonly #fp32: boolean;
  readonly #values: Value[] = [];
  readonly #weights = new Map<string, Value>();
  readonly #inputs = new Map<string, ValueId>();
  readonly #outputs = new Map<string, ValueId>();
  readonly #drafts: { name: string; nodes: AnyNode[] }[] = [];

  /** `fp32`: see Graph. */
  constructor(name: string, { fp32 = false }: { readonly fp32?: boolean } = {}) {
    this.#name = name;
    this.#fp32 = fp32;
  }

  input(name: string, shape: readonly number[], dtype: ValueDType = "f32"): Tensor {
    const value = this.#add("input", name, shape, dtype);
    this.#inputs.set(name, value.id);
    return value;
  }

  /** Declares a parameter; the same name gives the same value. */
  weight(name: string, shape: readonly number[]): Tensor {
    const known = this.#weights.get(name);
    if (known) return known;
    const value = this.#add("weight", name, shape, "f32");
    this.#weights.set(name, value);
    return value;
  }

  output(name: string, value: Tensor): void {
    this.#outputs.set(name, value.id);
  }

  /** Nodes that `body` adds form one segment. Segments don't nest. */
  segment<T>(name: string, body: () => T): T {
    this.#drafts.push({ name, nodes: [] });
    return body();
  }

  node<Op extends OpName>(op: Op, inputs: readonly Tensor[], attrs: OpAttrs[Op], label = op as string): Tensor {
    const draft = this.#drafts.at(-1);
    if (!draft) throw new Error("a node outside of a segment");
    const shape = INFER_SHAPE[op](
      inputs.map((input) => input.shape),
      attrs,
    );
    const value = this.#add("node", label, shape, "f32");
    // The union of Node<Op> over all ops can't be proven per call; inputs and attrs were checked by the signature.
    draft.nodes.push({ op, inputs: inputs.map((input) => input.id), output: value.id, attrs } as AnyNode);
    return value;
  }

  /** All parameters declared so far: name -> shape. */
  weightShapes(): ReadonlyMap<string, readonly number[]> {
    return new Map([...this.#weights].map(([name, value]) => [name, value.shape]));
  }

  build(): Graph {
    const drafts = this.#drafts.filter((draft) => draft.nodes.length > 0);
    const lastUse = new Map<ValueId, number>();
    drafts.forEach((draft, index) => {
      for (const node of draft.nodes) for (const id of node.inputs) lastUse.set(id, index);
    });
    for (const id of this.#outputs.values()) lastUse.set(id, drafts.length);
    const segments = drafts.map((draft, index): Segment => {
      const own = new Set(draft.nodes.map((node) => node.output));
      const read = new Set(draft.nodes.flatMap((node) => node.inputs).filter((id) => !own.has(id)));
      const isWeight = (id: ValueId) => this.#values[id]!.kind === "weight";
      return {
        name: draft.name,
        nodes: draft.nodes,
        inputs: [...read].filter((id) => !isWeight(id)),
        weights: [...read].filter(isWeight),
        outputs: [...own].filter((id) => (lastUse.get(id) ?? -1) > index),
      };
    });
    return {
      name: this.#name,
      fp32: this.#fp32,
      values: this.#values,
      segments,
      inputs: this.#inputs,
      outputs: this.#outputs,
    };
  }

  #add(kind: Value["kind"], name: string, shape: readonly number[], dtype: ValueDType): Value {
    const value: Value = { id: this.#values.length, kind, name, shape: [...shape], dtype };
    this.#values.push(value);
    return value;
  }
}
