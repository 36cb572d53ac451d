/** @file A model (and an artifact over it) in the block store: how it gets there, and how it is opened from there. */
import { sha256Hex } from "#hash";
import { MAX_TEXT_BYTES } from "../checkpoint/weight-folder.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { UsageError } from "../errors.ts";
import type { Graph } from "../ir/graph.ts";
import { openModelFolder } from "../models/families.ts";
import type { Checkpoint, Component, Family, Refiner } from "../models/family.ts";
import type { Folder } from "../source/folder.ts";
import { memorySource } from "../source/memory.ts";
import type { ByteSource } from "../source/source.ts";
import { ORIGIN } from "../store/companion.ts";
import { damaged } from "../store/fs.ts";
import { type ImportOptions, importModel } from "../store/import/import.ts";
import type { ImportComponent, ImportRequest, ImportResult, PackedChoice } from "../store/import/import-types.ts";
import type { SourceStamp } from "../store/manifest.ts";
import type { BlockSpec } from "../store/pack/block-layout.ts";
import type { Store } from "../store/store.ts";
import { openStoredModel, type StoredModel } from "../store/stored-model.ts";

/** The component that holds configs and tokenizers: with it the store needs no other folder. */
export const TEXT_COMPONENT = "files";

export interface CheckpointImport {
  readonly folder: Folder;
  /** `folder`, opened. */
  readonly checkpoint: Checkpoint;
  readonly artifact?: ByteSource | undefined;
  readonly compat: boolean;
  readonly packed: PackedChoice;
}

/** Imports all that every picture needs; components on demand come when something asks for them (on-demand.ts). */
export async function importCheckpoint(
  store: Store,
  model: CheckpointImport,
  options: ImportOptions = {},
): Promise<ImportResult> {
  return await importModel(store, await importRequest(model), options);
}

/** Imports a refiner: an entry of its own, which pictures name beside their model. */
export async function importRefiner(
  store: Store,
  { family, refiner, packed }: { readonly family: Family; readonly refiner: Refiner; readonly packed: PackedChoice },
  options: ImportOptions = {},
): Promise<ImportResult> {
  const { folder } = refiner;
  const networks = [...refiner.components].map(([id, { table }]) => importComponent(refiner, id, table));
  const components = [await textComponent(folder, family.textFiles), ...networks];
  return await importModel(store, { name: folder.name, components, packed }, options);
}

async function importRequest(model: CheckpointImport): Promise<ImportRequest> {
  const { folder, checkpoint, artifact, compat, packed } = model;
  const components = checkpoint.family.components
    .filter(({ onDemand }) => !onDemand)
    .map(({ id, folder: place }): ImportComponent => {
      // With the files of what comes later from the same folder: shards that it alone reads.
      const neighbours = checkpoint.family.components.filter((other) => other.folder === place);
      const entries = neighbours.flatMap((other) => [...(checkpoint.components.get(other.id)?.table.values() ?? [])]);
      const { table } = checkpoint.components.get(id)!;
      const component = { ...importComponent(checkpoint, id, table), sources: fileSources(entries) };
      if (!artifact || id !== checkpoint.artifactTarget.component) return component;
      const sources = [
        ...component.sources,
        stampOf("artifact", artifact),
        { role: "options", path: "", stamp: compat ? "compat" : "strict" },
      ];
      return { ...component, sources, artifact: { source: artifact, compat } };
    });
  const texts = await textComponent(folder, checkpoint.family.textFiles);
  return { name: folder.name, components: [texts, ...components], packed };
}

/** A component as its graphs read it. */
export function importComponent(
  model: Pick<Checkpoint | Refiner, "weightGraphs">,
  id: string,
  table: TensorTable,
): ImportComponent {
  return {
    name: id,
    blocks: blocksOf(id, model.weightGraphs(id), table),
    table,
    sources: fileSources(table.values()),
  };
}

/** Every tensor of the table in exactly one block. */
function blocksOf(component: string, graphs: readonly Graph[], table: TensorTable): BlockSpec[] {
  const left = new Map(table);
  const blocks: BlockSpec[] = [];
  for (const graph of graphs) {
    for (const segment of graph.segments) {
      const tensors = segment.weights.flatMap((id) => {
        const entry = left.get(graph.values[id]!.name);
        if (!entry) return []; // the pooled end of an encoder whose checkpoint has none
        left.delete(entry.name);
        return [{ name: entry.name, dtype: entry.dtype, shape: entry.shape }];
      });
      if (tensors.length > 0) blocks.push({ graph: graph.name, label: segment.name, tensors });
    }
  }
  if (left.size > 0) throw new Error(`no segment of ${component} reads ${[...left.keys()].slice(0, 3).join(", ")}`);
  return blocks;
}

