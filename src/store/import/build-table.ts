/** @file Stores a component block after block, in execution order; blocks that the store has already are left out. */
import { crc32 } from "#zlib";
import type { TensorTable } from "../../container/table.ts";
import { alignUp } from "../../tensor/align.ts";
import { DTYPE_BYTES, tensorBytes } from "../../tensor/dtype.ts";
import type { Field } from "../fields.ts";
import { PAGE_BYTES, readFully, type StoreFile } from "../fs.ts";
import type { ArtifactFacts, BlockAddress } from "../manifest.ts";
import { type BlockLayout, CHUNK_BYTES, chunkLength, MAX_COVERED_BYTES } from "../pack/block-layout.ts";
import { BufferPool } from "../pack/concurrency.ts";
import {
  type BlockCodec,
  chunkPlaces,
  decodePackBlock,
  extentBytes,
  HEADER_BYTES,
  type PackBlock,
} from "../pack/pack-format.ts";
import { CHUNKS_AHEAD, digestBlock, finishPack, type PlainReader, writeBlock } from "../pack/pack-writer.ts";
import { openPart } from "../pack/part-file.ts";
import { packPath, packsFolder } from "../store.ts";
import { type BuildContext, type BuiltComponent, manifestBlocks } from "./import-types.ts";
import { SavePoint } from "./save-point.ts";

/** In place of a pack's name: the pack that is being written. */
const OWN = "";

/** Plain bytes of a block, gathered from a tensor table. */
export function tableReader(layout: BlockLayout, table: TensorTable, signal?: AbortSignal): PlainReader {
  return async (startByte, into) => {
    const endByte = startByte + into.byteLength;
    into.fill(0);
    for (const tensor of layout.tensors) {
      const from = Math.max(startByte, tensor.offsetBytes);
      const to = Math.min(endByte, tensor.offsetBytes + tensorBytes(tensor));
      if (from >= to) continue;
      const entry = table.get(tensor.name);
      if (!entry) throw new Error(`no tensor named ${tensor.name} in the table`);
      const target = into.subarray(from - startByte, to - startByte);
      await entry.source.read(entry.startByte + (from - tensor.offsetBytes), target, signal);
    }
  };
}

/** Only 16-bit weights have planes worth packing. */
export function codecFor(layout: BlockLayout, codec: BlockCodec): BlockCodec {
  return layout.tensors.every(({ dtype }) => DTYPE_BYTES[dtype] === 2) ? codec : "plain";
}

/** `readers[i]` gives block i's plain bytes. `key` names this work in the journal. `facts`: of the artifact behind the readers. */
export async function buildSequential(
  context: BuildContext,
  key: string,
  layouts: readonly BlockLayout[],
  readers: readonly PlainReader[],
  facts?: ArtifactFacts,
): Promise<BuiltComponent> {
  const { store, folder, journal, signal } = context;
  const path = `${folder}/${key}.part`;
  const results = await resume(context, key, path, layouts);
  const mode = results.length > 0 && (await store.fs.stat(path)) ? "edit" : "create";
  // Memory that none of the chunks would fill is not cleared: of a small model that took longer than all else.
  const largestBytes = layouts.reduce((most, { plainBytes }) => Math.max(most, plainBytes), PAGE_BYTES);
  const chunkBytes = Math.min(CHUNK_BYTES, alignUp(largestBytes, PAGE_BYTES));
  await using opened = await openPart(store.fs, path, mode, new Uint8Array(CHUNKS_AHEAD * chunkBytes + PAGE_BYTES));
  const { file: part } = opened;
  const pool = new BufferPool(chunkBytes, opened.memory);
  const savePoint = new SavePoint(part, journal, context.requireLock);
  try {
    const own = new Map<string, PackBlock>();
    let end = HEADER_BYTES;
    const keep = (block: PackBlock) => {
      own.set(block.id, block);
      end = block.startByte + extentBytes(block);
    };
    for (const result of results) if ("block" in result) keep(result.block);
    for (const i of results.keys()) context.advance(key, layouts[i]!.plainBytes);
    for (let i = results.length; i < layouts.length; i++) {
      signal?.throwIfAborted();
      const layout = layouts[i]!;
      const shared = await findShared(context, layout, readers[i]!);
      if (shared) {
        results.push(shared);
        savePoint.add({ t: "ref", key, i, ...shared }, 0);
      } else {
        const shape = { plainBytes: layout.plainBytes, codec: codecFor(layout, context.codec) };
        const block = await writeBlock(part, end, shape, readers[i]!, { signal, pool });
        if (own.has(block.id)) {
          // The same content twice in one component: the next block is written over the second.
          results.push({ id: block.id, pack: OWN });
          savePoint.add({ t: "ref", key, i, id: block.id, pack: OWN }, 0);
        } else {
          keep(block);
          results.push({ block });
          savePoint.add({ t: "block", key, i, block }, extentBytes(block));
        }
      }
      context.advance(key, layout.plainBytes);
      await savePoint.flushIfDue();
    }
    await savePoint.flush();
    const sharedBlocks = results.filter((result) => "pack" in result && result.pack !== OWN).length;
    const name = own.size === 0 ? OWN : await finishPack(part, [...own.values()], end);
    const placed = results.map((result) => {
      if ("block" in result) return { id: result.block.id, pack: name };
      return result.pack === OWN ? { id: result.id, pack: name } : result;
    });
    await publish(context, { key, path, name, placed, sharedBlocks, facts });
    const blocks = manifestBlocks(layouts, placed, facts);
    return { blocks, sharedBlocks, writtenBytes: own.size === 0 ? 0 : end, artifact: facts };
  } finally {
    await savePoint.settle().catch(() => undefined);
  }
}

