/**
 * @file safetensors: u64 header length, JSON header, tensor bytes. Reads the header alone and refuses whatever leaves a byte
 * unexplained: holes, overlaps, sizes that don't fit, names that stand twice (docs/formats/safetensors.md).
 */
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";
import { DTYPE_BYTES, type DType, elementCount } from "../tensor/dtype.ts";
import { HeaderSyntaxError, type HeaderValue, parseHeaderJson } from "./header-json.ts";
import { sniffContainer } from "./sniff.ts";
import type { TensorEntry, TensorTable } from "./table.ts";

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

/** dtypes of the format that nothing here computes with, and the bits of an element. */
const FOREIGN_BITS: Readonly<Record<string, number>> = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  C64: 64,
};

/** A tensor of such a dtype. */
export interface ForeignTensor extends Omit<TensorEntry, "dtype"> {
  /** In the format's letters, e.g. "F8_E4M3". */
  readonly dtype: string;
}

export interface SafetensorsHeader {
  /** Tensors of the dtypes that are known here ... */
  readonly table: ReadonlyMap<string, TensorEntry>;
  /** ... and of the format's others. */
  readonly foreign: ReadonlyMap<string, ForeignTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Throws ArtifactError. */
export async function readSafetensorsHeader(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsHeader> {
  const kind = await sniffContainer(source, signal);
  if (kind !== "safetensors") {
    throw new ArtifactError({
      code: "E_NOT_WEIGHTS",
      subject: source.name,
      problem: "this is an LZR2 artifact, which changes a model and is none",
      next: "name a model's safetensors file or folder; the artifact goes over it by --artifact",
    });
  }
  const lengthField = new Uint8Array(LENGTH_BYTES);
  await source.read(0, lengthField, signal);
  const headerBytes = Number(new DataView(lengthField.buffer).getBigUint64(0, true));
  const allowedBytes = Math.min(MAX_HEADER_BYTES, source.byteLength - LENGTH_BYTES);
  if (headerBytes < 2 || headerBytes > allowedBytes) {
    const limit = headerBytes > MAX_HEADER_BYTES ? "E_ST_HEADER" : "E_TRUNCATED";
    const problem = `header length does not fit (found ${headerBytes} bytes, allowed 2 to ${allowedBytes}) at byte 0`;
    throw damaged(source, headerBytes < 2 ? "E_ST_HEADER" : limit, problem);
  }
  const raw = new Uint8Array(headerBytes);
  await source.read(LENGTH_BYTES, raw, signal);
  const fields = parseFields(source, raw);
  return collect(source, fields, LENGTH_BYTES + headerBytes);
}

function parseFields(source: ByteSource, raw: Uint8Array): ReadonlyMap<string, HeaderValue> {
  if (raw[0] !== 0x7b) throw damaged(source, "E_ST_HEADER", `header does not begin with "{" at byte ${LENGTH_BYTES}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
  } catch {
    throw damaged(source, "E_ST_HEADER", "header is not UTF-8");
  }
  try {
    const value = parseHeaderJson(text, MAX_TENSORS + 1);
    if (value instanceof Map) return value as ReadonlyMap<string, HeaderValue>;
  } catch (error) {
    if (!(error instanceof HeaderSyntaxError)) throw error;
    const problem = `header: ${error.message} at byte ${LENGTH_BYTES + error.offset}`;
    throw error.code === "E_DUP_KEY" ? oddlyWritten(source, error.code, problem) : damaged(source, error.code, problem);
  }
  throw damaged(source, "E_ST_HEADER", "header is no object");
}

function collect(source: ByteSource, fields: ReadonlyMap<string, HeaderValue>, dataStart: number): SafetensorsHeader {
  const table = new Map<string, TensorEntry>();
  const foreign = new Map<string, ForeignTensor>();
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of fields) {
    if (name === "__metadata__") {
      metadata = readMetadata(source, value);
      continue;
    }
    const entry = readEntry(source, name, value, dataStart);
    const dtype = DTYPES[entry.dtype];
    if (dtype) table.set(name, { ...entry, dtype });
    else foreign.set(name, entry);
  }
  requireGapless(source, [...table.values(), ...foreign.values()], dataStart);
  return { table, foreign, metadata };
}

/**
 * The header's tensors, all of dtypes that are known here.
 * @param purpose what they are for, for the message: "weights"
 * @throws ArtifactError `E_ST_DTYPE` that names the first other one
 */
export function requireKnownDTypes({ table, foreign }: SafetensorsHeader, file: string, purpose: string): TensorTable {
  const [first] = foreign.values();
  if (!first) return table;
  const more = foreign.size > 1 ? ` (and ${foreign.size - 1} more like it)` : "";
  throw new ArtifactError({
    code: "E_ST_DTYPE",
    subject: file,
    problem: `tensor ${quoted(first.name)} is ${first.dtype}${more}, which Solvay does not take as ${purpose} yet`,
    next: "use the model's fp16, bf16 or fp32 files",
  });
}

/** null counts as none, as in the safetensors library. */
function readMetadata(source: ByteSource, value: HeaderValue): ReadonlyMap<string, string> {
  if (value === null) return new Map();
  if (!(value instanceof Map)) throw oddlyWritten(source, "E_ST_HEADER", "__metadata__ is no object");
  for (const [key, item] of value as ReadonlyMap<string, HeaderValue>) {
    if (typeof item === "string") continue;
    throw oddlyWritten(source, "E_ST_HEADER", `__metadata__ holds something else than strings, under ${quoted(key)}`);
  }
  return value as ReadonlyMap<string, string>;
}

function readEntry(source: ByteSource, name: string, value: HeaderValue, dataStart: number): ForeignTensor {
  const odd = (code: string, problem: string) => oddlyWritten(source, code, `tensor ${quoted(name)}: ${problem}`);
  if (!(value instanceof Map)) throw odd("E_ST_HEADER", "no object");
  const fields = value as ReadonlyMap<string, HeaderValue>;
  for (const key of fields.keys()) {
    if (!["dtype", "shape", "data_offsets"].includes(key)) throw odd("E_ST_HEADER", `unknown field ${quoted(key)}`);
  }
  const dtype = fields.get("dtype");
  const bits = typeof dtype === "string" ? bitsOf(dtype) : undefined;
  if (typeof dtype !== "string" || bits === undefined) {
    throw odd("E_ST_DTYPE", `unknown dtype ${JSON.stringify(dtype)?.slice(0, 40)}`);
  }
  const shape = fields.get("shape");
  const offsets = fields.get("data_offsets");
  if (!isIntegers(shape) || shape.length > MAX_AXES)
    throw odd("E_ST_HEADER", `shape is no list of up to ${MAX_AXES} integers`);
  if (!isIntegers(offsets) || offsets.length !== 2) throw odd("E_ST_HEADER", "data_offsets is no pair of integers");
  const [begin, end] = offsets as readonly [number, number];
  const neededBits = elementCount(shape) * bits;
  if (!Number.isSafeInteger(neededBits)) throw odd("E_SIZE", `shape [${shape}] is larger than any file`);
  if (neededBits % 8 !== 0) throw odd("E_ST_DTYPE", `shape [${shape}] of ${dtype} does not end at a byte`);
  const neededBytes = neededBits / 8;
  if (begin > end || end - begin !== neededBytes) {
    throw odd("E_SIZE", `shape [${shape}] needs ${neededBytes} bytes, its range is ${begin}..${end}`);
  }
  if (dataStart + end > source.byteLength) {
    const problem = `needs bytes up to ${dataStart + end}, file ends after ${source.byteLength}`;
    throw damaged(source, "E_TRUNCATED", `tensor ${quoted(name)}: ${problem}`);
  }
  return { name, dtype, shape, source, startByte: dataStart + begin, endByte: dataStart + end };
}

function bitsOf(dtype: string): number | undefined {
  if (Object.hasOwn(FOREIGN_BITS, dtype)) return FOREIGN_BITS[dtype];
  const known = Object.hasOwn(DTYPES, dtype) ? DTYPES[dtype] : undefined;
  return known && 8 * DTYPE_BYTES[known];
}

/** An empty tensor (a marker, as "v_pred") has no bytes, and stands between two others. */
function requireGapless(source: ByteSource, entries: readonly ForeignTensor[], dataStart: number): void {
  const sorted = entries.toSorted((a, b) => a.startByte - b.startByte || a.endByte - b.endByte);
  let at = dataStart;
  for (const entry of sorted) {
    if (entry.startByte > at)
      throw oddlyWritten(source, "E_ST_HOLE", `bytes ${at}..${entry.startByte - 1} belong to no tensor`);
    if (entry.startByte < at) {
      const problem = `tensor ${quoted(entry.name)} overlaps its neighbour at byte ${entry.startByte}`;
      throw oddlyWritten(source, "E_ST_OVERLAP", problem);
    }
    at = entry.endByte;
  }
  if (at !== source.byteLength) {
    throw damaged(source, "E_ST_HOLE", `bytes ${at}..${source.byteLength - 1} belong to no tensor`);
  }
}

function isIntegers(value: HeaderValue | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => typeof item === "number");
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 120));
}

/** Bytes are missing, or are not those that were written. */
function damaged(source: ByteSource, code: string, problem: string): ArtifactError {
  return new ArtifactError({ code, subject: source.name, problem, next: "fetch the file again" });
}

/** The file is whole, but was written so: another copy of it is no better. */
function oddlyWritten(source: ByteSource, code: string, problem: string): ArtifactError {
  const next = "use a file that was written by the safetensors library";
  return new ArtifactError({ code, subject: source.name, problem, next });
}
