/**
 * @file Imports a model into the store: what it has is used, what is missing is written, and nothing is visible under its final
 * name before it is whole, synced and checked. Cut off at any moment, the next import of the same sources goes on from there.
 */
import { sha256Hex } from "#hash";
import { ArtifactError } from "../../errors.ts";
import { Catalog } from "../catalog.ts";
import { storeFailure } from "../fs.ts";
import { decodeFacts, type Manifest, type ManifestComponent, modelId, publishManifest } from "../manifest.ts";
import { type BlockLayout, type BlockSpec, layoutBlock } from "../pack/block-layout.ts";
import type { BlockCodec } from "../pack/pack-format.ts";
import { importsFolder, listModels, lockToWrite, modelsFolder, packsFolder, type Store } from "../store.ts";
import { buildPlaced, decodeToScratch } from "./artifact-component.ts";
import { buildSequential, codecFor, tableReader } from "./build-table.ts";
import { chooseCodec } from "./codec-choice.ts";
import { diskBytesOf, memoryBytesOf, ownBudget, requireSpace } from "./import-needs.ts";
import {
  type BuildContext,
  type BuiltComponent,
  type ImportBudget,
  type ImportComponent,
  type ImportEvent,
  type ImportRequest,
  type ImportResult,
  manifestBlocks,
} from "./import-types.ts";
import { Journal } from "./journal.ts";

export interface ImportOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default: a ledger of its own, with all that is free on the disk. */
  readonly budget?: ImportBudget | undefined;
  readonly onEvent?: (event: ImportEvent) => void;
  /** An artifact over a component of so many bytes is hashed in a thread of its own; starting one takes some 50 ms. */
  readonly hashThreadFromBytes?: number;
}

const HASH_THREAD_FROM_BYTES = 64 * 1024 ** 2;

/** Sources that change while they are read give this code, too (source.ts). */
const CHANGED = "E_CHANGED_DURING_READ";

/** Part of every import's key: another layout is another import. */
const LAYOUT = "blocks 1";

/**
 * Rejects with ArtifactError (a source or the store is damaged, or changed meanwhile), BudgetError `E_DISK_FULL`, DeviceError
 * `E_DISK`, or the signal's reason. What was finished then stays for the next attempt.
 */
export async function importModel(
  store: Store,
  request: ImportRequest,
  options: ImportOptions = {},
): Promise<ImportResult> {
  const { signal, onEvent = () => undefined } = options;
  try {
    const known = await findImported(store, request);
    const sources = sourcesKey(request);
    const folder = `${importsFolder(store)}/${sources}-${request.packed}`;
    // Its work folder may be there still, even an empty one, if the import was killed while it tidied up.
    if (known && !(await attemptsAt(store, sources)).includes(folder)) return known;
    await using lock = await lockToWrite(store, { signal, onWait: (owner) => onEvent({ type: "wait", owner }) });
    // The process that was waited for may have imported this very model.
    const result =
      (await findImported(store, request)) ??
      (await runImport(store, request, folder, () => lock.check(), options).catch(async (error: unknown) => {
        // These sources will never be there again, so nobody could go on with what was made of them.
        if (isChange(error)) await removeAttempts(store, sources);
        throw error;
      }));
    await removeAttempts(store, sources);
    return result;
  } catch (error) {
    signal?.throwIfAborted();
    throw storeFailure(error, store.folder, await store.fs.freeBytes(store.folder).catch(() => undefined));
  }
}

/** The model, if these sources were imported before and its packs are in place. Reads no block. */
async function findImported(store: Store, request: ImportRequest): Promise<ImportResult | undefined> {
  for (const { manifest } of await listModels(store)) {
    if (!manifest || manifest.components.length !== request.components.length) continue;
    const same = request.components.every((component, i) => isSame(manifest.components[i]!, component));
    if (!same) continue;
    await using catalog = await Catalog.open(store);
    const { components } = manifest;
    if (!components.every((component) => isStored(component, catalog, request.packed))) continue;
    const artifact = components.find((component) => component.artifact)?.artifact;
    const plainBytes = sumPlain(components);
    return { id: manifest.id, reused: true, plainBytes, writtenBytes: 0, artifact };
  }
  return undefined;
}

