/** @file Offsets that are multiples of something. */

export function alignUp(bytes: number, alignmentBytes: number): number {
  return Math.ceil(bytes / alignmentBytes) * alignmentBytes;
}

/** Of tensors side by side: enough for any vector unit, and for typed-array views of every dtype. */
export const TENSOR_ALIGNMENT_BYTES = 64;
