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
 */
import { type Kernel, type KernelText, makeKernel, type ParamFields } from "../kernel.ts";
import {
  ACTIVATION_FUNCTIONS,
  type Activation,
  type Arithmetic,
  quadView,
  STORAGE_FUNCTIONS,
  type Storage,
  scalarView,
} from "../wgsl.ts";
import { epilogue } from "./gemm-epilogue.ts";
import { advance, fetch, setUp, sharedQuad, sharedType, store, swizzleOf, tileLoads } from "./gemm-loads.ts";
import { arithmeticOf, readFunctions } from "./gemm-reads.ts";
import { DEPTH, HALF_ROUNDS, TILES, type Tile, type TileName, tileThreads } from "./gemm-tiles.ts";
import { type At, each } from "./text.ts";

/** Slots of the operands that a variant has. Equal slots: the same tensor. */
export interface GemmSlots {
  readonly a: number;
  /** Second half of the channels of a joined image. */
  readonly a2?: number;
  readonly b: number;
  readonly bias?: number;
  readonly channels?: number;
  readonly residual?: number;
  readonly out: number;
}

export interface GemmVariant {
  readonly tile: TileName;
  readonly slots: GemmSlots;
  readonly bStorage: Storage;
  readonly biasStorage?: Storage;
  /** Patches of an image instead of rows. `upsample`: of an image enlarged by nearest neighbours, never made. */
  readonly conv?: { readonly upsample: boolean };
  /** K, strides and offsets are multiples of 4: operands are read four numbers at once. */
  readonly quadK: boolean;
  /** The same of N: results, bias and residual. */
  readonly quadN: boolean;
  readonly geglu: boolean;
  readonly activation?: Activation;
  /** Default "f32". "f16": operands rounded to it, sums of 32 K in it, those sums added in fp32. Needs `shader-f16`. */
  readonly arithmetic?: Arithmetic;
}

const PARAMS = {
  m: "u32",
  n: "u32",
  k: "u32",
  lda: "u32",
  ldb: "u32",
  ldc: "u32",
  aStart: "u32",
  bStart: "u32",
  cStart: "u32",
  tilesM: "u32",
  tilesN: "u32",
  group: "u32",
  factor: "f32",
} as const satisfies ParamFields;

const CONV_PARAMS = {
  inHeight: "i32",
  inWidth: "i32",
  channelsIn: "u32",
  channelsFirst: "u32",
  kernelWidth: "u32",
  outHeight: "u32",
  outWidth: "u32",
  stride: "i32",
  padTop: "i32",
  padLeft: "i32",
  gridHeight: "i32",
  gridWidth: "i32",
} as const satisfies ParamFields;

const PIXELS = { pixels: "u32" } as const satisfies ParamFields;

/** Values of the parameters that a variant reads, besides workgroups and windows. */
export type GemmParams = Readonly<Record<keyof typeof PARAMS, number>> &
  Partial<Readonly<Record<keyof typeof CONV_PARAMS | keyof typeof PIXELS, number>>>;

/** Tiles of rows that are walked before the next tile of columns, so that both operands stay in cache. */
export const TILE_GROUP = 8;

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

/** Operands, parameters and name of a product, for whatever computes it. */
export function productText(
  v: GemmVariant,
  core: Pick<KernelText, "name" | "enables" | "diagnosticsOff" | "workgroupSize" | "subgroupSize" | "text">,
): KernelText {
  const { slots } = v;
  const aView = v.quadK ? quadView("f32") : scalarView("f32");
  const nView = v.quadN ? quadView("f32") : scalarView("f32");
  const operands = [
    { name: "a", slot: slots.a, view: aView },
    ...(slots.a2 === undefined ? [] : [{ name: "a2", slot: slots.a2, view: aView }]),
    { name: "b", slot: slots.b, view: v.quadK ? quadView(v.bStorage) : scalarView(v.bStorage) },
    ...(slots.bias === undefined ? [] : [{ name: "bias", slot: slots.bias, view: biasView(v) }]),
    ...(slots.channels === undefined ? [] : [{ name: "channels", slot: slots.channels, view: nView }]),
    ...(slots.residual === undefined ? [] : [{ name: "residual", slot: slots.residual, view: nView }]),
    { name: "out", slot: slots.out, view: nView },
  ];
  const conv = v.conv ? `conv${v.conv.upsample ? "Up" : ""}` : "rows";
  const types = `${v.bStorage}-${v.biasStorage ?? "none"}`;
  const flags = `${v.quadK ? "k4" : "k1"}${v.quadN ? "n4" : "n1"}${v.geglu ? "-geglu" : ""}-${v.activation ?? "plain"}`;
  return {
    ...core,
    variant: `${conv}-${v.tile}-${types}-${flags}`,
    operands,
    params: { ...PARAMS, ...(v.conv ? CONV_PARAMS : {}), ...(slots.channels === undefined ? {} : PIXELS) },
  };
}

function biasView(v: GemmVariant) {
  const storage = v.biasStorage ?? "f32";
  return v.quadN ? quadView(storage) : scalarView(storage);
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
  let perGroup = P.group * P.tilesN;
  let groupFirst = (wg / perGroup) * P.group;
  let groupRows = min(P.group, P.tilesM - groupFirst);
  let inGroup = wg % perGroup;
  let m0 = (groupFirst + inGroup % groupRows) * ${tile.rows}u;
  let n0 = (inGroup / groupRows) * ${columnsOut}u;
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
  const step = (k: number) => `    {
${read("a", rows, threadRows, "ty", 0, k).join("\n")}
${read("b", columns, threadColumns, "tx", (rows / 4) * DEPTH, k).join("\n")}
${each(threadRows, (r) =>
  each(
    threadColumns / 4,
    (g) => `      ${sum}${r}_${g} = fma(${quad}(a${Math.floor(r / 4)}[${r % 4}]), b${g}, ${sum}${r}_${g});`,
  ),
).join("\n")}
    }`;
  return each(DEPTH, step).join("\n");
}
