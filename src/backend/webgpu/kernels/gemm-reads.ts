/**
 * @file How product kernels read their operands from device memory, four values along K at a time. A quad stays as it is stored
 * until it is used: its conversion right after the read would wait for the memory, and nothing could be computed meanwhile.
 * Rows beyond the last are read as the last one (their results aren't stored), so that reads need no branch for each row.
 */

import type { GemmVariant } from "./gemm-variant.ts";
import { type At, lines } from "./text.ts";
import { type Arithmetic, quadView, readQuadAs, readScalarAs } from "./wgsl.ts";

/** Of what lies in workgroup memory. */
export function arithmeticOf(v: GemmVariant): Arithmetic {
  return v.arithmetic ?? "f32";
}

/** Type of registers that hold a quad between its reading and its use. */
export function rawType(v: GemmVariant, operand: "a" | "b"): string {
  if (!v.quadK) return `vec4<${arithmeticOf(v)}>`;
  return operand === "a" ? "vec4<f32>" : quadView(v.bStorage);
}

/** vec4 of the kernel's arithmetic from such registers. */
export function unpacked(v: GemmVariant, operand: "a" | "b", raw: string): string {
  if (!v.quadK) return raw;
  return readQuadAs(arithmeticOf(v), operand === "a" ? "f32" : v.bStorage, () => raw, "");
}

/**
 * Functions. Four at once: `readA(i)`, `readB(i)` of quad i (see `quadA`, `quadB`); else `readA(row, k)`, `readB(row, k)`, with
 * zeros outside. Images: `pixelOf(row, tapY, tapX)`, negative outside, and `readPixel(pixel, c)`.
 */
export function readFunctions(v: GemmVariant, at: At): string {
  const arithmetic = arithmeticOf(v);
  const scalars = (operand: "a" | "b", rows: string, start: string, stride: string) => {
    const storage = operand === "a" ? "f32" : v.bStorage;
    const one = (index: string) => readScalarAs(arithmetic, storage, (i) => at(operand, i), index);
    return `fn read${operand.toUpperCase()}(row: u32, k: u32) -> vec4<${arithmetic}> {
  var r = vec4<${arithmetic}>();
  if (row >= ${rows}) { return r; }
  let i = ${start} + row * ${stride} + k;
${lines(4, (j) => `  if (k + ${j}u < P.k) { r[${j}] = ${one(`i + ${j}u`)}; }`)}
  return r;
}`;
  };
  const readB = v.quadK
    ? `fn readB(i: u32) -> ${rawType(v, "b")} { return ${at("b", "i")}; }`
    : scalars("b", v.geglu ? "(2u * P.n)" : "P.n", "P.bStart", "P.ldb");
  if (v.conv) return `${imageFunctions(v, at)}\n${readB}`;
  const readA = v.quadK
    ? `fn readA(i: u32) -> vec4<f32> { return ${at("a", "i")}; }`
    : scalars("a", "P.m", "P.aStart", "P.lda");
  return `${readA}\n${readB}`;
}

function imageFunctions(v: GemmVariant, at: At): string {
  const arithmetic = arithmeticOf(v);
  // A row of the product is a pixel of the output; its patch starts at (y, x) of the grid that the kernel slides over.
  const source = v.conv!.upsample
    ? "let sy = (y * P.inHeight) / P.gridHeight; let sx = (x * P.inWidth) / P.gridWidth;"
    : "let sy = y; let sx = x;";
  const pixelOf = `
fn pixelOf(row: u32, tapY: u32, tapX: u32) -> i32 {
  let m = min(row, P.m - 1u);
  let size = P.outHeight * P.outWidth;
  let image = m / size;
  let inImage = m - image * size;
  let line = inImage / P.outWidth;
  let y = i32(line) * P.stride - P.padTop + i32(tapY);
  let x = i32(inImage - line * P.outWidth) * P.stride - P.padLeft + i32(tapX);
  if (y < 0 || y >= P.gridHeight || x < 0 || x >= P.gridWidth) { return -1; }
  ${source}
  return (i32(image) * P.inHeight + sy) * P.inWidth + sx;
}`;
  const unit = v.quadK ? ">> 2u" : "";
  const type = v.quadK ? "vec4<f32>" : arithmetic;
  const one = (operand: string, index: string) =>
    v.quadK ? at(operand, `(${index}) ${unit}`) : readScalarAs(arithmetic, "f32", (i) => at(operand, i), index);
  const rest = "(P.channelsIn - P.channelsFirst)";
  const read =
    v.slots.a2 === undefined
      ? `return ${one("a", "u32(pixel) * P.channelsIn + c")};`
      : `if (c >= P.channelsFirst) { return ${one("a2", `u32(pixel) * ${rest} + c - P.channelsFirst`)}; }
  return ${one("a", "u32(pixel) * P.channelsFirst + c")};`;
  return `${pixelOf}
fn readPixel(pixel: i32, c: u32) -> ${type} {
  if (pixel < 0) { return ${type}(); }
  ${read}
}`;
}

/** Quad of row `row` of A at K `k`, for `readA`. */
export function quadA(row: string, k: string): string {
  return `(P.aStart + min(${row}, P.m - 1u) * P.lda + ${k}) >> 2u`;
}

/** The same of B, of whose rows `limit` are there. */
export function quadB(row: string, k: string, limit: string): string {
  return `(P.bStart + min(${row}, ${limit} - 1u) * P.ldb + ${k}) >> 2u`;
}

/** Statements that move channel `c` and tap (`tapX`, `tapY`) `depth` along K, and what follows once the tap has changed. */
export function advanceTap(
  { c, tapX, tapY }: { readonly c: string; readonly tapX: string; readonly tapY: string },
  depth: number,
  changed: string,
): string {
  return `      ${c} += ${depth}u;
      if (${c} >= P.channelsIn) {
        while (${c} >= P.channelsIn) {
          ${c} -= P.channelsIn;
          ${tapX} += 1u;
          if (${tapX} == P.kernelWidth) { ${tapX} = 0u; ${tapY} += 1u; }
        }
${changed}
      }`;
}
