/**
 * @file Subgroup matrices for adapters that have none: the kernel's declarations replaced by plain loops, in which an
 * operand is its place in workgroup memory, and each lane holds its share of the sums. All of the kernel but the four intrinsics is then computed as it is.
 */

import type { OpenedGpu } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import { matrixDeclarations } from "../../src/backend/webgpu/kernels/gemm-matrix.ts";
import { MATRIX_STRIDE, type MatrixShape } from "../../src/backend/webgpu/kernels/gemm-matrix-tiles.ts";

/** `NONE` is zero, but only when it runs: unrolled, the loops would take a minute to compile. */
function emulation({ m, n, k, lanes }: MatrixShape): string {
  const share = (m * n) / lanes;
  return `
var<private> laneId: u32;
alias Left = u32;
alias Right = u32;
alias Sums = array<f32, ${share}>;
fn loadLeft(offset: u32) -> Left { return offset; }
fn loadRight(offset: u32) -> Right { return offset; }
fn multiplyAdd(left: Left, right: Right, sums: Sums) -> Sums {
  var found = sums;
  for (var e = 0u; e < ${share}u + NONE; e++) {
    let i = laneId + e * ${lanes}u;
    let a = left + i / ${n}u * ${MATRIX_STRIDE}u;
    let b = right + i % ${n}u * ${MATRIX_STRIDE}u;
    for (var j = 0u; j < ${k}u + NONE; j++) { found[e] = fma(f32(tileA[a + j]), f32(tileB[b + j]), found[e]); }
  }
  return found;
}
fn storeSums(offset: u32, sums: Sums) {
  var values = sums;
  for (var e = 0u; e < ${share}u + NONE; e++) { staging[offset + laneId + e * ${lanes}u] = values[e]; }
}`.replaceAll("NONE", "(P.m >> 31u)");
}

/** Makes a device compile matrix kernels with loops instead. */
export function emulateMatrices({ device }: OpenedGpu, shape: MatrixShape): void {
  const create = device.createShaderModule.bind(device);
  const native = matrixDeclarations(shape);
  device.createShaderModule = (descriptor) => {
    const { code } = descriptor;
    if (!code.includes(native)) return create(descriptor);
    const replaced = code
      .replace("enable chromium_experimental_subgroup_matrix;", "")
      .replace(native, () => emulation(shape))
      .replace("  let lane = t %", `  laneId = t % ${shape.lanes}u;\n  let lane = t %`);
    return create({ ...descriptor, code: replaced });
  };
}
