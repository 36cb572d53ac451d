/** @file The layers of a model as adapters' files may call them: every module under each of its names, with dots and with underscores. */
import type { Schema } from "../checkpoint/schema.ts";
import { namesOfRoot } from "./key-table.ts";

/** One of the model's networks, as far as adapters may change it. */
export interface ModelPart {
  /** The component's id. */
  readonly component: string;
  /** What the files call it: "unet", "text_encoder", "text_encoder_2". */
  readonly folder: string;
  /** Parameters that an adapter may change, by diffusers' names. */
  readonly schema: Schema;
  /** Other name of a module -> diffusers' name. */
  readonly otherNames: ReadonlyMap<string, string>;
}

/** A module that has a weight. */
export interface ModelLayer {
  readonly component: string;
  readonly folder: string;
  /** diffusers' name, without ".weight". */
  readonly module: string;
  /** Of the weight. */
  readonly shape: readonly number[];
  readonly hasBias: boolean;
}

/** A layer that a name in a file was found to mean. */
export interface FoundLayer {
  readonly layer: ModelLayer;
  /** By a name of another layout than diffusers'. */
  readonly byOtherName: boolean;
}

/** Names are looked up, never taken apart: an underscore may be a dot or itself. */
export class LayerNames {
  readonly #dotted = new Map<string, Map<string, FoundLayer>>();
  readonly #flat = new Map<string, Map<string, FoundLayer>>();
  readonly #parts: readonly ModelPart[];

  constructor(parts: readonly ModelPart[]) {
    this.#parts = parts;
    for (const part of parts) this.#add(part);
  }

  /** `name`: a module's, without what stands for the network. `isFlat`: with underscores in place of dots. */
  find(folder: string, name: string, isFlat: boolean): FoundLayer | undefined {
    return (isFlat ? this.#flat : this.#dotted).get(folder)?.get(name);
  }

  /** How wide a text the model's cross-attention reads; undefined without any. */
  get contextWidth(): number | undefined {
    for (const { schema } of this.#parts) {
      for (const [name, shape] of schema) if (name.endsWith(".attn2.to_k.weight")) return shape[1];
    }
    return undefined;
  }

  #add({ component, folder, schema, otherNames }: ModelPart): void {
    const dotted = new Map<string, FoundLayer>();
    for (const [name, shape] of schema) {
      if (!name.endsWith(".weight")) continue;
      const module = name.slice(0, -".weight".length);
      const layer = { component, folder, module, shape, hasBias: schema.has(`${module}.bias`) };
      dotted.set(module, { layer, byOtherName: false });
    }
    for (const [other, module] of otherNames) {
      const found = dotted.get(module);
      if (found && !dotted.has(other)) dotted.set(other, { layer: found.layer, byOtherName: true });
    }
    this.#dotted.set(folder, dotted);
    this.#flat.set(folder, new Map([...dotted].map(([name, found]) => [name.replaceAll(".", "_"), found])));
  }
}

/** The layer that a file's name for it means; undefined where the model has none such. */
export function findRoot(names: LayerNames, root: string): FoundLayer | undefined {
  for (const { folder, name, isFlat } of namesOfRoot(root)) {
    const found = names.find(folder, name, isFlat);
    if (found) return found;
  }
  return undefined;
}
