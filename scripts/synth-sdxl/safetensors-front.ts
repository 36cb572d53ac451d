/** @file What a safetensors file begins with: the length of its header and the header, tensors one behind the other without gaps. */
import { DTYPE_BYTES, type DType, elementCount } from "../../src/tensor/dtype.ts";

export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Tensor data begins at a multiple of this, as the safetensors crate aligns it. */
const ALIGNMENT_BYTES = 8;

/** u64 header length, JSON header padded with spaces; `dataBytes` must follow, in the order of `tensors`. Names are given once each. */
export function safetensorsFront(
  tensors: Iterable<TensorSpec>,
  metadata?: Readonly<Record<string, string>>,
): { readonly front: Uint8Array<ArrayBuffer>; readonly dataBytes: number } {
  // JSON.stringify of an object would lose a tensor named "__proto__".
  const member = (name: string, value: object) => `${JSON.stringify(name)}:${JSON.stringify(value)}`;
  const members = metadata ? [member("__metadata__", metadata)] : [];
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    const start = end;
    end += elementCount(shape) * DTYPE_BYTES[dtype];
    members.push(member(name, { dtype: dtype.toUpperCase(), shape, data_offsets: [start, end] }));
  }
  const json = new TextEncoder().encode(`{${members.join(",")}}`);
  const headerBytes = Math.ceil(json.byteLength / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  const front = new Uint8Array(8 + headerBytes).fill(0x20, 8);
  new DataView(front.buffer).setBigUint64(0, BigInt(headerBytes), true);
  front.set(json, 8);
  return { front, dataBytes: end };
}