/** A block like this one that the store has, in the wanted coding. */
export async function findShared(
  { catalog, codec, packed, signal }: BuildContext,
  layout: BlockLayout,
  read: PlainReader,
): Promise<BlockAddress | undefined> {
  const head = new Uint8Array(chunkLength(layout.plainBytes, 0));
  const wanted = packed === "auto" ? undefined : codecFor(layout, codec);
  if (catalog.isEmpty) return undefined;
  await read(0, head);
  if (!catalog.hasCandidate(layout.plainBytes, crc32(head), wanted)) return undefined;
  const { id } = await digestBlock(layout.plainBytes, read, signal);
  const pack = await catalog.find(id, layout.label, wanted, signal);
  return pack === undefined ? undefined : { id, pack };
}

export interface FinishedWork {
  readonly key: string;
  /** The pack as it lies in the work folder. */
  readonly path: string;
  /** Empty: everything was in the store, and there is no new pack. */
  readonly name: string;
  readonly placed: readonly BlockAddress[];
  readonly sharedBlocks: number;
  readonly facts: ArtifactFacts | undefined;
}

/** The journal learns of the result first: a crash right after the pack got its name then costs nothing. */
export async function publish(context: BuildContext, work: FinishedWork): Promise<void> {
  const { store, journal, catalog, requireLock } = context;
  const { key, path, name, placed, sharedBlocks, facts } = work;
  await requireLock();
  await journal.append([{ t: "done", key, placed, sharedBlocks, facts }]);
  if (name === OWN) {
    await store.fs.remove(path);
    return;
  }
  await store.fs.rename(path, packPath(store, name));
  await store.fs.syncFolder(packsFolder(store));
  await catalog.add(name);
}

/** What an import has made of a block, or found: written here, or in a pack that is there. */
type BlockResult = { readonly block: PackBlock } | BlockAddress;

/** The blocks, from the first on, that an import before this one has finished and that are sound. */
async function resume(
  context: BuildContext,
  key: string,
  path: string,
  layouts: readonly BlockLayout[],
): Promise<BlockResult[]> {
  const { journal, store, catalog, signal } = context;
  const results: BlockResult[] = [];
  const entries = journal.entries.filter((entry) => entry.get("key").text() === key);
  const part = (await store.fs.stat(path)) ? await store.fs.open(path, "read") : undefined;
  try {
    for (const entry of entries) {
      const result = decodeResult(entry);
      if (!result) continue;
      // A later attempt may have begun again before the end of an earlier one: then its lines count.
      const index = entry.get("i").whole(0, layouts.length);
      const layout = layouts[index];
      if (index < results.length) results.length = index;
      if (index !== results.length || !layout) continue;
      if ("block" in result) {
        if (!part || result.block.plainBytes !== layout.plainBytes) continue;
        if (!(await isSound(part, result.block, signal))) continue;
      } else if (result.pack === OWN) {
        if (!results.some((earlier) => "block" in earlier && earlier.block.id === result.id)) continue;
      } else if (!catalog.claims(result.pack, result.id)) continue;
      results.push(result);
    }
  } finally {
    await part?.close();
  }
  if (results.length > 0) context.onEvent({ type: "resume", component: key, blocks: results.length, records: 0 });
  return results;
}

function decodeResult(entry: Field): BlockResult | undefined {
  const kind = entry.get("t").text();
  if (kind === "block") return { block: decodePackBlock(entry.get("block")) };
  return kind === "ref" ? { id: entry.get("id").text(), pack: entry.get("pack").text() } : undefined;
}

/** Whether a block of a part that was left behind has its checksums. */
export async function isSound(part: StoreFile, block: PackBlock, signal?: AbortSignal): Promise<boolean> {
  const { sizeBytes } = await part.stat();
  if (block.startByte + extentBytes(block) > sizeBytes) return false;
  const buffer = new Uint8Array(MAX_COVERED_BYTES);
  for (const [i, { startByte, coveredBytes }] of chunkPlaces(block).entries()) {
    signal?.throwIfAborted();
    const bytes = buffer.subarray(0, coveredBytes);
    await readFully(part, bytes, startByte, "the part of an import");
    if (crc32(bytes) !== block.crcs[i]) return false;
  }
  return true;
}
