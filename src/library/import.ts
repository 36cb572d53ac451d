/** @file Brings a model that the user has named, with an artifact over it, into the block store. */
import { openModelFolder } from "../models/families.ts";
import type { ImportOptions } from "../store/import/import.ts";
import type { ImportResult, PackedChoice } from "../store/import/import-types.ts";
import type { LibraryHost } from "./host.ts";
import { locateFolder } from "./locate.ts";
import { importCheckpoint } from "./stored.ts";

export interface ImportModelRequest {
  /** Folder, or Hugging Face id in the local cache. */
  readonly model: string;
  readonly artifact?: string | undefined;
  readonly compat?: boolean | undefined;
  readonly packed: PackedChoice;
  /** Folder of the block store. Default: the user's own. */
  readonly store?: string | undefined;
}

/** Cut off at any moment, the next import of the same goes on from there. Rejects as importModel and locateFolder do. */
export async function importNamedModel(
  host: LibraryHost,
  { model, artifact, compat = false, packed, store }: ImportModelRequest,
  options: ImportOptions = {},
): Promise<ImportResult> {
  const folder = await host.openFolder(await locateFolder(host, model));
  await using checkpoint = await openModelFolder(folder, { signal: options.signal });
  await using over = artifact === undefined ? undefined : await host.openFile(host.absolute(artifact));
  return await importCheckpoint(host.store(store), { folder, checkpoint, artifact: over, compat, packed }, options);
}
