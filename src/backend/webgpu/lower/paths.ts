/**
 * @file Which kernels a device computes with. What changes bits (arithmetic in fp16) is a declared setting, `precision`; what
 * doesn't (reductions through subgroups) is used wherever the adapter has it. Both only after the self-test. Pure.
 */
import type { MatrixShape } from "../kernels/gemm-matrix-tiles.ts";
import type { Arithmetic } from "../kernels/wgsl.ts";

export interface KernelPaths {
  /** Arithmetic of linear layers and convolutions, where the graph allows less than fp32. */
  readonly products: Arithmetic;
  readonly attention: Arithmetic;
  /** Products by subgroup matrices (tensor cores) instead. */
  readonly matrix?: MatrixShape;
  /** Lanes of the smallest subgroup: reductions go from register to register among that many. */
  readonly lanes?: number;
}

/** What every adapter can do. */
export const BASELINE: KernelPaths = { products: "f32", attention: "f32" };

/** Of these paths, what an fp32 graph is computed with: only those that give the same bits as the baseline. */
export function fp32Paths({ lanes }: KernelPaths): KernelPaths {
  return { ...BASELINE, lanes };
}

/** For messages and the record of a picture: "fp32", "fp16 (shader-f16)", "fp16 (subgroup matrices)". */
export function describePrecision({ products, attention, matrix }: KernelPaths): string {
  if (matrix) return "fp16 (subgroup matrices)";
  return products === "f16" || attention === "f16" ? "fp16 (shader-f16)" : "fp32";
}
