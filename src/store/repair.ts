/**
 * @file Repairs damaged blocks one by one. Each is made again from the sources, and takes its place only if its content has the
 * checksum that is its name. A crash leaves it damaged: the next check finds it again.
 */
import { Catalog } from "./catalog.ts";
import { readFully, storeFailure, writeFully } from "./fs.ts";
import { type ManifestBlock, publishManifest } from "./manifest.ts";
import { CHUNK_BYTES } from "./pack/block-layout.ts";
import { extentBytes, HEADER_BYTES, type PackBlock } from "./pack/pack-format.ts";
import { finishPack, type PlainReader, writeBlock } from "./pack/pack-writer.ts";
import {
  type HeldLock,
  listModels,
  lockToWrite,
  modelsFolder,
  openPack,
  packPath,
  packsFolder,
  repairFolder,
  type Store,
} from "./store.ts";
import { type StoreProblem, type VerifyProgress, verifyModel } from "./verify.ts";

/** Opens a block's sources. Rejects with a SolvayError that says why that can't be. */
export type Rebuild = (component: string, block: ManifestBlock) => Promise<PlainReader>;

export interface RepairReport {
  /** Labels of blocks that are sound again. */
  readonly repaired: readonly string[];
  /** What is still wrong; index and pack problems need the model to be imported again. */
  readonly left: readonly StoreProblem[];
}

export async function repairModel(
  store: Store,
  id: string,
  rebuild: Rebuild,
  progress: VerifyProgress & { readonly onWait?: (owner: string) => void } = {},
): Promise<RepairReport> {
  const { signal, onWait = () => undefined } = progress;
  try {
    await using lock = await lockToWrite(store, { signal, onWait });
    const problems = await verifyModel(store, id, progress);
    const repaired: string[] = [];
    const done = new Set<string>();
    for (const { kind, component, block, pack } of problems) {
      if (kind === "gap") await zeroGaps(store, lock, pack!);
      if (kind !== "block" || done.has(block!.id)) continue;
      done.add(block!.id);
      if (await repairBlock(store, lock, block!, await rebuild(component!, block!), signal))
        repaired.push(block!.label);
    }
    return { repaired, left: problems.length === 0 ? [] : await verifyModel(store, id, { signal }) };
  } catch (error) {
    signal?.throwIfAborted();
    throw storeFailure(error, store.folder);
  }
}

/** False if the sources give other bytes than the ones that were imported. */
async function repairBlock(
  store: Store,
  lock: HeldLock,
  wanted: ManifestBlock,
  read: PlainReader,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const folder = repairFolder(store);
  const path = `${folder}/${wanted.id}.part`;
  await store.fs.makeFolder(folder);
  const codec = await codecOf(store, wanted);
  const part = await store.fs.open(path, "create");
  try {
    const made = await writeBlock(part, HEADER_BYTES, { plainBytes: wanted.plainBytes, codec }, read, { signal });
    if (made.id !== wanted.id) return false;
    await lock.check();
    const place = await placeOf(store, wanted, made);
    if (place) {
      const pack = await store.fs.open(packPath(store, wanted.pack), "edit");
      try {
        const buffer = new Uint8Array(CHUNK_BYTES);
        for (let done = 0; done < extentBytes(made); done += CHUNK_BYTES) {
          const piece = buffer.subarray(0, Math.min(CHUNK_BYTES, extentBytes(made) - done));
          await readFully(part, piece, made.startByte + done, path);
          await writeFully(pack, piece, place.startByte + done);
        }
        await pack.sync();
      } finally {
        await pack.close();
      }
      return true;
    }
    // Another version of zlib packed it differently: the block gets a pack of its own.
    const name = await finishPack(part, [made], made.startByte + extentBytes(made));
    await store.fs.rename(path, packPath(store, name));
    await store.fs.syncFolder(packsFolder(store));
    await pointTo(store, lock, wanted, name);
    return true;
  } finally {
    await part.close();
    await store.fs.removeFolder(folder);
  }
}

async function codecOf(store: Store, { id, pack }: ManifestBlock): Promise<PackBlock["codec"]> {
  await using catalog = await Catalog.open(store);
  return catalog.codecOf(pack, id) ?? "plain";
}

/** The block's place in its pack, if the stored bytes made now are the very ones that belong there. */
async function placeOf(
  store: Store,
  { id, pack: name }: ManifestBlock,
  made: PackBlock,
): Promise<PackBlock | undefined> {
  await using pack = await openPack(store, name);
  const place = pack.get(id);
  const same = place?.codec === made.codec && `${place.crcs} ${place.sizes}` === `${made.crcs} ${made.sizes}`;
  return same ? place : undefined;
}

async function pointTo(store: Store, lock: HeldLock, { id, pack }: ManifestBlock, name: string): Promise<void> {
  for (const { manifest } of await listModels(store)) {
    if (!manifest) continue;
    let changed = false;
    const components = manifest.components.map((component) => {
      const blocks = component.blocks.map((block) => {
        if (block.id !== id || block.pack !== pack) return block;
        changed = true;
        return { ...block, pack: name };
      });
      return { ...component, blocks };
    });
    if (!changed) continue;
    await lock.check();
    await publishManifest(store.fs, modelsFolder(store), { ...manifest, components });
  }
}

async function zeroGaps(store: Store, lock: HeldLock, name: string): Promise<void> {
  await using pack = await openPack(store, name);
  await lock.check();
  const file = await store.fs.open(packPath(store, name), "edit");
  try {
    const zeros = new Uint8Array(CHUNK_BYTES);
    for (const { startByte, endByte } of pack.gaps()) {
      for (let at = startByte; at < endByte; at += CHUNK_BYTES) {
        await writeFully(file, zeros.subarray(0, Math.min(CHUNK_BYTES, endByte - at)), at);
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
}
