/**
 * @file Products of matrices, and convolutions as products without a patch matrix (implicit GEMM): out [M, N] from A [M, K]
 * (rows of tokens, or patches gathered from an NHWC image) and B [N, K] (weights as stored, K contiguous).
 *
 * A workgroup computes a tile by rounds of 16 along K: each thread reads 4 rows x 4 K of an operand into registers (the next
 * round's, while this one is computed), transposes them there and stores four vec4 along rows, so that shared memory holds
 * both operands K-major. A thread's 8x8 results take 4 vec4 reads for 64 FMA: 4 FMA a word, what Pascal's 128 FMA and 32 words
 * a clock need. Warps are 8 columns x 4 rows of threads (each vec4 read is one pass); stores are XOR-swizzled by 4 vec4, so
 * that neither side meets a bank conflict. Sources: siboehm's SGEMM kernels 6 to 10 (siboehm.com/articles/22/CUDA-MMM),
 * CUTLASS (thread-block swizzle). Cost: 2 M N K operations; reads (M K tilesN + N K tilesM) of each operand once a tile.
 */
import { type Kernel, makeKernel, type ParamFields } from "../kernel.ts";
import {
  ACTIVATION_FUNCTIONS,
  type Activation,
  quadView,
  readQuad,
  readScalar,
  STORAGE_FUNCTIONS,
  type Storage,
  scalarView,
} from "../wgsl.ts";
import { DEPTH, TILES, type Tile, type TileName, tileThreads } from "./gemm-tiles.ts";

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
  return makeKernel({
    name: "gemm",
    variant: `${conv}-${v.tile}-${types}-${flags}`,
    operands,
    params: { ...PARAMS, ...(v.conv ? CONV_PARAMS : {}), ...(slots.channels === undefined ? {} : PIXELS) },
    workgroupSize: tileThreads(tile),
    text: (at) => gemmText(v, tile, at),
  });
}

function biasView(v: GemmVariant) {
  const storage = v.biasStorage ?? "f32";
  return v.quadN ? quadView(storage) : scalarView(storage);
}

type At = (operand: string, index: string) => string;

/** Loads of one thread and round: quads t, t + threads, ... of A's rows/4 x 4 quads and then B's. */
interface Load {
  readonly index: number;
  /** A runs from 0 to `rows` quads, B from there to `rows + columns`. */
  readonly a: boolean;
  readonly b: boolean;
  /** Threads beyond the last quad idle. */
  readonly partial: boolean;
}

function gemmText(v: GemmVariant, tile: Tile, at: At): { head: string; body: string } {
  const threads = tileThreads(tile);
  const quads = tile.rows + tile.columns;
  const loads: Load[] = Array.from({ length: Math.ceil(quads / threads) }, (_, index) => {
    const first = index * threads;
    const last = Math.min(first + threads, quads);
    return { index, a: first < tile.rows, b: last > tile.rows, partial: first + threads > quads };
  });
  const columnsOut = v.geglu ? tile.columns / 2 : tile.columns;
  const head = `
var<workgroup> tileA: array<vec4<f32>, ${(tile.rows / 4) * DEPTH}>;
var<workgroup> tileB: array<vec4<f32>, ${(tile.columns / 4) * DEPTH}>;
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
${loads.map((load) => setUp(v, tile, threads, load)).join("\n")}
${each(tile.threadRows, (r) => each(tile.threadColumns / 4, (g) => `  var c${r}_${g} = vec4<f32>();`)).join("\n")}
  let rounds = (P.k + ${DEPTH - 1}u) / ${DEPTH}u;
${loads.map((load) => fetch(v, load)).join("\n")}
  for (var round = 0u; round < rounds; round++) {
    workgroupBarrier();
${loads.map((load) => store(tile, threads, load)).join("\n")}
    workgroupBarrier();
    if (round + 1u < rounds) {
${loads.map((load) => `${advance(v, load)}\n${fetch(v, load)}`).join("\n")}
    }
    for (var kk = 0u; kk < ${DEPTH / 4}u; kk++) {
      let swizzle = (kk & 1u) << 2u;
${each(4, (k) => multiply(tile, k)).join("\n")}
    }
  }
${epilogue(v, tile, at)}`;
  return { head, body };
}

function each<T>(count: number, make: (i: number) => T | readonly T[]): T[] {
  return Array.from({ length: count }, (_, i) => make(i)).flat() as T[];
}

