/** @file Repairs a model in the block store, or a companion of one, from the files that it was imported from, block by block. */

import { readWeightTable } from "../checkpoint/weight-header.ts";
import { readLzr2 } from "../container/lzr2.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { FAMILIES } from "../models/families.ts";
import { memorySource } from "../source/memory.ts";
import type { ByteSource } from "../source/source.ts";
import { Catalog } from "../store/catalog.ts";
import { companionComponent, ORIGIN, storedOriginText } from "../store/companion.ts";
import { tableReader } from "../store/import/build-table.ts";
import { type ImportOptions, importModel } from "../store/import/import.ts";
import type { ImportComponent, PackedChoice } from "../store/import/import-types.ts";
import { type Manifest, type ManifestBlock, type ManifestComponent, readManifest } from "../store/manifest.ts";
import { type RepairReport, repairModel } from "../store/repair.ts";
import { modelsFolder, type Store } from "../store/store.ts";
import type { VerifyProgress } from "../store/verify.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import type { LibraryHost } from "./host.ts";
import { openFilesAt, openRefinerAt, refinerFamilyAt } from "./model-files.ts";
import { openUnchanged } from "./on-demand.ts";
import { importCheckpoint, importRefiner, TEXT_COMPONENT } from "./stored.ts";

/**
 * Damaged blocks are made anew one by one. A pack that can't be opened at all is made anew by importing the model again, under
 * the same names. Throws ArtifactError if the sources are not there any more.
 */
export async function repairStored(
  host: LibraryHost,
  store: Store,
  id: string,
  progress: VerifyProgress & Pick<ImportOptions, "onEvent"> = {},
): Promise<RepairReport> {
  const manifest = await readManifest(store.fs, modelsFolder(store), id);
  if (!manifest) {
    const problem = "there is no such model in the store";
    throw new ArtifactError({ code: "E_MISSING", subject: id, problem, next: "see solvay store list" });
  }
  await using opened = new SourceFiles(host);
  const components = new Map(manifest.components.map((component) => [component.name, component]));
  const report = await repairModel(
    store,
    id,
    async (component, block) => {
      const table = await blockTable(components.get(component)!, block, opened, progress.signal);
      return tableReader(block, table, progress.signal);
    },
    { ...progress, onWait: (owner) => progress.onEvent?.({ type: "wait", owner }) },
  );
  if (!report.left.some(({ kind }) => kind === "pack")) return report;
  if (companionComponent(manifest)) await importCompanionAgain(host, store, manifest, opened, progress);
  else await importAgain(host, store, components, progress);
  const rest = await repairModel(store, id, () => Promise.reject(new Error("repaired before")), progress);
  return { repaired: [...report.repaired, "whole packs"], left: rest.left };
}

async function importAgain(
  host: LibraryHost,
  store: Store,
  components: ReadonlyMap<string, ManifestComponent>,
  { signal, onEvent }: VerifyProgress & Pick<ImportOptions, "onEvent">,
): Promise<void> {
  const index = components.get(TEXT_COMPONENT)?.sources.find(({ role }) => role === "model_index.json");
  // Only the component that an artifact lies over has such sources.
  const sources = [...components.values()].flatMap((component) => component.sources);
  const artifactPath = sources.find(({ role }) => role === "artifact")?.path;
  const compat = sources.some(({ role, stamp }) => role === "options" && stamp === "compat");
  const path = (index?.path ?? "").replace(/[\\/]model_index\.json$/, "");
  await using owned = new AsyncDisposableStack();
  const packed = await codingOf(store, [...components.values()]);
  const family = await refinerFamilyAt(host, path, signal);
  if (family) {
    const refiner = owned.use(await openRefinerAt(host, family, path, { owned, signal }));
    return void (await importRefiner(store, { family, refiner, packed }, { signal, onEvent }));
  }
  const { folder, checkpoint } = await openFilesAt(host, path, {}, { owned, signal });
  owned.use(checkpoint);
  await using artifact = artifactPath === undefined ? undefined : await host.openFile(artifactPath);
  await importCheckpoint(store, { folder, checkpoint, artifact, compat, packed }, { signal, onEvent });
}

/** What a companion consists of is in its index; it is made of the very files it names, or not at all. */
async function importCompanionAgain(
  host: LibraryHost,
  store: Store,
  manifest: Manifest,
  opened: SourceFiles,
  { signal, onEvent }: VerifyProgress & Pick<ImportOptions, "onEvent">,
): Promise<void> {
  const wanted = companionComponent(manifest)!;
  for (const stamp of wanted.sources) {
    await using _source = await openUnchanged(host, stamp, `${manifest.name} must be made again`);
  }
  const components: ImportComponent[] = [];
  for (const component of manifest.components) {
    const table = new Map<string, TensorEntry>();
    for (const block of component.blocks) {
      for (const [name, entry] of await blockTable(component, block, opened, signal)) table.set(name, entry);
    }
    const { name, sources } = component;
    const blocks = component.blocks.map(({ graph, label, tensors }) => ({
      ...{ graph, label },
      tensors: tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    }));
    components.push({ name, sources, blocks, table });
  }
  const packed = await codingOf(store, [wanted]);
  await importModel(store, { name: manifest.name, components, packed }, { signal, onEvent });
}

