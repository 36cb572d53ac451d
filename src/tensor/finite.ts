/** @file Finds NaN and infinities in stored weights: exponent bits all ones. */
import type { DType } from "./dtype.ts";

const EXPONENT_MASK: Partial<Record<DType, number>> = { f16: 0x7c00, bf16: 0x7f80, f32: 0x7f800000 };

/** Index of the first such value and their number, or undefined. `bytes` aligned to the element size. */
export function firstNonFinite(dtype: DType, bytes: Uint8Array): { index: number; count: number } | undefined {
  const mask = EXPONENT_MASK[dtype];
  if (mask === undefined) return undefined;
  const words =
    dtype === "f32"
      ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
      : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  let count = 0;
  let index = -1;
  for (let i = 0; i < words.length; i++) {
    if ((words[i]! & mask) !== mask) continue;
    count++;
    if (index < 0) index = i;
  }
  return count > 0 ? { index, count } : undefined;
}
