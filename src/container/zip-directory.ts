/**
 * @file The directory of a zip file, and entries that are stored as they are (PKWARE's APPNOTE, zip64 included): as torch.save writes. Nothing is unpacked;
 * encrypted entries, entries that overlap, and sizes beyond the file are refused.
 */
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";

export interface ZipEntry {
  readonly name: string;
  readonly lengthBytes: number;
  /** As it lies in the file. */
  readonly packedBytes: number;
  /** Then nothing here reads it. */
  readonly packed: boolean;
  readonly crc32: number;
  /** Of its local header. */
  readonly headerByte: number;
}

/** Longest comment behind a directory, and the record itself. */
const MAX_END_BYTES = 65_535 + 22;
/** A storage a tensor, and a few more. */
const MAX_ENTRIES = 65_536;
const MAX_DIRECTORY_BYTES = 32 * 1024 ** 2;
const LOCAL_BYTES = 30;
const FULL_32 = 0xffff_ffff;
const FULL_16 = 0xffff;

/** All entries by name. Rejects with ArtifactError `E_ZIP`. */
export async function readZipDirectory(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, ZipEntry>> {
  const { count, startByte, lengthBytes } = await findDirectory(source, signal);
  if (count > MAX_ENTRIES || lengthBytes > MAX_DIRECTORY_BYTES) {
    throw bad(source, `its directory is too large (found ${count} entries, allowed ${MAX_ENTRIES})`);
  }
  if (startByte + lengthBytes > source.byteLength) throw bad(source, "its directory lies beyond its end");
  const view = await readView(source, startByte, lengthBytes, signal);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > view.byteLength || view.getUint32(at, true) !== 0x0201_4b50)
      throw bad(source, `entry ${i} is damaged`);
    const { entry, recordBytes } = readRecord(source, view, at);
    if (entries.has(entry.name)) throw bad(source, `the name ${JSON.stringify(entry.name.slice(0, 80))} stands twice`);
    entries.set(entry.name, entry);
    at += recordBytes;
  }
  requireApart(source, [...entries.values()], startByte);
  return entries;
}

/** Where an entry's bytes begin: behind its local header, which must tell the same name. Rejects with ArtifactError `E_ZIP`. */
export async function entryStart(source: ByteSource, entry: ZipEntry, signal?: AbortSignal): Promise<number> {
  if (entry.packed)
    throw bad(source, `entry ${JSON.stringify(entry.name.slice(0, 80))} is packed, which torch.save never does`);
  const view = await readView(source, entry.headerByte, LOCAL_BYTES, signal);
  const nameBytes = view.getUint16(26, true);
  if (view.getUint32(0, true) !== 0x0403_4b50 || nameBytes !== encoder.encode(entry.name).length) {
    throw bad(source, `entry ${JSON.stringify(entry.name.slice(0, 80))} is not where its directory says`);
  }
  const start = entry.headerByte + LOCAL_BYTES + nameBytes + view.getUint16(28, true);
  if (start + entry.lengthBytes > source.byteLength) throw bad(source, "an entry goes beyond its end");
  return start;
}

const encoder = new TextEncoder();
const utf8 = new TextDecoder("utf-8", { fatal: true });

async function findDirectory(source: ByteSource, signal: AbortSignal | undefined) {
  const tailBytes = Math.min(MAX_END_BYTES, source.byteLength);
  const tailStart = source.byteLength - tailBytes;
  const view = await readView(source, tailStart, tailBytes, signal);
  for (let at = tailBytes - 22; at >= 0; at--) {
    if (view.getUint32(at, true) !== 0x0605_4b50 || at + 22 + view.getUint16(at + 20, true) !== tailBytes) continue;
    const count = view.getUint16(at + 10, true);
    const lengthBytes = view.getUint32(at + 12, true);
    const startByte = view.getUint32(at + 16, true);
    const is64 = count === FULL_16 || lengthBytes === FULL_32 || startByte === FULL_32;
    const locator = at - 20;
    if (!is64 && !(locator >= 0 && view.getUint32(locator, true) === 0x0706_4b50))
      return { count, startByte, lengthBytes };
    if (locator < 0 || view.getUint32(locator, true) !== 0x0706_4b50) throw bad(source, "its zip64 record is missing");
    const recordByte = Number(view.getBigUint64(locator + 8, true));
    if (recordByte + 56 > source.byteLength) throw bad(source, "its zip64 record lies beyond its end");
    const record = await readView(source, recordByte, 56, signal);
    if (record.getUint32(0, true) !== 0x0606_4b50) throw bad(source, "its zip64 record is damaged");
    return {
      count: Number(record.getBigUint64(32, true)),
      lengthBytes: Number(record.getBigUint64(40, true)),
      startByte: Number(record.getBigUint64(48, true)),
    };
  }
  throw bad(source, "its directory is missing (the file may be cut)");
}