/** As the packs that can be read are. */
async function codingOf(store: Store, components: readonly ManifestComponent[]): Promise<PackedChoice> {
  await using catalog = await Catalog.open(store);
  const blocks = components.flatMap(({ blocks }) => blocks);
  const codecs = new Set(blocks.map(({ pack, id }) => catalog.codecOf(pack, id)));
  return codecs.has("planes") ? "on" : codecs.has("plain") ? "off" : "auto";
}

/** The tensors of one block, from their sources. */
async function blockTable(
  component: ManifestComponent,
  block: ManifestBlock,
  opened: SourceFiles,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, TensorEntry>> {
  const { name, sources, artifact } = component;
  if (name === ORIGIN) return new Map([[ORIGIN, textEntry(ORIGIN, memorySource(ORIGIN, storedOriginText(component)))]]);
  const table = new Map<string, TensorEntry>();
  const wanted = new Map(block.tensors.map((tensor) => [tensor.name, tensor]));
  const records = new Map(artifact?.records);
  const compat = sources.some(({ role, stamp }) => role === "options" && stamp === "compat");
  for (const { role, path } of sources) {
    if (path === "") continue;
    if (role === "artifact") {
      for (const tensor of block.tensors) {
        const startByte = records.get(tensor.name);
        if (startByte === undefined) continue;
        const entry = await decodeRecord(await opened.get(path), tensor, startByte, compat, signal);
        table.set(tensor.name, entry);
      }
    } else if (name === TEXT_COMPONENT) {
      table.set(role, textEntry(role, await opened.get(path)));
    } else {
      for (const [key, entry] of tensorsOf(name, await opened.tableOf(path, signal), path)) {
        if (wanted.has(key) && !records.has(key)) table.set(key, entry);
      }
    }
  }
  for (const tensor of block.tensors) {
    const entry = table.get(tensor.name);
    if (entry && entry.endByte - entry.startByte === tensorBytes(tensor)) continue;
    const problem = `the sources don't hold ${JSON.stringify(tensor.name)} as it was imported`;
    throw new ArtifactError({ code: "E_SCHEMA", subject: block.label, problem, next: "put the imported files back" });
  }
  return table;
}

/** A whole source as one tensor of bytes. */
function textEntry(name: string, source: ByteSource): TensorEntry {
  const { byteLength } = source;
  return { name, dtype: "u8", shape: [byteLength], source, startByte: 0, endByte: byteLength };
}

async function decodeRecord(
  source: ByteSource,
  tensor: { readonly name: string; readonly shape: readonly number[] },
  startByte: number,
  compat: boolean,
  signal?: AbortSignal,
): Promise<TensorEntry> {
  const from = { startByte, number: 1, keys: new Map<string, number>() };
  const expectedShape = (key: string) => (key === tensor.name ? tensor.shape : undefined);
  for await (const { key, weight, shape } of readLzr2(source, {
    from,
    compat,
    expectedShape,
    signal,
  })) {
    if (key !== tensor.name || !weight) break;
    const bytes = new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength);
    return {
      name: key,
      dtype: "f16",
      shape,
      source: memorySource(key, bytes),
      startByte: 0,
      endByte: bytes.byteLength,
    };
  }
  throw new ArtifactError({
    code: "E_SCHEMA",
    subject: source.name,
    problem: `no record for ${JSON.stringify(tensor.name)} at byte ${startByte}: this is another artifact`,
    next: "put the imported artifact back",
  });
}

function tensorsOf(component: string, stored: TensorTable, file: string): TensorTable {
  const family = FAMILIES.find(({ components, refinerComponents }) =>
    [...components, ...refinerComponents].some(({ id }) => id === component),
  );
  return family?.tensorsOf(component, stored, file) ?? stored;
}

/** Files that are opened once, and their headers. */
class SourceFiles implements AsyncDisposable {
  readonly #host: LibraryHost;
  readonly #sources = new Map<string, ByteSource>();
  readonly #tables = new Map<string, ReadonlyMap<string, TensorEntry>>();

  constructor(host: LibraryHost) {
    this.#host = host;
  }

  async get(path: string): Promise<ByteSource> {
    const known = this.#sources.get(path) ?? (await this.#host.openFile(path));
    this.#sources.set(path, known);
    return known;
  }

  async tableOf(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, TensorEntry>> {
    const known = this.#tables.get(path) ?? (await readWeightTable(await this.get(path), signal));
    this.#tables.set(path, known);
    return known;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const source of this.#sources.values()) await source[Symbol.asyncDispose]();
  }
}
