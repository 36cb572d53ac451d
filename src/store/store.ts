/**
 * @file The store's folder: packs/ holds blocks, models/ their lists, imports/ what is not finished. One process writes at a
 * time; readers need no lock, because what has its final name never changes its content.
 *
 * Order of this room, from below: fs.ts and fields.ts; pack/ (the format of a pack, its reader and writers: it knows no model and
 * no store); manifest.ts, companion.ts; this file; catalog.ts, stored-model.ts, removal.ts, verify.ts, repair.ts; import/, which uses them all.
 */
import { UsageError } from "../errors.ts";
import { HEX64 } from "./fields.ts";
import { PARTIAL, type StoreFs, storeFailure } from "./fs.ts";
import { type Manifest, readManifest } from "./manifest.ts";
import type { HashThreads } from "./pack/hasher.ts";
import { Pack } from "./pack/pack.ts";

/** The right to write, until it is disposed. */
export interface HeldLock extends AsyncDisposable {
  /** Rejects if another process took the lock over, as it may from one that was suspended for long. */
  check(): Promise<void>;
}

/** Waits until this process may write. Rejects with the signal's reason. */
export type WriterLock = (options: {
  readonly signal?: AbortSignal | undefined;
  readonly onWait: (owner: string) => void;
}) => Promise<HeldLock>;

/** How fast a disk reads. */
export interface DiskSpeed {
  readonly bytesPerSecond: number;
  /** False: the system's page cache could not be kept out of the measurement. */
  readonly direct: boolean;
}

/** What the platform gives: on a machine's disk, node/disk/node-store.ts. */
export interface Store {
  readonly folder: string;
  readonly fs: StoreFs;
  readonly lock: WriterLock;
  /** Of the disk under a folder of the store. Absent where it can't be known. */
  readonly measureDisk?: (folder: string, signal?: AbortSignal) => Promise<DiskSpeed>;
  /** Absent: an artifact is hashed in the thread that decodes it. */
  readonly hashThreads?: HashThreads;
}

export function packsFolder({ folder }: Store): string {
  return `${folder}/packs`;
}

export function modelsFolder({ folder }: Store): string {
  return `${folder}/models`;
}

export function importsFolder({ folder }: Store): string {
  return `${folder}/imports`;
}

export function packPath(store: Store, name: string): string {
  return `${packsFolder(store)}/${name}.pack`;
}

export function openPack(store: Store, name: string): Promise<Pack> {
  return Pack.open(store.fs, packPath(store, name), name);
}

/** Names of all packs, sound or not. */
export async function packNames(store: Store): Promise<string[]> {
  return namesWith(await store.fs.list(packsFolder(store)), ".pack");
}

/** Ids of all models, sound or not. Rejects with ArtifactError or DeviceError where the folder can't be read. */
export async function modelIds(store: Store): Promise<string[]> {
  const names = await store.fs.list(modelsFolder(store)).catch((error: unknown) => {
    throw storeFailure(error, store.folder);
  });
  return namesWith(names, ".model");
}

function namesWith(files: readonly string[], suffix: string): string[] {
  const names = files.filter((file) => file.endsWith(suffix)).map((file) => file.slice(0, -suffix.length));
  return names.filter((name) => HEX64.test(name)).sort();
}

const REPAIR = "repair";

/** Where a repair makes blocks; nothing in it outlives it. */
export function repairFolder(store: Store): string {
  return `${importsFolder(store)}/${REPAIR}`;
}

/** Takes the lock for writing, then removes what killed processes left: files not yet published, the folder of a repair. */
export async function lockToWrite(
  store: Store,
  options: Parameters<Store["lock"]>[0],
): Promise<Awaited<ReturnType<Store["lock"]>>> {
  await using scope = new AsyncDisposableStack();
  const lock = scope.use(await store.lock(options));
  await removeLeftovers(store);
  scope.move();
  return lock;
}

async function removeLeftovers(store: Store): Promise<void> {
  const { fs } = store;
  for (const name of await fs.list(modelsFolder(store))) {
    if (name.endsWith(PARTIAL)) await fs.remove(`${modelsFolder(store)}/${name}`);
  }
  if ((await fs.list(importsFolder(store))).includes(REPAIR)) await fs.removeFolder(repairFolder(store));
}

export interface ListedModel {
  readonly id: string;
  readonly manifest?: Manifest;
  /** Why there is no manifest. */
  readonly problem?: string;
}

/** All models; damaged ones with their problem. */
export async function listModels(store: Store): Promise<ListedModel[]> {
  const models: ListedModel[] = [];
  for (const id of await modelIds(store)) {
    try {
      const manifest = await readManifest(store.fs, modelsFolder(store), id);
      if (manifest) models.push({ id, manifest });
    } catch (error) {
      models.push({ id, problem: error instanceof Error ? error.message : String(error) });
    }
  }
  return models;
}

/** The one model whose id begins so. Throws UsageError `E_STORE_MODEL`. */
export async function findModelId(store: Store, prefix: string): Promise<string> {
  const ids = (await modelIds(store)).filter((id) => /^[0-9a-f]{4,64}$/.test(prefix) && id.startsWith(prefix));
  if (ids.length === 1) return ids[0]!;
  throw new UsageError({
    code: "E_STORE_MODEL",
    subject: prefix,
    problem: ids.length === 0 ? "no model in the store has an id that begins so" : `${ids.length} models begin so`,
    next: "take an id from: solvay store list",
  });
}