/** Functions that give four numbers along K of one row of A or B; zeros outside. */
function readFunctions(v: GemmVariant, at: At): string {
  const b = v.quadK
    ? `if (row >= P.rowsB || k >= P.k) { return vec4<f32>(); }
  return ${readQuad(v.bStorage, (i) => at("b", i), "(P.bStart + row * P.ldb + k) >> 2u")};`
    : `if (row >= P.rowsB) { return vec4<f32>(); }
  var r = vec4<f32>();
  let i = P.bStart + row * P.ldb + k;
${each(4, (j) => `  if (k + ${j}u < P.k) { r[${j}] = ${readScalar(v.bStorage, (i) => at("b", i), `i + ${j}u`)}; }`).join("\n")}
  return r;`;
  const rowsB = v.geglu ? "(2u * P.n)" : "P.n";
  const readB = `fn readB(row: u32, k: u32) -> vec4<f32> {\n  ${b.replaceAll("P.rowsB", rowsB)}\n}`;
  if (!v.conv) {
    const a = v.quadK
      ? `if (row >= P.m || k >= P.k) { return vec4<f32>(); }
  return ${at("a", "(P.aStart + row * P.lda + k) >> 2u")};`
      : `if (row >= P.m) { return vec4<f32>(); }
  var r = vec4<f32>();
  let i = P.aStart + row * P.lda + k;
${each(4, (j) => `  if (k + ${j}u < P.k) { r[${j}] = ${at("a", `i + ${j}u`)}; }`).join("\n")}
  return r;`;
    return `fn readA(row: u32, k: u32) -> vec4<f32> {\n  ${a}\n}\n${readB}`;
  }
  // A pixel of the input from a place on the grid the kernel slides over; negative outside.
  const scale = v.conv.upsample
    ? "let sy = (y * P.inHeight) / P.gridHeight; let sx = (x * P.inWidth) / P.gridWidth;"
    : "let sy = y; let sx = x;";
  const pixel = `
fn pixelAt(image: i32, y: i32, x: i32) -> i32 {
  if (image < 0 || y < 0 || y >= P.gridHeight || x < 0 || x >= P.gridWidth) { return -1; }
  ${scale}
  return (image * P.inHeight + sy) * P.inWidth + sx;
}`;
  const second = v.slots.a2 !== undefined;
  const unit = v.quadK ? ">> 2u" : "";
  const source = second
    ? `if (c >= P.channelsFirst) { return ${at("a2", `(u32(pixel) * (P.channelsIn - P.channelsFirst) + c - P.channelsFirst) ${unit}`)}; }
  return ${at("a", `(u32(pixel) * P.channelsFirst + c) ${unit}`)};`
    : `return ${at("a", `(u32(pixel) * P.channelsIn + c) ${unit}`)};`;
  const channelType = v.quadK ? "vec4<f32>" : "f32";
  return `${pixel}
fn readPixel(pixel: i32, c: u32) -> ${channelType} {
  if (pixel < 0) { return ${channelType}(); }
  ${source}
}
${readB}`;
}

/** Where a thread's quad lies: 4 rows from `row`, K from `kq`; for images the place of each row's patch and of K in it. */
function setUp(v: GemmVariant, tile: Tile, threads: number, load: Load): string {
  const i = load.index;
  const q = i === 0 ? "t" : `t + ${i * threads}u`;
  const place = (rows: number, quad: string) => `
    kq${i} = ((${quad} & 1u) | ((${quad} / ${rows / 2}u) << 1u)) * 4u;
    row${i} = ((${quad} >> 1u) % ${rows / 4}u) * 4u;`;
  const bRow = v.geglu
    ? `select(P.n + n0 + row${i} - ${tile.columns / 2}u, n0 + row${i}, row${i} < ${tile.columns / 2}u)`
    : `n0 + row${i}`;
  const a = `${place(tile.rows, "quad")}
    local${i} = kq${i} * ${tile.rows / 4}u + ((row${i} >> 2u) ^ (kq${i} & 4u));
    row${i} += m0;`;
  const b = `${place(tile.columns, `(quad - ${tile.rows}u)`)}
    local${i} = kq${i} * ${tile.columns / 4}u + ((row${i} >> 2u) ^ (kq${i} & 4u));
    isB${i} = true;
    limit${i} = ${v.geglu ? `select(2u * P.n, P.n, row${i} < ${tile.columns / 2}u)` : "P.n"};
    row${i} = ${bRow};`;
  const patch = v.conv && load.a ? patchSetUp(i) : "";
  const idle = load.partial ? ` && quad < ${tile.rows + tile.columns}u` : "";
  return `
  var kq${i} = 0u; var row${i} = 0u; var local${i} = 0u; var isB${i} = false; var limit${i} = 0u;
  { let quad = ${q};
    if (quad < ${tile.rows}u) {${load.a ? a : ""}
    } else if (true${idle}) {${load.b ? b : ""}
    }
  }
${each(4, (j) => `  var l${i}_${j} = vec4<f32>();`).join("\n")}${patch}`;
}

