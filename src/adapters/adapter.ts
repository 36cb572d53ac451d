/**
 * @file Opens an adapter's file for a model: every tensor is found its layer, checked against it, and becomes what the layer is changed by; or the file is
 * refused by what it is. Reads headers and tensors of one number; weights stay where they are.
 */
import { sha256 } from "#hash";
import { fileKind } from "../checkpoint/file-kind.ts";
import type { TensorEntry } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import type { AdapterFile } from "./adapter-file.ts";
import { adapterFor, contextWidthOf, familyOfContext, familyOfMetadata, foreignWords } from "./foreign-files.ts";
import { type Role, splitKey } from "./key-table.ts";
import { type AdaptedLayer, quoted } from "./kinds/adapted-layer.ts";
import { kindsOf, readLayer, titleOf } from "./kinds/kinds.ts";
import type { Adapter, LayerChange } from "./layer-change.ts";
import { type FoundLayer, findRoot, type LayerNames } from "./layer-names.ts";
import { readNumbers } from "./numbers.ts";
import { peftAlphas } from "./peft-alphas.ts";

/** What became of a file's tensors. */
export interface AdapterReport {
  /** Layers changed, by kind: "LoRA", "LoCon", "DoRA (LoKr)". */
  readonly kinds: Readonly<Record<string, number>>;
  readonly tensors: number;
  readonly matched: number;
  /** In the file, of layers that the model has not. */
  readonly unmatched: readonly string[];
  /** The largest strength that a layer's change has of its own, alpha / rank, where that is beyond all use: the file may be damaged. */
  readonly excess?: { readonly layers: number; readonly scale: number } | undefined;
  /** Passed over: the file has their layers by diffusers' names too. */
  readonly twins: readonly string[];
}

export interface OpenedAdapter {
  readonly adapter: Adapter;
  readonly report: AdapterReport;
}

/**
 * Rejects with ArtifactError: `E_LORA_NO_MATCH` for files of other models, `E_LORA_TENSOR` for layers that are not whole or don't fit, `E_LORA_KIND` for what
 * Solvay does not compute, `E_DUP_KEY` for two tensors that are one, `E_NONFINITE` for an alpha that is no number.
 */
export async function openAdapter(file: AdapterFile, names: LayerNames, signal?: AbortSignal): Promise<OpenedAdapter> {
  const { roots, others } = rootsOf(file);
  const found = [...roots].map(([root, tensors]) => ({ root, tensors, place: findRoot(names, root) }));
  const known = found.filter((entry): entry is Known => entry.place !== undefined);
  const namesOf = (entries: readonly { readonly tensors: RoleTensors }[]) =>
    entries.flatMap(({ tensors }) => [...tensors.values()].map(({ name }) => name));
  const unmatched = [...others, ...namesOf(found.filter(({ place }) => place === undefined))];
  requireFamily(file, names, known, unmatched);
  const chosen = withoutTwins(file, known);
  const layers = new Map<string, Map<string, readonly LayerChange[]>>();
  const kinds: Record<string, number> = {};
  let excess: AdapterReport["excess"];
  const alphaOf = peftAlphas(file.metadata, file.name);
  const tensorsOf = chosen.map(({ tensors }) => tensors);
  const numbersOf = await readNumbers(file.name, tensorsOf, signal);
  for (const [i, { root, tensors, place }] of chosen.entries()) {
    const numbers = new Map(numbersOf[i]);
    const down = tensors.get("down");
    const told = down && !numbers.has("alpha") ? alphaOf(place.layer, down.shape[0] ?? 0) : undefined;
    if (told !== undefined) numbers.set("alpha", told);
    const layer: AdaptedLayer = { file: file.name, root, layer: place.layer, tensors, numbers };
    const changes = readLayer(layer);
    // What has no rank isn't scaled by its alpha: LoKr of whole factors is written with one of 1e10.
    const ranks = kindsOf(tensors).flatMap((kind) => kind.rank?.(tensors) ?? []);
    const scale = Math.abs((numbers.get("alpha") ?? 0) / Math.max(...ranks));
    if (scale > MOST_SCALE) excess = { layers: (excess?.layers ?? 0) + 1, scale: Math.max(scale, excess?.scale ?? 0) };
    for (const kind of kindsOf(tensors)) {
      const title = titleOf(tensors, kind);
      kinds[title] = (kinds[title] ?? 0) + 1;
    }
    const ofComponent = layers.get(place.layer.component) ?? new Map<string, readonly LayerChange[]>();
    layers.set(place.layer.component, ofComponent.set(place.layer.module, changes));
  }
  const isChosen = new Set(chosen);
  const report = {
    kinds,
    tensors: file.table.size,
    matched: countOf(chosen),
    unmatched,
    ...(excess && { excess }),
    twins: namesOf(known.filter((entry) => !isChosen.has(entry))),
  };
  return { adapter: { id: await contentId(file, signal), layers }, report };
}