/** Each file once, by name. */
function fileSources(entries: Iterable<TensorEntry>): SourceStamp[] {
  // Views of a file are sources of their own.
  const stamps = new Map<string, SourceStamp>();
  for (const { source } of entries) {
    const stamp = stampOf(source.name, source);
    stamps.set(JSON.stringify(stamp), stamp);
  }
  return [...stamps.values()].sort((a, b) => (a.role < b.role ? -1 : 1));
}

function stampOf(role: string, { file }: ByteSource): SourceStamp {
  return { role, path: file?.path ?? "", stamp: file?.stamp ?? "" };
}

async function textComponent(folder: Folder, files: readonly string[]): Promise<ImportComponent> {
  const table = new Map<string, TensorEntry>();
  const sources: SourceStamp[] = [];
  for (const path of files) {
    const text = await folder.readText(path, MAX_TEXT_BYTES);
    if (text === undefined || text === "") continue;
    const bytes = new TextEncoder().encode(text);
    const shape = [bytes.byteLength];
    const place = { source: memorySource(path, bytes), startByte: 0, endByte: bytes.byteLength };
    table.set(path, { name: path, dtype: "u8", shape, ...place });
    sources.push({ role: path, path: `${folder.name}/${path}`, stamp: `sha256:${sha256Hex(bytes)}` });
  }
  const tensors = [...table.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  return { name: TEXT_COMPONENT, blocks: [{ graph: "files", label: "files", tensors }], table, sources };
}

/** The checkpoint with its weights read from the store. The caller disposes of `stored` after it. */
export function withStoredWeights(checkpoint: Checkpoint, stored: StoredModel): Checkpoint {
  const components = checkpoint.family.components.filter(({ onDemand }) => !onDemand);
  return checkpoint.withWeights(new Map(components.map(({ id }) => [id, requireStored(stored, id)])));
}

export interface StoredCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly stored: StoredModel;
  /** The artifact that is in these weights already. */
  readonly artifactName: string | undefined;
}

/** A whole model from the store alone: neither the folder nor the artifact that it came from is needed. */
export async function openStoredCheckpoint(
  store: Store,
  id: string,
  signal?: AbortSignal,
): Promise<StoredCheckpoint & AsyncDisposable> {
  await using owned = new AsyncDisposableStack();
  const stored = owned.use(await openStoredModel(store, id));
  if (stored.components.has(ORIGIN)) {
    throw new UsageError({
      code: "E_STORE_MODEL",
      subject: stored.name,
      problem: "this is no model, but a part that one got later",
      next: "take another id from: solvay store list",
    });
  }
  const weights = (component: string) => stored.components.get(component);
  const checkpoint = owned.use(await openModelFolder(storedFolder(stored), { signal, weights }));
  for (const { id: component, onDemand } of checkpoint.family.components)
    if (!onDemand) requireStored(stored, component);
  const over = stored.components
    .get(checkpoint.artifactTarget.component)
    ?.sources.find(({ role }) => role === "artifact");
  const stack = owned.move();
  return {
    checkpoint,
    stored,
    artifactName: over?.path.split(/[\\/]/).at(-1),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/**
 * A refiner from the store alone. `owned` gets what it reads from, but for the refiner, which the caller disposes of first. Rejects with ArtifactError,
 * for an entry that is no refiner too.
 */
export async function openStoredRefiner(
  store: Store,
  id: string,
  family: Family,
  { owned, signal }: { readonly owned: AsyncDisposableStack; readonly signal?: AbortSignal | undefined },
): Promise<Refiner> {
  const stored = owned.use(await openStoredModel(store, id));
  const folder = storedFolder(stored);
  const weights = (component: string) => stored.components.get(component);
  return await family.openRefiner({ model: { kind: "folder", folder }, vocabulary: folder }, { signal, weights });
}

function requireStored(stored: StoredModel, component: string): Component {
  const found = stored.components.get(component);
  if (!found) throw damaged(`model ${stored.id.slice(0, 12)}`, `it has no ${component}`);
  return found;
}

/** Configs and tokenizers as a folder. */
function storedFolder(stored: StoredModel): Folder {
  const { table } = requireStored(stored, TEXT_COMPONENT);
  return {
    name: stored.name,
    async readText(path) {
      const entry = table.get(path);
      if (!entry) return undefined;
      const bytes = new Uint8Array(entry.endByte - entry.startByte);
      await entry.source.read(entry.startByte, bytes);
      return new TextDecoder().decode(bytes);
    },
    open: async () => undefined,
  };
}
