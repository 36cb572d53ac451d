/** @file LZR2 writer: one record at a time, from fp16 weights. The byte table is docs/formats/lzr2.md. */

import { packIndices } from "../codec/indices.ts";
import { encodeLattice, MAX_LATTICE_DIMENSION } from "../codec/lattice.ts";
import { overlayRowBytes } from "../codec/overlay.ts";
import { fitRecord, type Lzr2Mode, type RecordFit } from "../codec/record-fit.ts";
import { UsageError } from "../errors.ts";
import { elementCount, f16Values, numberToF16 } from "../tensor/dtype.ts";
import { firstNonFinite } from "../tensor/finite.ts";
import { LZR2_LIMITS } from "./lzr2.ts";

export type { Lzr2Mode } from "../codec/record-fit.ts";

/** An artifact's first bytes; records follow to the end of the file. */
export const LZR2_SIGNATURE: Uint8Array = new TextEncoder().encode("LZR2");

export interface Lzr2RecordInput {
  /** Parameter path in the diffusers UNet. */
  readonly key: string;
  /** [C, ...]: 1 to 8 axes. */
  readonly shape: readonly number[];
  /** Row-major: fp16 bits, or fp32 that is rounded to fp16. */
  readonly values: Uint16Array | Float32Array;
  readonly mode: Lzr2Mode;
}

export interface Lzr2RecordStats {
  /** Against the weights in fp16; 0 if lossless. */
  readonly maxAbsError: number;
  readonly rmsError: number;
  readonly weights: number;
  readonly overlayRows: number;
  /** Rows of the matrix that need no overlay. */
  readonly latticeRows: number;
}

export interface EncodedRecord {
  readonly stats: Lzr2RecordStats;
  readonly byteLength: number;
  /** The record's bytes in order, each chunk at most a few MiB beside the lattice's indices. */
  chunks(): Generator<Uint8Array>;
}

/** Rejects with UsageError: `E_LZR_HEADER` (key or shape that LZR2 can't hold), `E_SIZE`, `E_NONFINITE`, `E_FRACTION`. */
export async function encodeLzr2Record({ key, shape, values, mode }: Lzr2RecordInput): Promise<EncodedRecord> {
  const header = encodeHeader(key, shape, 1);
  const rows = shape[0]!;
  const columns = elementCount(shape) / rows;
  if (values.length !== rows * columns) {
    throw refuse("E_SIZE", key, `shape [${shape}] has ${rows * columns} weights (found ${values.length})`);
  }
  if (mode.kind === "lossy" && !(mode.overlayFraction >= 0 && mode.overlayFraction <= 1)) {
    throw refuse("E_FRACTION", key, `overlay fraction ${mode.overlayFraction}, allowed 0..1`);
  }
  const weights = values instanceof Uint16Array ? values : toF16(values);
  const bad = firstNonFinite("f16", new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength));
  if (bad) throw refuse("E_NONFINITE", key, `${bad.count} weights are not finite in fp16, first at index ${bad.index}`);

  const latticeDp = narrowDimension(rows, columns);
  const fit = fitRecord(weights, rows, Math.ceil(columns / latticeDp), mode);
  // u16 columns end at 65,535, and only the number of blocks widens them: then blocks are stored for their own sake.
  const needsBlocks = fit.codes !== undefined || (columns > 65536 && fit.overlay.length > 0);
  const dp = needsBlocks ? latticeDp : 1;
  const blocks = needsBlocks ? Math.ceil(columns / dp) : 0;
  const codes = fit.codes ?? new Int8Array(needsBlocks ? weights.length : 0);
  const indices = await packIndices(needsBlocks ? encodeLattice(codes, rows, columns, dp) : new Uint16Array(0));
  const rowBytes = overlayRowBytes(rows, blocks, dp);
  const head = [
    header,
    u32(dp),
    new Uint8Array(rows * dp * 4),
    bytesOf(fit.mean),
    bytesOf(fit.scale),
    u32(indices.byteLength),
    indices,
    u32(fit.overlay.length),
  ];
  return {
    stats: statsOf(fit, weights.length, rows, columns),
    byteLength: head.reduce((sum, part) => sum + part.byteLength, 0) + fit.overlay.length * rowBytes,
    *chunks() {
      yield* head;
      yield* overlayChunks(weights, fit.overlay, columns, rowBytes);
    },
  };
}