/** alpha / rank is 1 or less as a rule; rank-stabilized ones reach the root of the rank. */
const MOST_SCALE = 100;

type RoleTensors = ReadonlyMap<Role, TensorEntry>;

interface Known {
  readonly root: string;
  readonly tensors: RoleTensors;
  readonly place: FoundLayer;
}

/** The tensors by what they belong to. `others`: names that no adapter has. */
function rootsOf({ name: file, table }: AdapterFile): { roots: ReadonlyMap<string, RoleTensors>; others: string[] } {
  const roots = new Map<string, Map<Role, TensorEntry>>();
  const others: string[] = [];
  for (const [name, entry] of table) {
    const key = splitKey(name);
    if (!key) {
      others.push(name);
      continue;
    }
    const tensors = roots.get(key.root) ?? new Map<Role, TensorEntry>();
    const other = tensors.get(key.role);
    if (other) throw twice(file, other.name, name, key.root);
    roots.set(key.root, tensors.set(key.role, entry));
  }
  return { roots, others };
}

/** Refuses files that are for another model, even where some of their layers (a text encoder) are alike; and those that change nothing. */
function requireFamily(
  file: AdapterFile,
  names: LayerNames,
  known: readonly Known[],
  unmatched: readonly string[],
): void {
  const { metadata, name, table } = file;
  const width = contextWidthOf(table);
  const otherWidth = width === names.contextWidth ? undefined : width;
  const named = foreignWords(unmatched);
  const isAdapter = known.some(({ tensors }) => [...tensors.keys()].some((role) => role !== "weight"));
  if (isAdapter && otherWidth === undefined && named === undefined) return;
  const family = otherWidth === undefined ? familyOfMetadata(metadata) : familyOfContext(otherWidth);
  const isModel = known.length > 0 && !isAdapter && named === undefined;
  const kind = fileKind(table.keys());
  const words = named ?? adapterFor(family ?? "a model that is not known here");
  const isOther = named === undefined && kind !== undefined && kind.id !== "adapter";
  const looks =
    table.size === 0
      ? "it holds none"
      : isModel
        ? "it is a model itself, and no adapter"
        : isOther
          ? `it is ${kind.words}, and no adapter`
          : `it looks like ${words}`;
  const matched = isAdapter && otherWidth === undefined ? countOf(known) : 0;
  throw new ArtifactError({
    code: "E_LORA_NO_MATCH",
    subject: name,
    problem: `${matched} of its ${table.size} tensors fit the model (${looks})`,
    next:
      (isOther || kind?.id === "controlnet" ? kind?.next : undefined) ?? "use an adapter that was made for this model",
  });
}

function countOf(entries: readonly { readonly tensors: RoleTensors }[]): number {
  return entries.reduce((sum, { tensors }) => sum + tensors.size, 0);
}

/** A layer that stands under both of its names counts once, by diffusers' name. */
function withoutTwins({ name: file }: AdapterFile, known: readonly Known[]): readonly Known[] {
  const chosen = new Map<FoundLayer["layer"], Known>();
  for (const entry of known) {
    const other = chosen.get(entry.place.layer);
    if (!other) chosen.set(entry.place.layer, entry);
    else if (other.place.byOtherName === entry.place.byOtherName)
      throw twice(file, other.root, entry.root, entry.place.layer.module);
    else if (other.place.byOtherName) chosen.set(entry.place.layer, entry);
  }
  return [...chosen.values()];
}

function twice(file: string, a: string, b: string, what: string): ArtifactError {
  return new ArtifactError({
    code: "E_DUP_KEY",
    subject: file,
    problem: `${quoted(a)} and ${quoted(b)} are both ${quoted(what)}`,
    next: "use a file that names each layer once",
  });
}

/** Of a file on disk: of its header, and of what tells its versions apart. Of bytes in memory: of all of them. */
async function contentId({ table }: AdapterFile, signal?: AbortSignal): Promise<string> {
  const hash = sha256();
  const encoder = new TextEncoder();
  const whole = new Uint8Array(HASHED_BYTES);
  for (const { name, dtype, shape, source, startByte, endByte } of table.values()) {
    hash.update(encoder.encode(JSON.stringify([name, dtype, shape, startByte, source.file?.stamp])));
    if (source.file) continue;
    for (let from = startByte; from < endByte; from += whole.length) {
      const piece = whole.subarray(0, Math.min(whole.length, endByte - from));
      await source.read(from, piece, signal);
      hash.update(piece);
    }
  }
  return hash.digestHex();
}

const HASHED_BYTES = 1024 ** 2;
