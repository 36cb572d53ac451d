/** @file A graph under construction that has been told of adapters: which layers they change, and how strong they are, which is an input. */
import { type AdaptedLayer, CONSTANT, type StrengthPart } from "../adapters/adapted-layer.ts";
import type { TensorTable } from "../container/table.ts";
import { GraphBuilder, type Tensor } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";

/** What layers, by name, have beside their own weights, and the tensors for it. */
export interface LayerAdapters {
  readonly layers: ReadonlyMap<string, AdaptedLayer>;
  readonly table: TensorTable;
}

export interface LayerBuilderOptions {
  /** See Graph. */
  readonly fp32?: boolean | undefined;
  readonly adapters?: LayerAdapters | undefined;
  /** Names of weights that stand in others' places. */
  readonly replaced?: ReadonlyMap<string, string> | undefined;
}

export class LayerBuilder extends GraphBuilder {
  readonly #adapters: LayerAdapters | undefined;
  readonly #replaced: ReadonlyMap<string, string> | undefined;
  readonly #strengths = new Map<string, Tensor>();

  constructor(name: string, { fp32, adapters, replaced }: LayerBuilderOptions = {}) {
    super(name, { fp32: fp32 ?? false });
    this.#adapters = adapters;
    this.#replaced = replaced;
  }

  override weight(name: string, shape: readonly number[]): Tensor {
    return super.weight(this.#replaced?.get(name) ?? name, shape);
  }

  /** What adapters add to a layer. */
  adapted(layer: string): AdaptedLayer | undefined {
    return this.#adapters?.layers.get(layer);
  }

  /** A tensor of the adapters, by its name. */
  adapterWeight(name: string): Tensor {
    return this.weight(name, this.adapterShape(name));
  }

  adapterShape(name: string): readonly number[] {
    return this.#adapters!.table.get(name)!.shape;
  }

  /** An input [sum of counts] with the adapters' strengths: `withStrengths` feeds it. */
  strengths(parts: readonly StrengthPart[]): Tensor {
    const name = `${STRENGTHS}${JSON.stringify(parts.map(({ adapter, scale, count }) => [adapter, scale, count]))}`;
    const known = this.#strengths.get(name);
    if (known) return known;
    const length = parts.reduce((sum, { count }) => sum + count, 0);
    const input = this.input(name, [length]);
    this.#strengths.set(name, input);
    return input;
  }

  /** A number [1], whatever the strengths are. */
  constant(value: number): Tensor {
    return this.strengths([{ adapter: CONSTANT, scale: value, count: 1 }]);
  }

  /** x times an adapter's strength, times `scale`. */
  times(x: Tensor, adapter: number, scale = 1): Tensor {
    return this.node("affine", [x, this.strengths([{ adapter, scale, count: 1 }])], {}, x.name);
  }
}

/** What such inputs' names begin with; a list of [adapter, scale, count] follows. */
const STRENGTHS = "strengths:";

type Parts = readonly (readonly [adapter: number, scale: number, count: number])[];

/** Whether an input of that name is one that `withStrengths` feeds. */
export function isStrengths(name: string): boolean {
  return name.startsWith(STRENGTHS);
}

function partsOf(name: string): Parts | undefined {
  return isStrengths(name) ? JSON.parse(name.slice(STRENGTHS.length)) : undefined;
}

/** Whether a graph asks for the adapters' strengths, which may change from step to step. */
export function readsStrengths({ inputs }: Graph): boolean {
  return [...inputs.keys()].some((name) => partsOf(name)?.some(([adapter]) => adapter !== CONSTANT));
}

/** A graph's inputs with those that adapters add to it. `strengths`: of each adapter. */
export function withStrengths<Data>(
  { inputs: names }: Graph,
  inputs: ReadonlyMap<string, Data>,
  strengths: readonly number[],
): ReadonlyMap<string, Data | Float32Array> {
  const added = [...names.keys()].flatMap((name) => {
    const parts = partsOf(name);
    if (!parts) return [];
    const values = parts.flatMap(([adapter, scale, count]) =>
      new Array<number>(count).fill((adapter === CONSTANT ? 1 : (strengths[adapter] ?? 0)) * scale),
    );
    return [[name, Float32Array.from(values)] as const];
  });
  return added.length === 0 ? inputs : new Map<string, Data | Float32Array>([...inputs, ...added]);
}
