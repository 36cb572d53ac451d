/** @file Takes models out of the store, and what nothing refers to any more. */

import { storeFailure } from "./fs.ts";
import { manifestName } from "./manifest.ts";
import {
  importsFolder,
  listModels,
  lockToWrite,
  modelsFolder,
  packNames,
  packPath,
  packsFolder,
  type Store,
} from "./store.ts";

export interface CleanReport {
  readonly packs: number;
  readonly bytes: number;
  readonly imports: number;
  /** Why packs without a model were left alone. */
  readonly note?: string;
}

export interface RemovalOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onWait?: (owner: string) => void;
}

/** Removes a model, then the packs that no other model refers to. A pack goes when its last block is not needed any more. */
export async function removeModel(store: Store, id: string, options: RemovalOptions = {}): Promise<CleanReport> {
  return await locked(store, options, async () => {
    await store.fs.remove(`${modelsFolder(store)}/${manifestName(id)}`);
    await store.fs.syncFolder(modelsFolder(store));
    return await sweep(store, false);
  });
}

/** Removes packs that no model refers to, and imports that were not finished. */
export async function cleanStore(store: Store, options: RemovalOptions = {}): Promise<CleanReport> {
  return await locked(store, options, () => sweep(store, true));
}

async function locked<T>(store: Store, { signal, onWait }: RemovalOptions, work: () => Promise<T>): Promise<T> {
  try {
    await using _lock = await lockToWrite(store, { signal, onWait: onWait ?? (() => undefined) });
    return await work();
  } catch (error) {
    signal?.throwIfAborted();
    throw storeFailure(error, store.folder);
  }
}

async function sweep(store: Store, withImports: boolean): Promise<CleanReport> {
  const models = await listModels(store);
  const damagedIds = models.filter(({ manifest }) => !manifest).map(({ id }) => id.slice(0, 12));
  let imports = 0;
  if (withImports) {
    const folder = importsFolder(store);
    for (const name of await store.fs.list(folder)) {
      await store.fs.removeFolder(`${folder}/${name}`);
      imports++;
    }
  }
  if (damagedIds.length > 0) {
    const note = `packs were left alone, because nobody knows what damaged models refer to: ${damagedIds.join(", ")}`;
    return { packs: 0, bytes: 0, imports, note };
  }
  const used = new Set(
    models.flatMap(({ manifest }) => manifest!.components.flatMap(({ blocks }) => blocks.map((b) => b.pack))),
  );
  let [packs, bytes] = [0, 0];
  for (const name of await packNames(store)) {
    if (used.has(name)) continue;
    bytes += (await store.fs.stat(packPath(store, name)))?.sizeBytes ?? 0;
    await store.fs.remove(packPath(store, name));
    packs++;
  }
  if (packs > 0) await store.fs.syncFolder(packsFolder(store));
  return { packs, bytes, imports };
}
