/** @file A graph of ComfyUI as its pictures hold it (the "prompt" in the format of its API): nodes, and links from inputs to outputs. Untrusted. */
import { isObject, jsonObject } from "./solvay-record.ts";

/** An input is a value, or a link to an output of another node. */
export interface ComfyNode {
  readonly id: string;
  readonly kind: string;
  readonly inputs: Readonly<Record<string, unknown>>;
}

export interface ComfyLink {
  readonly node: ComfyNode;
  /** Which of that node's outputs. */
  readonly slot: number;
}

/** Far above any workflow that people share. */
const MAX_NODES = 5000;
/** From a value to where it was typed. */
const MAX_HOPS = 20;
/** Inputs of small nodes that hold one value, in the order in which they are looked at. */
const VALUE_INPUTS = [
  "value",
  "seed",
  "noise_seed",
  "text",
  "string",
  "int",
  "float",
  "number",
  "Value",
  "INT",
  "positive",
];

export class ComfyGraph {
  readonly nodes: readonly ComfyNode[];
  readonly #byId: ReadonlyMap<string, ComfyNode>;

  private constructor(nodes: readonly ComfyNode[]) {
    this.nodes = nodes;
    this.#byId = new Map(nodes.map((node) => [node.id, node]));
  }

  /** The graph in a JSON text, alone or as its "prompt"; undefined of other texts. */
  static parse(text: string): ComfyGraph | undefined {
    const object = jsonObject(text);
    const inner = isObject(object?.prompt) ? object.prompt : object;
    if (!inner) return undefined;
    const nodes = Object.entries(inner)
      .slice(0, MAX_NODES)
      .flatMap(([id, node]) => {
        if (!isObject(node) || typeof node.class_type !== "string" || !isObject(node.inputs)) return [];
        return [{ id, kind: node.class_type, inputs: node.inputs }];
      });
    return nodes.length === 0 ? undefined : new ComfyGraph(nodes);
  }

  /** Where an input comes from; undefined where it is a value, or leads nowhere. */
  link(node: ComfyNode, input: string): ComfyLink | undefined {
    return this.#linkOf(own(node.inputs, input));
  }

  #linkOf(value: unknown): ComfyLink | undefined {
    if (!Array.isArray(value) || value.length !== 2 || typeof value[1] !== "number") return undefined;
    const node = this.#byId.get(String(value[0]));
    return node && { node, slot: value[1] };
  }

  /** The value of an input, through nodes that only hold one. */
  value(node: ComfyNode, input: string): unknown {
    let value = own(node.inputs, input);
    for (let hop = 0; hop < MAX_HOPS; hop++) {
      const link = this.#linkOf(value);
      if (!link) return Array.isArray(value) ? undefined : value;
      const { inputs } = link.node;
      const name = [input, ...VALUE_INPUTS].find((each) => own(inputs, each) !== undefined);
      if (name === undefined) return undefined;
      value = own(inputs, name);
    }
    return undefined;
  }

  /**
   * The first node that `wanted` takes, against the links from `start` on: breadth first, each node once, along the inputs that
   * `follow` takes. With the nodes on the way there.
   */
  upstream(
    start: ComfyLink | undefined,
    wanted: (node: ComfyNode) => boolean,
    follow: (input: string, at: ComfyLink) => boolean = () => true,
  ): { readonly found: ComfyNode; readonly way: readonly ComfyNode[] } | undefined {
    const before = new Map<ComfyNode, ComfyNode | undefined>();
    const waiting = start ? [start] : [];
    if (start) before.set(start.node, undefined);
    for (let at = waiting.shift(); at; at = waiting.shift()) {
      const { node } = at;
      if (wanted(node)) {
        const way: ComfyNode[] = [];
        for (let step = before.get(node); step; step = before.get(step)) way.push(step);
        return { found: node, way };
      }
      for (const [input, value] of Object.entries(node.inputs)) {
        const next = this.#linkOf(value);
        if (!next || before.has(next.node) || !follow(input, at)) continue;
        before.set(next.node, node);
        waiting.push(next);
      }
    }
    return undefined;
  }
}

function own(inputs: ComfyNode["inputs"], name: string): unknown {
  return Object.hasOwn(inputs, name) ? inputs[name] : undefined;
}
