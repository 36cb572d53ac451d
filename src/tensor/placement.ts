/** @file Tensors side by side: the one rule for their offsets, in a block on the disk and in the host's memory. */
import { alignUp, TENSOR_ALIGNMENT_BYTES } from "./align.ts";
import { type DType, tensorBytes } from "./dtype.ts";

export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** With its place among others. */
export interface PlacedTensor extends TensorSpec {
  /** From where the first one begins; a multiple of `TENSOR_ALIGNMENT_BYTES`. */
  readonly offsetBytes: number;
}

/** Each tensor at the next multiple of `TENSOR_ALIGNMENT_BYTES` behind the one before it. `endByte`: of the last, not aligned; exclusive. */
export function placeTensors(tensors: readonly TensorSpec[]): {
  readonly placed: readonly PlacedTensor[];
  readonly endByte: number;
} {
  let endByte = 0;
  const placed = tensors.map(({ name, dtype, shape }) => {
    const offsetBytes = alignUp(endByte, TENSOR_ALIGNMENT_BYTES);
    endByte = offsetBytes + tensorBytes({ dtype, shape });
    return { name, dtype, shape, offsetBytes };
  });
  return { placed, endByte };
}
