/** @file Takes models out of the store, and what nothing refers to any more. */

import { strayCompanions } from "./companion.ts";
import { storeFailure } from "./fs.ts";
import { manifestName } from "./manifest.ts";
import {
  type HeldLock,
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
  /** What models had got later, and none asks for any more. */
  readonly companions: number;
  readonly packs: number;
  readonly bytes: number;
  readonly imports: number;
  /** Why packs without a model were left alone. */
  readonly note?: string | undefined;
}

export interface RemovalOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onWait?: (owner: string) => void;
}

/**
 * Removes a model, then its companions and the packs that no other model needs. A pack goes when its last block is not needed any
 * more. What is cut off is finished by the next removal or cleaning.
 */
export async function removeModel(store: Store, id: string, options: RemovalOptions = {}): Promise<CleanReport> {
  return await locked(store, options, async (lock) => {
    await removeManifests(store, lock, [id]);
    return await sweep(store, lock, false);
  });
}

/** Removes companions that no model asks for, packs that nothing refers to, and imports that were not finished. */
export async function cleanStore(store: Store, options: RemovalOptions = {}): Promise<CleanReport> {
  return await locked(store, options, (lock) => sweep(store, lock, true));
}

async function locked<T>(
  store: Store,
  { signal, onWait }: RemovalOptions,
  work: (lock: HeldLock) => Promise<T>,
): Promise<T> {
  try {
    await using lock = await lockToWrite(store, { signal, onWait: onWait ?? (() => undefined) });
    return await work(lock);
  } catch (error) {
    signal?.throwIfAborted();
    throw storeFailure(error, store.folder);
  }
}

/** Asks before each thing that goes whether the lock is still ours: another process may be making what looks unused. */
async function sweep(store: Store, lock: HeldLock, withImports: boolean): Promise<CleanReport> {
  const models = await listModels(store);
  const damagedIds = models.filter(({ manifest }) => !manifest).map(({ id }) => id.slice(0, 12));
  let imports = 0;
  if (withImports) {
    const folder = importsFolder(store);
    for (const name of await store.fs.list(folder)) {
      await lock.check();
      await store.fs.removeFolder(`${folder}/${name}`);
      imports++;
    }
  }
  if (damagedIds.length > 0) {
    const note = `packs were left alone, because nobody knows what damaged models refer to: ${damagedIds.join(", ")}`;
    return { companions: 0, packs: 0, bytes: 0, imports, note };
  }
  const manifests = models.map(({ manifest }) => manifest!);
  const stray = new Set(strayCompanions(manifests).map(({ id }) => id));
  await removeManifests(store, lock, [...stray]);
  const kept = manifests.filter(({ id }) => !stray.has(id));
  const used = new Set(kept.flatMap(({ components }) => components.flatMap(({ blocks }) => blocks.map((b) => b.pack))));
  let [packs, bytes] = [0, 0];
  for (const name of await packNames(store)) {
    if (used.has(name)) continue;
    await lock.check();
    bytes += (await store.fs.stat(packPath(store, name)))?.sizeBytes ?? 0;
    await store.fs.remove(packPath(store, name));
    packs++;
  }
  if (packs > 0) await store.fs.syncFolder(packsFolder(store));
  return { companions: stray.size, packs, bytes, imports };
}

async function removeManifests(store: Store, lock: HeldLock, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await lock.check();
    await store.fs.remove(`${modelsFolder(store)}/${manifestName(id)}`);
  }
  if (ids.length > 0) await store.fs.syncFolder(modelsFolder(store));
}
