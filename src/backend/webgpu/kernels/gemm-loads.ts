/** @file How the product kernel gets its operands: quads of 4 rows x 4 K through registers into workgroup memory. */
import { type Arithmetic, readQuadAs, readScalarAs, type Storage } from "../wgsl.ts";
import type { GemmVariant } from "./gemm.ts";
import { DEPTH, type Tile, tileThreads } from "./gemm-tiles.ts";
import { type At, each } from "./text.ts";

/** Loads of one thread and round: quads t, t + threads, ... of A's rows/4 x 4 quads and then B's. */
export interface Load {
  readonly index: number;
  /** A runs from 0 to `rows` quads, B from there to `rows + columns`. */
  readonly a: boolean;
  readonly b: boolean;
  /** Threads beyond the last quad idle. */
  readonly partial: boolean;
}

export function tileLoads(tile: Tile): readonly Load[] {
  const threads = tileThreads(tile);
  const quads = tile.rows + tile.columns;
  return Array.from({ length: Math.ceil(quads / threads) }, (_, index) => {
    const first = index * threads;
    const last = Math.min(first + threads, quads);
    return { index, a: first < tile.rows, b: last > tile.rows, partial: first + threads > quads };
  });
}

/** Of the numbers in workgroup memory. */
export function arithmeticOf(v: GemmVariant): Arithmetic {
  return v.arithmetic ?? "f32";
}

/**
 * Workgroup memory is read and written by half or quarter warps of 128 bytes: what lies 4 K further is moved by 64 bytes, so
 * that both meet other banks. In vec4; a tile of 32 rows in f16 has no room for it.
 */
export function swizzleOf(v: GemmVariant, rows: number): 4 | 8 {
  return arithmeticOf(v) === "f16" && rows >= 64 ? 8 : 4;
}

