/**
 * @file Control-LoRAs (Stability's control-lora, ComfyUI's `ControlLora`): ControlNets that are the model's own UNet up to its middle, with a change of
 * low rank in most of its layers ("X.up" times "X.down"), other biases and norms ("X.bias", "X.weight"), and a hint and results of their own.
 */
import { type AdaptedLayer, CONSTANT, joinedLayer, NOTHING } from "../../adapters/adapted-layer.ts";
import type { TensorEntry, TensorTable } from "../../container/table.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { LayerAdapters, LayerBuilderOptions } from "../layer-builder.ts";
import { diffusersControlNames } from "./control-names.ts";
import { originalUnetModules } from "./original-unet.ts";

/** A tensor without values that says what the file is. */
export const CONTROL_LORA_MARK = "lora_controlnet";

/** Names of such a file's own tensors in graphs, which no tensor of the model has. */
const OWN = "own.";
const FACTOR = /\.(up|down)$/;
const FLOATS: ReadonlySet<string> = new Set(["f16", "bf16", "f32"]);

/** Whether a tensor of that name is half of a layer's change. */
export function isControlLoraFactor(name: string): boolean {
  return FACTOR.test(name);
}

/** What such a file is, for people; undefined for another one. */
export function controlLoraWords(
  tensors: readonly { readonly name: string; readonly shape: readonly number[] }[],
): string | undefined {
  if (!tensors.some(({ name }) => name === CONTROL_LORA_MARK)) return undefined;
  const downs = tensors.filter(({ name }) => name.endsWith(".down"));
  const rank = Math.max(0, ...downs.map(({ shape }) => shape[0] ?? 0));
  return `a Control-LoRA: changes of ${downs.length} layers, rank ${rank} (give it with --control)`;
}

/** A file's changes and tensors, as its ControlNet's graphs read them beside the model's weights. */
export class ControlLora implements LayerAdapters {
  readonly layers: ReadonlyMap<string, AdaptedLayer>;
  /** The file's own tensors, by their names in graphs. */
  readonly table: TensorTable;
  /** The model's tensors that the file has others for -> their names. */
  readonly replaced: ReadonlyMap<string, string>;

  private constructor(
    layers: ReadonlyMap<string, AdaptedLayer>,
    table: TensorTable,
    replaced: ReadonlyMap<string, string>,
  ) {
    this.layers = layers;
    this.table = table;
    this.replaced = replaced;
  }

  /**
   * `schema`: of the ControlNet that it makes of the model. `fail` makes the error of what is wrong. Throws what `fail` makes, and ArtifactError
   * `E_DUP_KEY`.
   */
  static read(
    stored: TensorTable,
    schema: ReadonlyMap<string, readonly number[]>,
    subject: string,
    fail: (why: string) => Error,
  ): ControlLora {
    const { factors, others } = parted(stored, schema, { subject, fail });
    const table = new Map<string, TensorEntry>();
    const replaced = new Map<string, string>();
    for (const [name, entry] of others) {
      const shape = schema.get(name);
      if (!shape) throw fail(`its tensor ${quoted(entry.name)} is of no layer that the model has`);
      const own = isModels(name) ? `${OWN}${name}` : name;
      if (elementCount(entry.shape) !== elementCount(shape) || entry.shape[0] !== shape[0]) {
        throw fail(`its tensor ${quoted(entry.name)} is [${entry.shape}], and the model takes [${shape}]`);
      }
      table.set(own, { ...requireFloats(entry, fail), name: own, shape });
      if (own !== name) replaced.set(name, own);
    }
    const missing = [...schema.keys()].find((name) => !isModels(name) && !table.has(name));
    if (missing !== undefined) throw fail(`it has no ${missing}`);
    const layers = new Map<string, AdaptedLayer>();
    for (const [layer, { up, down }] of factors) {
      const weight = schema.get(`${layer}.weight`);
      if (!weight || weight.length < 2) throw fail(`its change of ${quoted(layer)} is of no layer that the model has`);
      if (!up || !down) throw fail(`its change of ${quoted(layer)} has no ${up ? "down" : "up"}`);
      const [out, ...inner] = weight as [number, ...number[]];
      const rank = down.shape[0] ?? 0;
      const fits = elementCount(up.shape) === out * rank && elementCount(down.shape) === rank * elementCount(inner);
      if (rank === 0 || up.shape[0] !== out || up.shape[1] !== rank || !fits) {
        const found = `up [${up.shape}] and down [${down.shape}]`;
        throw fail(`its change of ${quoted(layer)} (${found}) is none of the model's [${weight}]`);
      }
      const names = { down: `${OWN}${layer}.down`, up: `${OWN}${layer}.up` };
      table.set(names.down, { ...requireFloats(down, fail), name: names.down, shape: [rank, ...inner] });
      const upShape = [out, rank, ...(weight.length === 4 ? [1, 1] : [])];
      table.set(names.up, { ...requireFloats(up, fail), name: names.up, shape: upShape });
      const strengths = [{ adapter: CONSTANT, scale: 1, count: rank }];
      layers.set(layer, { ...NOTHING, lowRank: [{ ...names, mid: undefined, strengths }] });
    }
    if (layers.size === 0) throw fail("it is a Control-LoRA that changes nothing");
    return new ControlLora(layers, table, replaced);
  }

