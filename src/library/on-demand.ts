/**
 * @file Components that not every picture needs, such as the VAE's encoder: they come into the store when something asks for them first,
 * as an entry of their own beside the model's (store/companion.ts), which stays as it is.
 */
import { compareWithSchema } from "../checkpoint/schema.ts";
import { readWeightTable } from "../checkpoint/weight-header.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import type { Checkpoint, Component, ComponentDescription } from "../models/family.ts";
import type { ByteSource } from "../source/source.ts";
import { companionComponent, isCompanionOf, originComponent } from "../store/companion.ts";
import { type ImportOptions, importModel } from "../store/import/import.ts";
import type { SourceStamp } from "../store/manifest.ts";
import { listModels, packNames, type Store } from "../store/store.ts";
import { openStoredModel, type StoredModel } from "../store/stored-model.ts";
import type { LibraryHost } from "./host.ts";
import { importComponent } from "./stored.ts";

/** The component of an opened folder. Throws ArtifactError `E_MISSING` if the model has none that can be used. */
export function folderComponent(checkpoint: Checkpoint, id: string): Component {
  const found = checkpoint.components.get(id);
  if (found) return found;
  throw unusable(checkpoint, id, checkpoint.absent.get(id) ?? "it isn't there");
}

/**
 * The component of a model in the store, imported now if it was not before, from the files that the model came from. The caller disposes
 * of `owned` after its use. Rejects with ArtifactError `E_MISSING` where the model has no such component that can be used, or its files
 * are gone; `E_CHANGED` where they are others; and as importModel does.
 */
export async function storedComponent(
  host: LibraryHost,
  store: Store,
  { checkpoint, stored }: { readonly checkpoint: Checkpoint; readonly stored: StoredModel },
  id: string,
  options: ImportOptions = {},
): Promise<{ readonly component: Component; readonly owned: AsyncDisposable }> {
  const absent = checkpoint.absent.get(id);
  if (absent !== undefined) throw unusable(checkpoint, id, absent);
  const sources = sourcesOf(checkpoint, stored, id);
  const entry =
    (await findEntry(store, checkpoint, id, sources)) ??
    (await importEntry(host, store, { checkpoint, sources }, id, options));
  const owned = await openStoredModel(store, entry);
  return { component: owned.components.get(id)!, owned };
}

/** Of the component that the model got at once, from the same folder of weights. */
function sourcesOf(checkpoint: Checkpoint, stored: StoredModel, id: string): readonly SourceStamp[] {
  const { folder } = descriptionOf(checkpoint, id);
  const twin = checkpoint.family.components.find((other) => other.folder === folder && !other.onDemand)!;
  return stored.components.get(twin.id)!.sources;
}

/** One whose blocks are cut as they are read now. Reads no block. */
async function findEntry(
  store: Store,
  checkpoint: Checkpoint,
  id: string,
  sources: readonly SourceStamp[],
): Promise<string | undefined> {
  const packs = new Set(await packNames(store));
  const segments = new Set(checkpoint.weightGraphs(id).flatMap((graph) => graph.segments.map(({ name }) => name)));
  return (await listModels(store)).find(({ manifest }) => {
    const component = manifest && companionComponent(manifest);
    if (component?.name !== id || !isCompanionOf(manifest!, sources)) return false;
    if (!component.blocks.every(({ label }) => segments.has(label))) return false;
    return manifest!.components.every(({ blocks }) => blocks.every(({ pack }) => packs.has(pack)));
  })?.id;
}

async function importEntry(
  host: LibraryHost,
  store: Store,
  { checkpoint, sources }: { readonly checkpoint: Checkpoint; readonly sources: readonly SourceStamp[] },
  id: string,
  options: ImportOptions,
): Promise<string> {
  await using opened = new AsyncDisposableStack();
  const tensors = new Map<string, TensorEntry>();
  for (const stamp of sources) {
    const source = opened.use(await openUnchanged(host, stamp, `the model's ${id} is needed now`));
    const stored = await readWeightTable(source, options.signal);
    for (const [name, entry] of checkpoint.family.tensorsOf(id, stored, source.name)) tensors.set(name, entry);
  }
  const components = [importComponent(checkpoint, id, usableTable(checkpoint, id, tensors)), originComponent(sources)];
  const name = `${checkpoint.name} (${descriptionOf(checkpoint, id).prefix.replaceAll("_", " ")})`;
  return (await importModel(store, { name, components, packed: "auto" }, options)).id;
}

function usableTable(checkpoint: Checkpoint, id: string, tensors: TensorTable): TensorTable {
  const { table, problems } = compareWithSchema(tensors, checkpoint.rulesOf(id));
  if (problems.length > 0) throw unusable(checkpoint, id, problems[0]!);
  return table;
}

/**
 * A file that something in the store was made from. Rejects with ArtifactError `E_MISSING` where it is gone, `E_CHANGED` where it is
 * another; `why` it is opened is part of the message.
 */
export async function openUnchanged(
  host: LibraryHost,
  { role, path, stamp }: SourceStamp,
  why: string,
): Promise<ByteSource> {
  const next = "put that file back, or import the model again: solvay import MODEL";
  const subject = path || role;
  if (path === "" || (await host.kindOf(path)) === undefined) {
    const problem = `the file that the model was imported from is not there, and ${why}`;
    throw new ArtifactError({ code: "E_MISSING", subject, problem, next });
  }
  // Under the name that the manifest has for it, so that it is found by that.
  const source = await host.openFile(path, role);
  if (source.file?.stamp === stamp) return source;
  await source[Symbol.asyncDispose]();
  const problem = `this is not the file that the model was imported from, and ${why}`;
  throw new ArtifactError({ code: "E_CHANGED", subject, problem, next });
}

function unusable(checkpoint: Checkpoint, id: string, why: string): ArtifactError {
  return new ArtifactError({
    code: "E_MISSING",
    subject: `${checkpoint.name}/${descriptionOf(checkpoint, id).folder}`,
    problem: `it has no ${id} that can be used: ${why}`,
    next: "take a model whose weights are complete",
  });
}

function descriptionOf(checkpoint: Checkpoint, id: string): ComponentDescription {
  return checkpoint.family.components.find((component) => component.id === id)!;
}