function patchSetUp(i: number): string {
  const rows = each(
    4,
    (j) => `
  var image${i}_${j} = -1; var y${i}_${j} = 0; var x${i}_${j} = 0;
  if (!isB${i} && row${i} + ${j}u < P.m) {
    let m = row${i} + ${j}u;
    let inImage = m % (P.outHeight * P.outWidth);
    image${i}_${j} = i32(m / (P.outHeight * P.outWidth));
    y${i}_${j} = i32(inImage / P.outWidth) * P.stride - P.padTop;
    x${i}_${j} = i32(inImage % P.outWidth) * P.stride - P.padLeft;
  }`,
  ).join("");
  return `${rows}
  var c${i} = kq${i} % P.channelsIn;
  var tapX${i} = (kq${i} / P.channelsIn) % P.kernelWidth;
  var tapY${i} = (kq${i} / P.channelsIn) / P.kernelWidth;`;
}

/** Reads a quad of the round that `kq` stands at into registers. */
function fetch(v: GemmVariant, load: Load): string {
  const i = load.index;
  // The limit keeps a tile's first half from running into the gate's rows.
  const b = each(
    4,
    (j) => `        l${i}_${j} = vec4<f32>();
        if (row${i} + ${j}u < limit${i}) { l${i}_${j} = readB(row${i} + ${j}u, kq${i}); }`,
  ).join("\n");
  const a = v.conv
    ? fetchPatch(v, i)
    : each(4, (j) => `        l${i}_${j} = readA(row${i} + ${j}u, kq${i});`).join("\n");
  if (!load.b) return a;
  if (!load.a) return b;
  return `      if (isB${i}) {\n${b}\n      } else {\n${a}\n      }`;
}

function fetchPatch(v: GemmVariant, i: number): string {
  const pixel = (j: number, x: string, y: string) =>
    `pixelAt(image${i}_${j}, y${i}_${j} + i32(${y}), x${i}_${j} + i32(${x}))`;
  if (v.quadK) {
    return each(
      4,
      (j) => `        l${i}_${j} = vec4<f32>();
        if (kq${i} < P.k) { l${i}_${j} = readPixel(${pixel(j, `tapX${i}`, `tapY${i}`)}, c${i}); }`,
    ).join("\n");
  }
  // Channels that fill no vector: each of the four K has a tap of its own.
  return `        { var c = c${i}; var tapX = tapX${i}; var tapY = tapY${i};
${each(4, (j) => `        l${i}_${j} = vec4<f32>();`).join("\n")}
        for (var e = 0u; e < 4u; e++) {
          if (kq${i} + e < P.k) {
${each(4, (j) => `            l${i}_${j}[e] = readPixel(${pixel(j, "tapX", "tapY")}, c);`).join("\n")}
          }
          c += 1u;
          if (c == P.channelsIn) { c = 0u; tapX += 1u; if (tapX == P.kernelWidth) { tapX = 0u; tapY += 1u; } }
        } }`;
}

/** Moves a thread's quad one round along K. */
function advance(v: GemmVariant, load: Load): string {
  const i = load.index;
  const next = `      kq${i} += ${DEPTH}u;`;
  if (!v.conv || !load.a) return next;
  return `${next}
      c${i} += ${DEPTH}u;
      while (c${i} >= P.channelsIn) {
        c${i} -= P.channelsIn;
        tapX${i} += 1u;
        if (tapX${i} == P.kernelWidth) { tapX${i} = 0u; tapY${i} += 1u; }
      }`;
}

/** Transposes the quad in registers and stores it as four vec4 along rows. */
function store(tile: Tile, threads: number, load: Load): string {
  const i = load.index;
  const put = (array: string, rows: number) =>
    each(
      4,
      (k) =>
        `      ${array}[local${i} + ${(k * rows) / 4}u] = vec4<f32>(${each(4, (j) => `l${i}_${j}[${k}]`).join(", ")});`,
    ).join("\n");
  const a = put("tileA", tile.rows);
  const b = put("tileB", tile.columns);
  const chosen = !load.b ? a : !load.a ? b : `    if (isB${i}) {\n${b}\n    } else {\n${a}\n    }`;
  if (!load.partial) return chosen;
  return `    if (t + ${i * threads}u < ${tile.rows + tile.columns}u) {\n${chosen}\n    }`;
}

