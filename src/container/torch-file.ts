/**
 * @file Files of torch.save (.pth, .pt, .ckpt, .bin): a zip with a pickle and one entry a storage (since PyTorch 1.6), or pickles and storages in a row
 * before. The pickle is read by a machine that runs nothing (pickle.ts); tensors stay where they lie in the file.
 */
import { crc32 } from "#zlib";
import type { ByteSource } from "../source/source.ts";
import { DTYPE_BYTES, tensorBytes } from "../tensor/dtype.ts";
import { unpickle } from "./pickle.ts";
import { type PickledStorage, PickledTensor, PickleError, type PickleValue, pickleRefusal } from "./pickle-value.ts";
import type { TensorEntry, TensorTable } from "./table.ts";
import { entryStart, readZipDirectory, type ZipEntry } from "./zip-directory.ts";

/** Dictionaries of tensors by their path: "" for the outermost, "params_ema", "state_dict" for those within. */
export type TorchTables = ReadonlyMap<string, TensorTable>;

/** SDXL's pickle has 300 kB. */
const MAX_PICKLE_BYTES = 16 * 1024 ** 2;
const MAX_DEPTH = 8;
const MAX_TENSORS = 65_536;
/** At the front of files before PyTorch 1.6, and what follows it. */
const MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;

/** Does a file that begins so come from torch.save? */
export function isTorchFile(head: Uint8Array): boolean {
  // A safetensors file may begin so too, with its header's length; its header then begins at byte 8.
  return isZip(head) || (head[0] === 0x80 && head[1] !== undefined && head[1] <= 5 && head[8] !== 0x7b);
}

function isZip(head: Uint8Array): boolean {
  return head[0] === 0x50 && head[1] === 0x4b && head[2] === 3 && head[3] === 4;
}

/**
 * The tensors of a file, without reading one of them.
 * Rejects with ArtifactError: `E_PICKLE` for what is no plain tensor or would run code, `E_ZIP`, `E_TRUNCATED`.
 */
export async function readTorchFile(source: ByteSource, signal?: AbortSignal): Promise<TorchTables> {
  const head = new Uint8Array(Math.min(4, source.byteLength));
  await source.read(0, head, signal);
  try {
    return isZip(head) ? await readZipped(source, signal) : await readLegacy(source, signal);
  } catch (error) {
    if (!(error instanceof PickleError)) throw error;
    throw pickleRefusal(source.name, error.message, error);
  }
}

/** Where a storage's bytes begin. Throws PickleError. */
type Place = (storage: PickledStorage) => number;

