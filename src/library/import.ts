/** @file Brings a model that the user has named, with an artifact over it, into the block store. */
import type { ImportOptions } from "../store/import/import.ts";
import type { ImportResult, PackedChoice } from "../store/import/import-types.ts";
import type { LibraryHost } from "./host.ts";
import { locateFiles } from "./locate.ts";
import { type ModelParts, openFilesAt, openRefinerAt, refinerFamilyAt, requirePlainRefiner } from "./model-files.ts";
import { importCheckpoint, importRefiner } from "./stored.ts";

export interface ImportModelRequest extends ModelParts {
  /** Folder, file, or Hugging Face id in the local cache. */
  readonly model: string;
  readonly artifact?: string | undefined;
  readonly compat?: boolean | undefined;
  readonly packed: PackedChoice;
  /** Folder of the block store. Default: the user's own. */
  readonly store?: string | undefined;
}

export interface ImportedModel extends ImportResult {
  /** It is a refiner, which pictures name beside their model. */
  readonly refiner?: true;
}

/** Cut off at any moment, the next import of the same goes on from there. Rejects as importModel and locateFiles do. */
export async function importNamedModel(
  host: LibraryHost,
  { model, artifact, compat = false, packed, store, ...parts }: ImportModelRequest,
  options: ImportOptions = {},
): Promise<ImportedModel> {
  await using owned = new AsyncDisposableStack();
  const { signal } = options;
  const path = await locateFiles(host, model);
  const family = await refinerFamilyAt(host, path, signal);
  if (family) {
    requirePlainRefiner(model, { ...parts, artifact });
    const refiner = owned.use(await openRefinerAt(host, family, path, { owned, signal }));
    return { ...(await importRefiner(host.store(store), { family, refiner, packed }, options)), refiner: true };
  }
  const { folder, checkpoint } = await openFilesAt(host, path, parts, { owned, signal });
  owned.use(checkpoint);
  await using over = artifact === undefined ? undefined : await host.openFile(host.absolute(artifact));
  return await importCheckpoint(host.store(store), { folder, checkpoint, artifact: over, compat, packed }, options);
}