function readRecord(
  source: ByteSource,
  view: DataView,
  at: number,
): { readonly entry: ZipEntry; readonly recordBytes: number } {
  const flags = view.getUint16(at + 8, true);
  const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => view.getUint16(at + field, true)) as [
    number,
    number,
    number,
  ];
  const recordBytes = 46 + nameBytes + extraBytes + commentBytes;
  if (at + recordBytes > view.byteLength) throw bad(source, "its directory is cut");
  let name: string;
  try {
    name = utf8.decode(new Uint8Array(view.buffer, view.byteOffset + at + 46, nameBytes));
  } catch (cause) {
    throw bad(source, "a name is not UTF-8", cause);
  }
  const shown = JSON.stringify(name.slice(0, 80));
  if ((flags & 1) !== 0) throw bad(source, `entry ${shown} is encrypted`);
  const extra = new DataView(view.buffer, view.byteOffset + at + 46 + nameBytes, extraBytes);
  const wide = wideFields(extra);
  const field = (offset: number) => {
    const value = view.getUint32(at + offset, true);
    return value === FULL_32 ? (wide.shift() ?? value) : value;
  };
  const lengthBytes = field(24);
  const packedBytes = field(20);
  const headerByte = field(42);
  const packed = view.getUint16(at + 10, true) !== 0 || packedBytes !== lengthBytes;
  if (headerByte + LOCAL_BYTES + packedBytes > source.byteLength) {
    throw bad(
      source,
      `entry ${shown} needs ${packedBytes} bytes at ${headerByte}, the file ends after ${source.byteLength}`,
    );
  }
  return {
    entry: { name, lengthBytes, packedBytes, packed, crc32: view.getUint32(at + 16, true), headerByte },
    recordBytes,
  };
}

/** The 64-bit numbers of a zip64 extra field, in its order: length, packed length, place. */
function wideFields(extra: DataView): number[] {
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const lengthBytes = extra.getUint16(at + 2, true);
    if (extra.getUint16(at, true) === 1) {
      const count = Math.min(3, Math.floor(Math.min(lengthBytes, extra.byteLength - at - 4) / 8));
      return Array.from({ length: count }, (_, i) => Number(extra.getBigUint64(at + 4 + 8 * i, true)));
    }
    at += 4 + lengthBytes;
  }
  return [];
}

function requireApart(source: ByteSource, entries: readonly ZipEntry[], directoryByte: number): void {
  let end = 0;
  for (const { name, headerByte, packedBytes } of entries.toSorted((a, b) => a.headerByte - b.headerByte)) {
    if (headerByte < end) throw bad(source, `entry ${JSON.stringify(name.slice(0, 80))} overlaps another one`);
    end = headerByte + LOCAL_BYTES + encoder.encode(name).length + packedBytes;
  }
  if (end > directoryByte) throw bad(source, "an entry overlaps its directory");
}

async function readView(
  source: ByteSource,
  startByte: number,
  lengthBytes: number,
  signal?: AbortSignal,
): Promise<DataView> {
  const bytes = new Uint8Array(lengthBytes);
  await source.read(startByte, bytes, signal);
  return new DataView(bytes.buffer);
}

function bad(source: ByteSource, problem: string, cause?: unknown): ArtifactError {
  return new ArtifactError({ code: "E_ZIP", subject: source.name, problem, next: "fetch the file again", cause });
}
