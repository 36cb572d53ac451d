/** @file Writes safetensors in memory, for files that tests need. */
import { UsageError } from "../src/errors.ts";
import { DTYPE_BYTES, type DType, elementCount } from "../src/tensor/dtype.ts";

export interface SafetensorsTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Row-major, little-endian. */
  readonly bytes: Uint8Array;
}

/** Tensor data begins at a multiple of this, as the safetensors crate aligns it. */
const ALIGNMENT_BYTES = 8;

/**
 * A whole file: u64 header length, JSON header padded with spaces, the tensors in the given order without gaps.
 * Throws UsageError `E_SIZE` if a tensor's bytes don't fit its shape, `E_DUP_KEY` for a name given twice.
 */
export function encodeSafetensors(
  tensors: Iterable<SafetensorsTensor>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const fields = new Map<string, object>();
  const parts: Uint8Array[] = [];
  let offset = 0;
  if (metadata) fields.set("__metadata__", metadata);
  for (const { name, dtype, shape, bytes } of tensors) {
    const neededBytes = elementCount(shape) * DTYPE_BYTES[dtype];
    if (bytes.byteLength !== neededBytes) {
      const problem = `shape [${shape}] of ${dtype} needs ${neededBytes} bytes (found ${bytes.byteLength})`;
      throw new UsageError({ code: "E_SIZE", subject: name, problem, next: "give all of the tensor's bytes" });
    }
    if (fields.has(name)) {
      const problem = "this name was already given";
      throw new UsageError({ code: "E_DUP_KEY", subject: name, problem, next: "give every tensor a name of its own" });
    }
    fields.set(name, { dtype: dtype.toUpperCase(), shape, data_offsets: [offset, offset + neededBytes] });
    parts.push(bytes);
    offset += neededBytes;
  }
  // Object.fromEntries would set the prototype for a tensor named "__proto__".
  const members = [...fields].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  const json = new TextEncoder().encode(`{${members.join(",")}}`);
  const headerBytes = Math.ceil(json.byteLength / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  const out = new Uint8Array(8 + headerBytes + offset).fill(0x20, 8, 8 + headerBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(headerBytes), true);
  out.set(json, 8);
  let at = 8 + headerBytes;
  for (const part of parts) {
    out.set(part, at);
    at += part.byteLength;
  }
  return out;
}