/** Of the same files, and cut as it is read now: an older version's blocks may be others. */
function isSame(stored: ManifestComponent, wanted: ImportComponent): boolean {
  if (stored.name !== wanted.name || stored.sources.length !== wanted.sources.length) return false;
  if (cutOf(stored.blocks) !== cutOf(wanted.blocks)) return false;
  return wanted.sources.every(({ role, stamp }, i) => {
    const source = stored.sources[i]!;
    return stamp !== "" && source.role === role && source.stamp === stamp;
  });
}

/** Which tensors make up which block; not their types, since an artifact gives some of them another one. */
function cutOf(blocks: readonly BlockSpec[]): string {
  const cut = blocks.map(({ graph, label, tensors }) => [
    graph,
    label,
    tensors.map(({ name, shape }) => [name, shape]),
  ]);
  return JSON.stringify(cut);
}

function isStored(component: ManifestComponent, catalog: Catalog, packed: ImportRequest["packed"]): boolean {
  const wanted: BlockCodec | undefined = packed === "auto" ? undefined : packed === "on" ? "planes" : "plain";
  return component.blocks.every((block) => {
    const codec = catalog.codecOf(block.pack, block.id);
    return codec !== undefined && (wanted === undefined || codec === codecFor(block, wanted));
  });
}

async function runImport(
  store: Store,
  request: ImportRequest,
  folder: string,
  requireLock: () => Promise<void>,
  options: ImportOptions,
): Promise<ImportResult> {
  const { signal, budget, onEvent = () => undefined, hashThreadFromBytes = HASH_THREAD_FROM_BYTES } = options;
  const { components, packed } = request;
  for (const path of [packsFolder(store), modelsFolder(store), folder]) await store.fs.makeFolder(path);
  await using catalog = await Catalog.open(store);
  await using journal = await Journal.open(store.fs, `${folder}/journal`);
  const models = await listModels(store);
  const shared = components.map((component) => {
    const all = models.flatMap(({ manifest }) => manifest?.components ?? []);
    return all.find((stored) => isSame(stored, component) && isStored(stored, catalog, packed));
  });
  const layouts = components.map(({ blocks }) => blocks.map(layoutBlock));
  const totalBytes = layouts.flat().reduce((sum, { plainBytes }) => sum + plainBytes, 0);
  const { codec, reason } = await chooseCodec(store, folder, packed, totalBytes, signal);
  onEvent({ type: "codec", codec, reason });
  const diskBytes = diskBytesOf(request, layouts, shared, codec, journal, await store.fs.usedBytes(folder));
  const freeBytes = await requireSpace(store, diskBytes);
  const { ledger, memory } = budget ?? ownBudget(freeBytes);
  using _disk = ledger.reserve("disk", diskBytes, "the import's blocks");
  using _memory = ledger.reserve(memory, memoryBytesOf(store, request, layouts), "the import's buffers");

  let doneBytes = 0;
  const advance = (component: string, plainBytes: number) => {
    doneBytes += plainBytes;
    onEvent({ type: "progress", component, doneBytes, totalBytes });
  };
  const work = { store, folder, journal, catalog, packed, codec, signal };
  const context: BuildContext = { ...work, hashThreadFromBytes, onEvent, requireLock, advance };
  const built: ManifestComponent[] = [];
  let writtenBytes = 0;
  for (const [i, component] of components.entries()) {
    const { name, sources } = component;
    const known = shared[i];
    const result: BuiltComponent = known
      ? { ...known, sharedBlocks: known.blocks.length, writtenBytes: 0 }
      : await buildComponent(context, component, layouts[i]!);
    const { blocks, sharedBlocks, artifact } = result;
    const plainBytes = blocks.reduce((sum, block) => sum + block.plainBytes, 0);
    if (known) advance(name, plainBytes);
    writtenBytes += result.writtenBytes;
    onEvent({ type: "component", component: name, blocks: blocks.length, sharedBlocks, plainBytes });
    built.push({ name, sources, blocks, artifact });
  }
  await requireUnchanged(store, components);
  const manifest: Manifest = { id: modelId(built), name: request.name, components: built };
  await requireLock();
  await publishManifest(store.fs, modelsFolder(store), manifest);
  const artifact = built.find((component) => component.artifact)?.artifact;
  return { id: manifest.id, reused: false, plainBytes: totalBytes, writtenBytes, artifact };
}