/** One step along K: a thread's rows times its columns. */
function multiply({ rows, columns, threadRows, threadColumns }: Tile, k: number): string {
  const rowGroups = threadRows / 4;
  const columnGroups = threadColumns / 4;
  // XOR acts on bit 2 of a vec4's number; the second group starts at a multiple of 8 when the tile has 64 or more.
  const readA = (g: number) => `tileA[(kk * 4u + ${k}u) * ${rows / 4}u + ((ty + ${(g * rows) / 8}u) ^ swizzle)]`;
  const readB = (g: number) => `tileB[(kk * 4u + ${k}u) * ${columns / 4}u + ((tx + ${(g * columns) / 8}u) ^ swizzle)]`;
  return `      {
${each(rowGroups, (g) => `        let a${g} = ${readA(g)};`).join("\n")}
${each(columnGroups, (g) => `        let b${g} = ${readB(g)};`).join("\n")}
${each(threadRows, (r) =>
  each(columnGroups, (g) => `        c${r}_${g} = fma(vec4<f32>(a${Math.floor(r / 4)}[${r % 4}]), b${g}, c${r}_${g});`),
).join("\n")}
      }`;
}

/** Bias, channels, activation, factor, residual: in this order, then the store. */
function epilogue(v: GemmVariant, tile: Tile, at: At): string {
  const groups = v.geglu ? 1 : tile.threadColumns / 4;
  const columns = each(groups, (g) => {
    const offset = g === 1 ? `${tile.columns / 2}u + ` : "";
    const bias = (name: string, index: string) =>
      `\n  var ${name} = vec4<f32>();\n  { let n = column${g};\n${readRow(v, at, "bias", v.biasStorage!, index, name)}\n  }`;
    const gate = v.geglu ? bias(`gateBias${g}`, "P.n + n") : "";
    return `  let column${g} = n0 + ${offset}tx * 4u;${v.slots.bias === undefined ? "" : bias(`bias${g}`, "n") + gate}`;
  });
  const rows = each(tile.threadRows, (r) => {
    const m = `m0 + ${r >= 4 ? tile.rows / 2 : 0}u + ty * 4u + ${r % 4}u`;
    const results = each(groups, (g) => {
      const value = v.geglu ? gegluValue(v, r) : plainValue(v, at, r, g);
      return `    { let n = column${g};\n${value}\n${finish(v, at)}\n    }`;
    }).join("\n");
    return `  { let m = ${m};\n    if (m < P.m) {\n${results}\n    }\n  }`;
  });
  return [...columns, ...rows].join("\n");
}

/** Four numbers at flat index `index`, those from column n + j >= P.n on left at zero. */
function readRow(v: GemmVariant, at: At, operand: string, storage: Storage, index: string, name: string): string {
  if (v.quadN)
    return `      if (n < P.n) { ${name} = ${readQuad(storage, (i) => at(operand, i), `(${index}) >> 2u`)}; }`;
  return each(
    4,
    (j) =>
      `      if (n + ${j}u < P.n) { ${name}[${j}] = ${readScalar(storage, (i) => at(operand, i), `${index} + ${j}u`)}; }`,
  ).join("\n");
}

function plainValue(v: GemmVariant, at: At, r: number, g: number): string {
  const bias = v.slots.bias === undefined ? "" : ` + bias${g}`;
  const channels =
    v.slots.channels === undefined
      ? ""
      : `\n      var added = vec4<f32>();\n${readRow(v, at, "channels", "f32", "(m / P.pixels) * P.n + n", "added")}\n      value += added;`;
  const activation = v.activation ? `\n      value = ${v.activation}4(value);` : "";
  return `      var value = c${r}_${g}${bias};${channels}${activation}`;
}

function gegluValue(v: GemmVariant, r: number): string {
  const [bias, gateBias] = v.slots.bias === undefined ? ["", ""] : [" + bias0", " + gateBias0"];
  return `      var value = (c${r}_0${bias}) * gelu4(c${r}_1${gateBias});`;
}

function finish(v: GemmVariant, at: At): string {
  const index = "P.cStart + m * P.ldc + n";
  const residual =
    v.slots.residual === undefined
      ? ""
      : `      var rest = vec4<f32>();\n${readRow(v, at, "residual", "f32", index, "rest")}\n      value += rest;\n`;
  const put = v.quadN
    ? `      if (n < P.n) { ${at("out", `(${index}) >> 2u`)} = value; }`
    : each(4, (j) => `      if (n + ${j}u < P.n) { ${at("out", `${index} + ${j}u`)} = value[${j}]; }`).join("\n");
  return `      value *= P.factor;\n${residual}${put}`;
}
