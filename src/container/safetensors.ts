/**
 * @file safetensors: u64 header length, JSON header, tensor bytes. Reads the header alone and refuses whatever leaves a byte
 * unexplained: holes, overlaps, sizes that don't fit, names that stand twice (docs/formats/safetensors.md).
 */
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";
import { DTYPE_BYTES, type DType, elementCount } from "../tensor/dtype.ts";
import { HeaderSyntaxError, type HeaderValue, parseHeaderJson } from "./header-json.ts";
import { sniffContainer } from "./sniff.ts";
import type { TensorEntry } from "./table.ts";

/** As in the safetensors crate; SDXL's headers are well under 1 MB. */
const MAX_HEADER_BYTES = 100_000_000;
/** SDXL has about 2,500 tensors; the largest known models stay under 100,000. */
export const MAX_TENSORS = 200_000;
const MAX_AXES = 8;
const LENGTH_BYTES = 8;

const DTYPES: Readonly<Record<string, DType>> = {
  F64: "f64",
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  I64: "i64",
  I32: "i32",
  I16: "i16",
  I8: "i8",
  U64: "u64",
  U32: "u32",
  U16: "u16",
  U8: "u8",
  BOOL: "bool",
};

export interface SafetensorsHeader {
  readonly table: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Throws ArtifactError. */
export async function readSafetensorsHeader(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsHeader> {
  const kind = await sniffContainer(source, signal);
  if (kind !== "safetensors") throw refuse(source, "E_ST_HEADER", `this is ${kind}, not safetensors`);
  const lengthField = new Uint8Array(LENGTH_BYTES);
  await source.read(0, lengthField, signal);
  const headerBytes = Number(new DataView(lengthField.buffer).getBigUint64(0, true));
  const allowedBytes = Math.min(MAX_HEADER_BYTES, source.byteLength - LENGTH_BYTES);
  if (headerBytes < 2 || headerBytes > allowedBytes) {
    const limit = headerBytes > MAX_HEADER_BYTES ? "E_ST_HEADER" : "E_TRUNCATED";
    const problem = `header length does not fit (found ${headerBytes} bytes, allowed 2 to ${allowedBytes}) at byte 0`;
    throw refuse(source, headerBytes < 2 ? "E_ST_HEADER" : limit, problem);
  }
  const raw = new Uint8Array(headerBytes);
  await source.read(LENGTH_BYTES, raw, signal);
  const fields = parseFields(source, raw);
  return collect(source, fields, LENGTH_BYTES + headerBytes);
}

function parseFields(source: ByteSource, raw: Uint8Array): ReadonlyMap<string, HeaderValue> {
  if (raw[0] !== 0x7b) throw refuse(source, "E_ST_HEADER", `header does not begin with "{" at byte ${LENGTH_BYTES}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
  } catch {
    throw refuse(source, "E_ST_HEADER", "header is not UTF-8");
  }
  try {
    const value = parseHeaderJson(text, MAX_TENSORS + 1);
    if (value instanceof Map) return value as ReadonlyMap<string, HeaderValue>;
  } catch (error) {
    if (!(error instanceof HeaderSyntaxError)) throw error;
    throw refuse(source, error.code, `header: ${error.message} at byte ${LENGTH_BYTES + error.offset}`);
  }
  throw refuse(source, "E_ST_HEADER", "header is no object");
}

function collect(source: ByteSource, fields: ReadonlyMap<string, HeaderValue>, dataStart: number): SafetensorsHeader {
  const table = new Map<string, TensorEntry>();
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of fields) {
    if (name === "__metadata__") metadata = readMetadata(source, value);
    else table.set(name, readEntry(source, name, value, dataStart));
  }
  requireGapless(source, [...table.values()], dataStart);
  return { table, metadata };
}

function readMetadata(source: ByteSource, value: HeaderValue): ReadonlyMap<string, string> {
  if (!(value instanceof Map)) throw refuse(source, "E_ST_HEADER", "__metadata__ is no object");
  for (const item of (value as ReadonlyMap<string, HeaderValue>).values()) {
    if (typeof item !== "string") throw refuse(source, "E_ST_HEADER", "__metadata__ holds something else than strings");
  }
  return value as ReadonlyMap<string, string>;
}

function readEntry(source: ByteSource, name: string, value: HeaderValue, dataStart: number): TensorEntry {
  const wrong = (code: string, problem: string) =>
    refuse(source, code, `tensor ${JSON.stringify(name.slice(0, 120))}: ${problem}`);
  if (!(value instanceof Map)) throw wrong("E_ST_HEADER", "no object");
  const fields = value as ReadonlyMap<string, HeaderValue>;
  for (const key of fields.keys()) {
    if (!["dtype", "shape", "data_offsets"].includes(key))
      throw wrong("E_ST_HEADER", `unknown field "${key.slice(0, 40)}"`);
  }
  const dtypeName = fields.get("dtype");
  const dtype = typeof dtypeName === "string" && Object.hasOwn(DTYPES, dtypeName) ? DTYPES[dtypeName] : undefined;
  if (!dtype) throw wrong("E_ST_DTYPE", `unknown dtype ${JSON.stringify(dtypeName)?.slice(0, 40)}`);
  const shape = fields.get("shape");
  const offsets = fields.get("data_offsets");
  if (!isIntegers(shape) || shape.length > MAX_AXES)
    throw wrong("E_ST_HEADER", `shape is no list of up to ${MAX_AXES} integers`);
  if (!isIntegers(offsets) || offsets.length !== 2) throw wrong("E_ST_HEADER", "data_offsets is no pair of integers");
  const [begin, end] = offsets as readonly [number, number];
  const neededBytes = elementCount(shape) * DTYPE_BYTES[dtype];
  if (!Number.isSafeInteger(neededBytes)) throw wrong("E_SIZE", `shape [${shape}] is larger than any file`);
  if (begin > end || end - begin !== neededBytes) {
    throw wrong("E_SIZE", `shape [${shape}] needs ${neededBytes} bytes, its range is ${begin}..${end}`);
  }
  if (dataStart + end > source.byteLength) {
    throw wrong("E_TRUNCATED", `needs bytes up to ${dataStart + end}, file ends after ${source.byteLength}`);
  }
  return { name, dtype, shape, source, startByte: dataStart + begin, endByte: dataStart + end };
}

function requireGapless(source: ByteSource, entries: readonly TensorEntry[], dataStart: number): void {
  const sorted = entries.toSorted((a, b) => a.startByte - b.startByte || a.endByte - b.endByte);
  let at = dataStart;
  for (const entry of sorted) {
    if (entry.startByte === entry.endByte) {
      throw refuse(source, "E_ST_EMPTY", `tensor ${JSON.stringify(entry.name.slice(0, 120))} has no elements`);
    }
    if (entry.startByte > at)
      throw refuse(source, "E_ST_HOLE", `bytes ${at}..${entry.startByte - 1} belong to no tensor`);
    if (entry.startByte < at) {
      const name = JSON.stringify(entry.name.slice(0, 120));
      throw refuse(source, "E_ST_OVERLAP", `tensor ${name} overlaps its neighbour at byte ${entry.startByte}`);
    }
    at = entry.endByte;
  }
  if (at !== source.byteLength) {
    throw refuse(source, "E_ST_HOLE", `bytes ${at}..${source.byteLength - 1} belong to no tensor`);
  }
}

function isIntegers(value: HeaderValue | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => typeof item === "number");
}

function refuse(source: ByteSource, code: string, problem: string): ArtifactError {
  return new ArtifactError({ code, subject: source.name, problem, next: "fetch the file again" });
}
