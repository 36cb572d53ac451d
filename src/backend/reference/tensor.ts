/** @file What a reference kernel sees: shaped fp32 (or i32) data, and the kernel's type. */
import type { OpAttrs, OpName } from "../../ir/ops.ts";
import type { ActivationData } from "../backend.ts";

/** Row-major data with its logical shape. */
export interface ReferenceTensor {
  readonly shape: readonly number[];
  readonly data: ActivationData;
}

/** Computes one node: data of `shape`, never written to its inputs; may be an input's own data (reshape). */
export type Kernel<Op extends OpName> = (
  inputs: readonly ReferenceTensor[],
  attrs: OpAttrs[Op],
  shape: readonly number[],
) => Float32Array;

/** fp32 data of the `index`-th input. Throws TypeError if it is absent or holds integers. */
export function floats(inputs: readonly ReferenceTensor[], index: number): Float32Array {
  const data = inputs[index]?.data;
  if (!(data instanceof Float32Array)) throw new TypeError(`reference: input ${index} is not fp32`);
  return data;
}

/** i32 data of the `index`-th input. Throws TypeError if it is absent or holds floats. */
export function integers(inputs: readonly ReferenceTensor[], index: number): Int32Array {
  const data = inputs[index]?.data;
  if (!(data instanceof Int32Array)) throw new TypeError(`reference: input ${index} is not i32`);
  return data;
}

/** Shape of the `index`-th input. */
export function shapeOf(inputs: readonly ReferenceTensor[], index: number): readonly number[] {
  const input = inputs[index];
  if (!input) throw new TypeError(`reference: input ${index} is missing`);
  return input.shape;
}