async function buildComponent(
  context: BuildContext,
  component: ImportComponent,
  layouts: readonly BlockLayout[],
): Promise<BuiltComponent> {
  const { name: key, table, artifact } = component;
  const finished = takeUpFinished(context, key, layouts);
  if (finished) return finished;
  if (!artifact) {
    const readers = layouts.map((layout) => tableReader(layout, table, context.signal));
    return await buildSequential(context, key, layouts, readers);
  }
  if (context.codec === "plain") return await buildPlaced(context, key, component, layouts);
  return await decodeToScratch(context, `${key}.scratch`, component, layouts, (readers, facts) =>
    buildSequential(context, key, layouts, readers, facts),
  );
}

/** A component that an earlier attempt has finished and whose packs are in place. */
function takeUpFinished(
  { journal, catalog, onEvent, advance }: BuildContext,
  key: string,
  layouts: readonly BlockLayout[],
): BuiltComponent | undefined {
  for (const entry of journal.entries.toReversed()) {
    if (entry.get("t").text() !== "done" || entry.get("key").text() !== key) continue;
    const placed = entry
      .get("placed")
      .list()
      .map((item) => ({ id: item.get("id").text(), pack: item.get("pack").text() }));
    if (placed.length !== layouts.length || !placed.every(({ id, pack }) => catalog.claims(pack, id))) continue;
    const facts = entry.get("facts").exists ? decodeFacts(entry.get("facts")) : undefined;
    onEvent({ type: "resume", component: key, blocks: placed.length, records: facts?.records.length ?? 0 });
    for (const { plainBytes } of layouts) advance(key, plainBytes);
    const sharedBlocks = entry.get("sharedBlocks").whole(0, layouts.length);
    const blocks = manifestBlocks(layouts, placed, facts);
    return { blocks, sharedBlocks, writtenBytes: 0, artifact: facts };
  }
  return undefined;
}

function isChange(error: unknown): boolean {
  return error instanceof ArtifactError && error.code === CHANGED;
}

async function requireUnchanged(store: Store, components: readonly ImportComponent[]): Promise<void> {
  for (const { path, stamp } of components.flatMap(({ sources }) => sources)) {
    // Small texts are known by their content.
    if (path === "" || stamp.startsWith("sha256:") || (await store.fs.stat(path))?.stamp === stamp) continue;
    throw new ArtifactError({
      code: CHANGED,
      subject: path,
      problem: "the file changed while it was imported",
      next: "let the writer finish and import again",
    });
  }
}

/** Removes the work folders of imports of these sources, packed or not. */
async function removeAttempts(store: Store, sources: string): Promise<void> {
  for (const folder of await attemptsAt(store, sources)) await store.fs.removeFolder(folder);
}

/** Work folders of imports of these sources, packed or not. */
async function attemptsAt(store: Store, sources: string): Promise<string[]> {
  const names = await store.fs.list(importsFolder(store));
  return names.filter((name) => name.startsWith(`${sources}-`)).map((name) => `${importsFolder(store)}/${name}`);
}

/** Names an import by its sources, and by how they are cut into blocks, which another version may do otherwise. A source without a stamp could be any file: its key is never the same again. */
function sourcesKey({ components }: ImportRequest): string {
  const parts = components.map(({ name, sources, blocks }) => [
    name,
    cutOf(blocks),
    sources.map(({ role, stamp }) => [role, stamp === "" ? crypto.randomUUID() : stamp]),
  ]);
  return sha256Hex(JSON.stringify([LAYOUT, parts])).slice(0, 32);
}

function sumPlain(components: readonly ManifestComponent[]): number {
  return components.flatMap(({ blocks }) => blocks).reduce((sum, { plainBytes }) => sum + plainBytes, 0);
}