async function readZipped(source: ByteSource, signal: AbortSignal | undefined): Promise<TorchTables> {
  const entries = await readZipDirectory(source, signal);
  const pickles = [...entries.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  const [pickle] = pickles;
  if (!pickle || pickles.length > 1) throw new PickleError(`a zip file with ${pickles.length} pickles of tensors`);
  const root = pickle.name.slice(0, -"data.pkl".length);
  for (const name of entries.keys()) {
    if (name.startsWith(`${root}code/`)) throw new PickleError("a TorchScript program, which is code");
  }
  const order = entries.get(`${root}byteorder`);
  if (order && new TextDecoder().decode(await entryBytes(source, order, 16, signal)).trim() !== "little") {
    throw new PickleError("its numbers are not little-endian");
  }
  const bytes = await entryBytes(source, pickle, MAX_PICKLE_BYTES, signal);
  if (crc32(bytes) !== pickle.crc32) throw new PickleError("the checksum of its pickle is wrong");
  const { value } = unpickle(bytes);
  const found = tensorsOf(value);
  const starts = new Map<string, number>();
  for (const { storage } of [...found.values()].flatMap((group) => [...group.values()])) {
    if (starts.has(storage.key)) continue;
    const entry = entries.get(`${root}data/${storage.key}`);
    if (!entry) throw new PickleError(`storage ${JSON.stringify(storage.key.slice(0, 40))} is missing`);
    requireLength(storage, entry.lengthBytes);
    starts.set(storage.key, await entryStart(source, entry, signal));
  }
  const lengths = (storage: PickledStorage) => entries.get(`${root}data/${storage.key}`)!.lengthBytes;
  return placed(source, found, (storage) => {
    // Two kinds of numbers over one key: each must fit.
    requireLength(storage, lengths(storage));
    return starts.get(storage.key)!;
  });
}

async function readLegacy(source: ByteSource, signal: AbortSignal | undefined): Promise<TorchTables> {
  const bytes = new Uint8Array(Math.min(MAX_PICKLE_BYTES, source.byteLength));
  await source.read(0, bytes, signal);
  const magic = unpickle(bytes);
  if (magic.value !== MAGIC) throw new PickleError("a pickle that torch.save has not written");
  const protocol = unpickle(bytes, magic.endByte);
  if (protocol.value !== LEGACY_PROTOCOL) throw new PickleError("a protocol of torch.save that is not known");
  const system = unpickle(bytes, protocol.endByte);
  if (!(system.value instanceof Map) || system.value.get("little_endian") !== true) {
    throw new PickleError("its numbers are not little-endian");
  }
  const main = unpickle(bytes, system.endByte);
  const keys = unpickle(bytes, main.endByte);
  const found = tensorsOf(main.value);
  const storages = new Map<string, PickledStorage>();
  for (const { storage } of [...found.values()].flatMap((group) => [...group.values()])) {
    const known = storages.get(storage.key);
    if (known && (known.dtype !== storage.dtype || known.elements !== storage.elements)) {
      throw new PickleError(`storage ${JSON.stringify(storage.key.slice(0, 40))} is of two kinds`);
    }
    storages.set(storage.key, storage);
  }
  return placed(
    source,
    found,
    await legacyPlaces(source, { keys: keys.value, startByte: keys.endByte, storages }, signal),
  );
}

/** Each storage is its number of elements (u64) and its bytes; those that no tensor uses end the walk, since their kind is not known. */
async function legacyPlaces(
  source: ByteSource,
  {
    keys,
    startByte,
    storages,
  }: { readonly keys: PickleValue; readonly startByte: number; readonly storages: ReadonlyMap<string, PickledStorage> },
  signal: AbortSignal | undefined,
): Promise<Place> {
  if (!Array.isArray(keys)) throw new PickleError("the list of its storages is none");
  const starts = new Map<string, number>();
  const count = new DataView(new ArrayBuffer(8));
  let at = startByte;
  for (const key of keys) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (!storage || starts.has(storage.key))
      throw new PickleError("its list of storages names one that no tensor uses, or one twice");
    await source.read(at, new Uint8Array(count.buffer), signal);
    if (Number(count.getBigUint64(0, true)) !== storage.elements)
      throw new PickleError("a storage is not as long as its tensors say");
    starts.set(storage.key, at + 8);
    at += 8 + storage.elements * DTYPE_BYTES[storage.dtype];
    if (at > source.byteLength)
      throw new PickleError(`its storages need ${at} bytes, the file ends after ${source.byteLength}`);
  }
  return (storage) => {
    const start = starts.get(storage.key);
    if (start === undefined) throw new PickleError(`storage ${JSON.stringify(storage.key.slice(0, 40))} is missing`);
    return start;
  };
}

function requireLength({ key, elements, dtype }: PickledStorage, lengthBytes: number): void {
  const needed = elements * DTYPE_BYTES[dtype];
  if (needed === lengthBytes) return;
  throw new PickleError(
    `storage ${JSON.stringify(key.slice(0, 40))} needs ${needed} bytes, its entry has ${lengthBytes}`,
  );
}

async function entryBytes(
  source: ByteSource,
  entry: ZipEntry,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (entry.lengthBytes > maxBytes) {
    throw new PickleError(
      `${entry.name.slice(0, 80)} is too long (found ${entry.lengthBytes} bytes, allowed ${maxBytes})`,
    );
  }
  const bytes = new Uint8Array(entry.lengthBytes);
  await source.read(await entryStart(source, entry, signal), bytes, signal);
  return bytes;
}

/** The tensors of each dictionary, by its path and their names. Dictionaries within themselves end at a depth. */
function tensorsOf(root: PickleValue): Map<string, Map<string, PickledTensor>> {
  const groups = new Map<string, Map<string, PickledTensor>>();
  let visits = 0;
  const visit = (value: PickleValue, path: readonly string[]): void => {
    if (!(value instanceof Map)) return;
    if (path.length > MAX_DEPTH) throw new PickleError(`its dictionaries nest deeper than ${MAX_DEPTH}`);
    const group = new Map<string, PickledTensor>();
    for (const [key, item] of value) {
      if (++visits > MAX_TENSORS) throw new PickleError(`it holds more than ${MAX_TENSORS} values`);
      if (item instanceof PickledTensor) group.set(String(key), item);
      else visit(item, [...path, String(key)]);
    }
    if (group.size > 0) groups.set(path.join("/"), group);
  };
  visit(root, []);
  if (groups.size === 0) throw new PickleError("it holds no dictionary of tensors");
  return groups;
}

function placed(
  source: ByteSource,
  found: ReadonlyMap<string, ReadonlyMap<string, PickledTensor>>,
  place: Place,
): TorchTables {
  const tables = new Map<string, TensorTable>();
  for (const [path, group] of found) {
    const table = new Map<string, TensorEntry>();
    for (const [name, { storage, offsetElements, shape }] of group) {
      const { dtype } = storage;
      const startByte = place(storage) + offsetElements * DTYPE_BYTES[dtype];
      table.set(name, { name, dtype, shape, source, startByte, endByte: startByte + tensorBytes({ dtype, shape }) });
    }
    tables.set(path, table);
  }
  return tables;
}