  /** How a graph is built by it. `adapters`: of the model, which it changes as they have changed it. */
  builderOptions(adapters: LayerAdapters | undefined): LayerBuilderOptions {
    return { adapters: adapters ? besideEachOther(adapters, this) : this, replaced: this.replaced };
  }

  /** Of its file, which its component stands for. */
  toJSON(): number {
    return this.layers.size;
  }
}

/** Whether such a tensor of a ControlNet's is one that its UNet has as well. */
function isModels(name: string): boolean {
  return !name.startsWith("controlnet_");
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 120));
}

function requireFloats(entry: TensorEntry, fail: (why: string) => Error): TensorEntry {
  if (FLOATS.has(entry.dtype)) return entry;
  throw fail(`its tensor ${quoted(entry.name)} is ${entry.dtype} (allowed f16, bf16, f32)`);
}

type Factors = { readonly [factor in "up" | "down"]?: TensorEntry };

/** By diffusers' names: the factors of layers' changes, and the tensors that are whole. */
function parted(
  stored: TensorTable,
  schema: ReadonlyMap<string, readonly number[]>,
  { subject, fail }: { readonly subject: string; readonly fail: (why: string) => Error },
) {
  const modules = [...schema.keys()].filter(isModels).map((name) => name.slice(0, name.lastIndexOf(".")));
  const originals = originalUnetModules(modules);
  const factors = new Map<string, Factors>();
  const whole = new Map<string, TensorEntry>();
  for (const entry of stored.values()) {
    if (entry.name === CONTROL_LORA_MARK) continue;
    const end = entry.name.lastIndexOf(".");
    const original = entry.name.slice(0, end);
    const module = originals.get(original) ?? original;
    const name = `${module}${entry.name.slice(end)}`;
    const factor = FACTOR.exec(name)?.[1] as keyof Factors | undefined;
    const isTwice = factor === undefined ? whole.has(name) : factors.get(module)?.[factor] !== undefined;
    if (isTwice) throw fail(`two of its tensors are ${quoted(name)}`);
    if (factor === undefined) whole.set(name, { ...entry, name });
    else factors.set(module, { ...factors.get(module), [factor]: entry });
  }
  return { factors, others: diffusersControlNames(whole, subject) };
}

/** What both add to a layer. */
function besideEachOther(first: LayerAdapters, second: LayerAdapters): LayerAdapters {
  const layers = new Map(first.layers);
  for (const [name, added] of second.layers) {
    const own = layers.get(name);
    layers.set(name, own ? joinedLayer(own, added) : added);
  }
  return { layers, table: new Map([...first.table, ...second.table]) };
}
