/**
 * @file Products of matrices, and convolutions as products without a patch matrix (implicit GEMM): out [M, N] from A [M, K]
 * (rows of tokens, or patches gathered from an NHWC image) and B [N, K] (weights as stored, K contiguous).
 *
 * A workgroup computes a tile by rounds of 16 along K: each thread reads blocks of 4 or 2 rows x 4 K of both operands into
 * registers (the next round's, while this one is computed), transposes them there and stores them along rows, so that shared
 * memory holds both operands K-major. A thread's 8x8 results take 4 vec4 reads for 64 FMA: 4 FMA a word, what Pascal's 128 FMA and 32 words
 * a clock need. Warps are 8 columns x 4 rows of threads (each vec4 read is one pass); stores are XOR-swizzled by 4 vec4, so
 * that neither side meets a bank conflict. Sources: siboehm's SGEMM kernels 6 to 10 (siboehm.com/articles/22/CUDA-MMM),
 * CUTLASS (thread-block swizzle). Cost: 2 M N K operations; reads (M K tilesN + N K tilesM) of each operand once a tile.
 * Twins: reference/matmul.ts, linear and conv2d.
 */

import { epilogue } from "./gemm-epilogue.ts";
import { advance, fetch, setUp, sharedQuad, sharedType, store, swizzleOf, tileLoads } from "./gemm-loads.ts";
import { arithmeticOf, readFunctions } from "./gemm-reads.ts";
import { DEPTH, HALF_ROUNDS, TILES, type Tile, tileThreads } from "./gemm-tiles.ts";
import { type GemmVariant, productText, tileOrigin } from "./gemm-variant.ts";
import { type Kernel, makeKernel } from "./kernel.ts";
import { type At, each, lines } from "./text.ts";
import { ACTIVATION_FUNCTIONS, STORAGE_FUNCTIONS } from "./wgsl.ts";

export function gemmKernel(v: GemmVariant): Kernel {
  const tile = TILES[v.tile];
  const halves = v.arithmetic === "f16";
  return makeKernel(
    productText(v, {
      name: halves ? "gemm-f16" : "gemm",
      enables: halves ? ["f16"] : [],
      workgroupSize: tileThreads(tile),
      text: (at) => gemmText(v, tile, at),
    }),
  );
}

function gemmText(v: GemmVariant, tile: Tile, at: At): { head: string; body: string } {
  const loads = tileLoads(tile);
  const halves = arithmeticOf(v) === "f16";
  const results = <T>(make: (r: number, g: number) => T) =>
    each(tile.threadRows, (r) => each(tile.threadColumns / 4, (g) => make(r, g)));
  const flush = `
    if (k0 % ${HALF_ROUNDS * DEPTH}u == 0u || k0 >= P.k) {
${results((r, g) => `      c${r}_${g} += vec4<f32>(h${r}_${g}); h${r}_${g} = vec4<f16>();`).join("\n")}
    }`;
  const columnsOut = v.geglu ? tile.columns / 2 : tile.columns;
  const head = `
var<workgroup> tile: array<${sharedType(v)}, ${((tile.rows + tile.columns) / 4) * DEPTH}>;
${STORAGE_FUNCTIONS}${ACTIVATION_FUNCTIONS}
${readFunctions(v, at)}`;
  const body = `
  // Tiles in groups of rows, each group column by column.
${tileOrigin(tile.rows, columnsOut)}
  let lane = t % 32u;
  let warp = t / 32u;
  let tx = lane % 8u + 8u * (warp % ${tile.columns / tile.threadColumns / 8}u);
  let ty = lane / 8u + 4u * (warp / ${tile.columns / tile.threadColumns / 8}u);
${loads.map((load) => setUp(v, tile, load)).join("\n")}
${results((r, g) => `  var c${r}_${g} = vec4<f32>();${halves ? ` var h${r}_${g} = vec4<f16>();` : ""}`).join("\n")}
  var k0 = 0u;
${loads.map((load) => fetch(v, load)).join("\n")}
  while (k0 < P.k) {
    workgroupBarrier();
${loads.map((load) => store(v, load)).join("\n")}
    workgroupBarrier();
    k0 += ${DEPTH}u;
    if (k0 < P.k) {
${loads.map((load) => `${advance(v, load)}\n${fetch(v, load)}`).join("\n")}
    }
${multiply(v, tile)}${halves ? flush : ""}
  }
${epilogue(v, tile, at)}`;
  return { head, body };
}

/**
 * A thread's rows times its columns, along the K of a round, written out: a place in workgroup memory is then a register, one
 * for each state of the swizzle, and a constant.
 */
function multiply(v: GemmVariant, { rows, columns, threadRows, threadColumns }: Tile): string {
  const [sum, quad] = arithmeticOf(v) === "f16" ? ["h", "vec4<f16>"] : ["c", "vec4<f32>"];
  const read = (name: string, length: number, perThread: number, thread: string, start: number, k: number) => {
    const swizzle = swizzleOf(v, length) * (Math.floor(k / 4) % 2);
    // Where it exchanges a thread's two groups of four, it moves the constant; else the thread's place.
    const exchanges = perThread === 8 && swizzle === length / 8;
    const from = swizzle === 0 || exchanges ? thread : `(${thread} ^ ${swizzle}u)`;
    return each(perThread / 4, (g) => {
      const group = (g * length) / 8;
      const constant = start + (k * length) / 4 + (exchanges ? group ^ swizzle : group);
      return `      let ${name}${g} = ${sharedQuad(v, `tile[${from} + ${constant}u]`)};`;
    });
  };
  const slice = (k: number) => `    {
${read("a", rows, threadRows, "ty", 0, k).join("\n")}
${read("b", columns, threadColumns, "tx", (rows / 4) * DEPTH, k).join("\n")}
${lines(threadRows, (r) =>
  each(
    threadColumns / 4,
    (g) => `      ${sum}${r}_${g} = fma(${quad}(a${Math.floor(r / 4)}[${r % 4}]), b${g}, ${sum}${r}_${g});`,
  ),
)}
    }`;
  return lines(DEPTH, slice);
}