/** A record without payload: the base model's weight stays. Throws UsageError `E_LZR_HEADER`. */
export function encodeUntouchedRecord(key: string, shape: readonly number[]): Uint8Array {
  return encodeHeader(key, shape, 0);
}

function encodeHeader(key: string, shape: readonly number[], tf: number): Uint8Array {
  const name = new TextEncoder().encode(key);
  const { maxKeyBytes, maxAxes, maxElements } = LZR2_LIMITS;
  if (name.byteLength < 1 || name.byteLength > maxKeyBytes) {
    throw refuse("E_LZR_HEADER", key.slice(0, 80), `key of ${name.byteLength} bytes, allowed 1..${maxKeyBytes}`);
  }
  if (shape.length < 1 || shape.length > maxAxes) {
    throw refuse("E_LZR_HEADER", key, `shape with ${shape.length} axes, allowed 1..${maxAxes}`);
  }
  const elements = elementCount(shape);
  if (!shape.every((dim) => Number.isInteger(dim) && dim >= 1) || elements > maxElements) {
    throw refuse("E_LZR_HEADER", key, `shape [${shape}] has ${elements} weights, allowed 1..${maxElements}`);
  }
  const out = new Uint8Array(4 + name.byteLength + 4 + shape.length * 4 + 1);
  const view = new DataView(out.buffer);
  view.setUint32(0, name.byteLength, true);
  out.set(name, 4);
  const axesAt = 4 + name.byteLength;
  view.setUint32(axesAt, shape.length, true);
  for (const [axis, dim] of shape.entries()) view.setUint32(axesAt + 4 + axis * 4, dim, true);
  out[out.length - 1] = tf;
  return out;
}

/** The largest dimension at which overlay rows still take 8 bytes, where the matrix allows for 8 at all. */
function narrowDimension(rows: number, columns: number): number {
  for (let dp = MAX_LATTICE_DIMENSION; dp > 1; dp--) {
    if (overlayRowBytes(rows, Math.ceil(columns / dp), dp) === 8) return dp;
  }
  return overlayRowBytes(rows, columns, 1) === 8 ? 1 : MAX_LATTICE_DIMENSION;
}

function* overlayChunks(
  weights: Uint16Array,
  overlay: Uint32Array,
  columns: number,
  rowBytes: 8 | 12,
): Generator<Uint8Array> {
  const table = f16Values();
  const rowsAtOnce = LZR2_LIMITS.overlayChunkBytes / rowBytes;
  const stride = rowBytes / 4;
  for (let start = 0; start < overlay.length; start += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, overlay.length - start);
    const words = new Uint32Array(count * stride);
    const floats = new Float32Array(words.buffer);
    for (let i = 0, at = 0; i < count; i++, at += stride) {
      const cell = overlay[start + i]!;
      const row = Math.floor(cell / columns);
      const column = cell % columns;
      words[at] = rowBytes === 12 ? row : row | (column << 16);
      if (rowBytes === 12) words[at + 1] = column;
      floats[at + stride - 1] = table[weights[cell]!]!;
    }
    yield bytesOf(words);
  }
}

function statsOf(fit: RecordFit, weights: number, rows: number, columns: number): Lzr2RecordStats {
  let overlaid = 0;
  let last = -1;
  for (const cell of fit.overlay) {
    const row = Math.floor(cell / columns);
    if (row !== last) overlaid++;
    last = row;
  }
  return {
    maxAbsError: fit.maxAbsError,
    rmsError: Math.sqrt(fit.squaredError / weights),
    weights,
    overlayRows: fit.overlay.length,
    latticeRows: rows - overlaid,
  };
}

function toF16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = numberToF16(values[i]!);
  return out;
}

function u32(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value, true);
  return out;
}

function bytesOf(values: Float32Array | Uint32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function refuse(code: string, subject: string, problem: string): UsageError {
  return new UsageError({ code, subject, problem, next: "pack tensors that LZR2 can hold" });
}
