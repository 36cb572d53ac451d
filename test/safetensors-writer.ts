/** @file Writes safetensors in memory, for files that tests need. */
import { safetensorsFront, type TensorSpec } from "../scripts/synth-sdxl/safetensors-front.ts";
import { UsageError } from "../src/errors.ts";
import { DTYPE_BYTES, elementCount } from "../src/tensor/dtype.ts";

export interface SafetensorsTensor extends TensorSpec {
  /** Row-major, little-endian. */
  readonly bytes: Uint8Array;
}

/**
 * A whole file: u64 header length, JSON header padded with spaces, the tensors in the given order without gaps.
 * Throws UsageError `E_SIZE` if a tensor's bytes don't fit its shape, `E_DUP_KEY` for a name given twice.
 */
export function encodeSafetensors(
  tensors: Iterable<SafetensorsTensor>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const parts = new Map<string, SafetensorsTensor>();
  for (const tensor of tensors) {
    const { name, dtype, shape, bytes } = tensor;
    const neededBytes = elementCount(shape) * DTYPE_BYTES[dtype];
    if (bytes.byteLength !== neededBytes) {
      const problem = `shape [${shape}] of ${dtype} needs ${neededBytes} bytes (found ${bytes.byteLength})`;
      throw new UsageError({ code: "E_SIZE", subject: name, problem, next: "give all of the tensor's bytes" });
    }
    if (parts.has(name) || (metadata && name === "__metadata__")) {
      const problem = "this name was already given";
      throw new UsageError({ code: "E_DUP_KEY", subject: name, problem, next: "give every tensor a name of its own" });
    }
    parts.set(name, tensor);
  }
  const { front, dataBytes } = safetensorsFront(parts.values(), metadata);
  const out = new Uint8Array(front.length + dataBytes);
  out.set(front);
  let at = front.length;
  for (const { bytes } of parts.values()) {
    out.set(bytes, at);
    at += bytes.byteLength;
  }
  return out;
}