/** Functions that give four numbers along K of one row of A or B; zeros outside. */
export function readFunctions(v: GemmVariant, at: At): string {
  const arithmetic = arithmeticOf(v);
  const quad = `vec4<${arithmetic}>`;
  const quadAt = (operand: string, storage: Storage, index: string) =>
    readQuadAs(arithmetic, storage, (i) => at(operand, i), index);
  const oneAt = (operand: string, storage: Storage, index: string) =>
    readScalarAs(arithmetic, storage, (i) => at(operand, i), index);
  const b = v.quadK
    ? `if (row >= P.rowsB || k >= P.k) { return ${quad}(); }
  return ${quadAt("b", v.bStorage, "(P.bStart + row * P.ldb + k) >> 2u")};`
    : `if (row >= P.rowsB) { return ${quad}(); }
  var r = ${quad}();
  let i = P.bStart + row * P.ldb + k;
${each(4, (j) => `  if (k + ${j}u < P.k) { r[${j}] = ${oneAt("b", v.bStorage, `i + ${j}u`)}; }`).join("\n")}
  return r;`;
  const rowsB = v.geglu ? "(2u * P.n)" : "P.n";
  const readB = `fn readB(row: u32, k: u32) -> ${quad} {\n  ${b.replaceAll("P.rowsB", rowsB)}\n}`;
  if (!v.conv) {
    const a = v.quadK
      ? `if (row >= P.m || k >= P.k) { return ${quad}(); }
  return ${quadAt("a", "f32", "(P.aStart + row * P.lda + k) >> 2u")};`
      : `if (row >= P.m) { return ${quad}(); }
  var r = ${quad}();
  let i = P.aStart + row * P.lda + k;
${each(4, (j) => `  if (k + ${j}u < P.k) { r[${j}] = ${oneAt("a", "f32", `i + ${j}u`)}; }`).join("\n")}
  return r;`;
    return `fn readA(row: u32, k: u32) -> ${quad} {\n  ${a}\n}\n${readB}`;
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
  const pixelOf = v.quadK ? quadAt : oneAt;
  const source = second
    ? `if (c >= P.channelsFirst) { return ${pixelOf("a2", "f32", `(u32(pixel) * (P.channelsIn - P.channelsFirst) + c - P.channelsFirst) ${unit}`)}; }
  return ${pixelOf("a", "f32", `(u32(pixel) * P.channelsFirst + c) ${unit}`)};`
    : `return ${pixelOf("a", "f32", `(u32(pixel) * P.channelsIn + c) ${unit}`)};`;
  const channelType = v.quadK ? quad : arithmetic;
  return `${pixel}
fn readPixel(pixel: i32, c: u32) -> ${channelType} {
  if (pixel < 0) { return ${channelType}(); }
  ${source}
}
${readB}`;
}

/** Where a thread's quad lies: 4 rows from `row`, K from `kq`; for images the place of each row's patch and of K in it. */
export function setUp(v: GemmVariant, tile: Tile, threads: number, load: Load): string {
  const i = load.index;
  const q = i === 0 ? "t" : `t + ${i * threads}u`;
  const place = (rows: number, quad: string) => `
    kq${i} = ((${quad} & 1u) | ((${quad} / ${rows / 2}u) << 1u)) * 4u;
    row${i} = ((${quad} >> 1u) % ${rows / 4}u) * 4u;`;
  const bRow = v.geglu
    ? `select(P.n + n0 + row${i} - ${tile.columns / 2}u, n0 + row${i}, row${i} < ${tile.columns / 2}u)`
    : `n0 + row${i}`;
  const swizzle = (rows: number) => (swizzleOf(v, rows) === 8 ? `((kq${i} & 4u) << 1u)` : `(kq${i} & 4u)`);
  const a = `${place(tile.rows, "quad")}
    local${i} = kq${i} * ${tile.rows / 4}u + ((row${i} >> 2u) ^ ${swizzle(tile.rows)});
    row${i} += m0;`;
  const b = `${place(tile.columns, `(quad - ${tile.rows}u)`)}
    local${i} = kq${i} * ${tile.columns / 4}u + ((row${i} >> 2u) ^ ${swizzle(tile.columns)});
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
${each(4, (j) => `  var l${i}_${j} = vec4<${arithmeticOf(v)}>();`).join("\n")}${patch}`;
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
export function fetch(v: GemmVariant, load: Load): string {
  const i = load.index;
  // The limit keeps a tile's first half from running into the gate's rows.
  const b = each(
    4,
    (j) => `        l${i}_${j} = vec4<${arithmeticOf(v)}>();
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
      (j) => `        l${i}_${j} = vec4<${arithmeticOf(v)}>();
        if (kq${i} < P.k) { l${i}_${j} = readPixel(${pixel(j, `tapX${i}`, `tapY${i}`)}, c${i}); }`,
    ).join("\n");
  }
  // Channels that fill no vector: each of the four K has a tap of its own.
  return `        { var c = c${i}; var tapX = tapX${i}; var tapY = tapY${i};
${each(4, (j) => `        l${i}_${j} = vec4<${arithmeticOf(v)}>();`).join("\n")}
        for (var e = 0u; e < 4u; e++) {
          if (kq${i} + e < P.k) {
${each(4, (j) => `            l${i}_${j}[e] = readPixel(${pixel(j, "tapX", "tapY")}, c);`).join("\n")}
          }
          c += 1u;
          if (c == P.channelsIn) { c = 0u; tapX += 1u; if (tapX == P.kernelWidth) { tapX = 0u; tapY += 1u; } }
        } }`;
}

/** Moves a thread's quad one round along K. */
export function advance(v: GemmVariant, load: Load): string {
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
export function store(v: GemmVariant, tile: Tile, threads: number, load: Load): string {
  const i = load.index;
  const put = (array: string, rows: number) =>
    each(
      4,
      (k) =>
        `      ${array}[local${i} + ${(k * rows) / 4}u] = vec4<${arithmeticOf(v)}>(${each(4, (j) => `l${i}_${j}[${k}]`).join(", ")});`,
    ).join("\n");
  const a = put("tileA", tile.rows);
  const b = put("tileB", tile.columns);
  const chosen = !load.b ? a : !load.a ? b : `    if (isB${i}) {\n${b}\n    } else {\n${a}\n    }`;
  if (!load.partial) return chosen;
  return `    if (t + ${i * threads}u < ${tile.rows + tile.columns}u) {\n${chosen}\n    }`;
}
