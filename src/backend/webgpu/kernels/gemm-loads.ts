/** @file How the product kernel gets its operands: quads of 4 rows x 4 K through registers into workgroup memory. */
import type { GemmVariant } from "./gemm.ts";
import { advanceTap, arithmeticOf, quadA, quadB, rawType, unpacked } from "./gemm-reads.ts";
import { DEPTH, type Tile, tileThreads } from "./gemm-tiles.ts";
import { each } from "./text.ts";

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

/**
 * Workgroup memory is read and written by half or quarter warps of 128 bytes: what lies 4 K further is moved by 64 bytes, so
 * that both meet other banks. In vec4; a tile of 32 rows in f16 has no room for it.
 */
export function swizzleOf(v: GemmVariant, rows: number): 4 | 8 {
  return arithmeticOf(v) === "f16" && rows >= 64 ? 8 : 4;
}

/** K of a thread that has no quad: beyond any end, with room for what is added. */
const NOWHERE = "0x80000000u";

/** Registers of a load: of one operand, or wide enough for both. */
function heldType(v: GemmVariant, { a, b }: Load): string {
  if (!a || !b) return rawType(v, a ? "a" : "b");
  return rawType(v, "b") === "vec2<u32>" ? "vec4<u32>" : rawType(v, "a");
}

function held(v: GemmVariant, load: Load, operand: "a" | "b", value: string): string {
  if (heldType(v, load) === rawType(v, operand)) return value;
  return operand === "a" ? `bitcast<vec4<u32>>(${value})` : `vec4<u32>(${value}, 0u, 0u)`;
}

function unheld(v: GemmVariant, load: Load, operand: "a" | "b", value: string): string {
  if (heldType(v, load) === rawType(v, operand)) return unpacked(v, operand, value);
  return unpacked(v, operand, operand === "a" ? `bitcast<vec4<f32>>(${value})` : `${value}.xy`);
}

/** Where a thread's quad lies: 4 rows from `row`, K from `kq`; for images the place of K in each row's patch. */
export function setUp(v: GemmVariant, tile: Tile, threads: number, load: Load): string {
  const i = load.index;
  const q = i === 0 ? "t" : `t + ${i * threads}u`;
  const place = (rows: number, quad: string) => `
    kq${i} = ((${quad} & 1u) | ((${quad} / ${rows / 2}u) << 1u)) * 4u;
    row${i} = ((${quad} >> 1u) % ${rows / 4}u) * 4u;`;
  const swizzle = (rows: number) => (swizzleOf(v, rows) === 8 ? `((kq${i} & 4u) << 1u)` : `(kq${i} & 4u)`);
  const half = `row${i} < ${tile.columns / 2}u`;
  const quads = (quad: (row: string) => string) =>
    v.quadK ? each(4, (j) => `\n    at${i}_${j} = ${quad(`row${i} + ${j}u`)};`).join("") : "";
  const a = `${place(tile.rows, "quad")}
    local${i} = kq${i} * ${tile.rows / 4}u + ((row${i} >> 2u) ^ ${swizzle(tile.rows)});
    row${i} += m0;${v.conv ? "" : quads((row) => quadA(row, `kq${i}`))}`;
  // The limit keeps a tile's first half from running into the gate's rows.
  const b = `${place(tile.columns, `(quad - ${tile.rows}u)`)}
    local${i} = ${(tile.rows / 4) * DEPTH}u + kq${i} * ${tile.columns / 4}u + ((row${i} >> 2u) ^ ${swizzle(tile.columns)});
    isB${i} = true;
    limit${i} = ${v.geglu ? `select(2u * P.n, P.n, ${half})` : "P.n"};
    row${i} = ${v.geglu ? `select(P.n + n0 + row${i} - ${tile.columns / 2}u, n0 + row${i}, ${half})` : `n0 + row${i}`};${quads((row) => quadB(row, `kq${i}`, `limit${i}`))}`;
  const idle = load.partial ? ` else { kq${i} = ${NOWHERE}; }` : "";
  const chosen = !load.b
    ? `{${a}\n    }`
    : !load.a
      ? load.partial
        ? `if (quad < ${tile.rows + tile.columns}u) {${b}\n    }`
        : `{${b}\n    }`
      : `if (quad < ${tile.rows}u) {${a}\n    } else ${load.partial ? `if (quad < ${tile.rows + tile.columns}u) ` : ""}{${b}\n    }`;
  const patch = v.conv && load.a ? patchSetUp(v, load) : "";
  return `
  var kq${i} = 0u; var row${i} = 0u; var local${i} = 0u; var isB${i} = false; var limit${i} = 0u;
${v.quadK ? each(4, (j) => `  var at${i}_${j} = 0u;`).join("\n") : ""}
  { let quad = ${q};
    ${chosen}${idle}
  }
${each(4, (j) => `  var l${i}_${j} = ${heldType(v, load)}();`).join("\n")}${patch}`;
}

/** Of the thread's K; the pixels of its rows' patches there stand where rows of a matrix have their quads. */
function patchSetUp(v: GemmVariant, load: Load): string {
  const i = load.index;
  return `
  var c${i} = kq${i} % P.channelsIn;
  var tapX${i} = (kq${i} / P.channelsIn) % P.kernelWidth;
  var tapY${i} = (kq${i} / P.channelsIn) / P.kernelWidth;${v.quadK ? `\n${onlyA(load, pixels(i))}` : ""}`;
}

function pixels(i: number): string {
  return each(4, (j) => `        at${i}_${j} = u32(pixelOf(row${i} + ${j}u, tapY${i}, tapX${i}));`).join("\n");
}

function onlyA(load: Load, text: string): string {
  return load.b ? `      if (!isB${load.index}) {\n${text}\n      }` : text;
}

/** Reads a quad of the round that starts at K `k0` into registers. */
export function fetch(v: GemmVariant, load: Load): string {
  const i = load.index;
  const put = (operand: "a" | "b", value: (j: number) => string) =>
    each(4, (j) => `        l${i}_${j} = ${held(v, load, operand, value(j))};`).join("\n");
  const at = (j: number) => (v.quadK ? `at${i}_${j} + (k0 >> 2u)` : `row${i} + ${j}u, kq${i} + k0`);
  const b = v.quadK
    ? put("b", (j) => `readB(${at(j)})`)
    : each(
        4,
        (j) => `        l${i}_${j} = ${heldType(v, load)}();
        if (row${i} + ${j}u < limit${i}) { l${i}_${j} = readB(${at(j)}); }`,
      ).join("\n");
  const a = !v.conv
    ? put("a", (j) => `readA(${at(j)})`)
    : v.quadK
      ? put("a", (j) => `readPixel(i32(at${i}_${j}), c${i})`)
      : fetchChannels(v, i);
  const both = !load.b ? a : !load.a ? b : `      if (isB${i}) {\n${b}\n      } else {\n${a}\n      }`;
  if (!v.quadK) return both;
  return `      if (kq${i} + k0 < P.k) {
${both}
      } else {
${each(4, (j) => `        l${i}_${j} = ${heldType(v, load)}();`).join("\n")}
      }`;
}

/** Channels that fill no vector: each of the four K has a tap of its own. */
function fetchChannels(v: GemmVariant, i: number): string {
  return `        { var c = c${i}; var tapX = tapX${i}; var tapY = tapY${i};
${each(4, (j) => `        l${i}_${j} = vec4<${arithmeticOf(v)}>();`).join("\n")}
        for (var e = 0u; e < 4u; e++) {
          if (kq${i} + k0 + e < P.k) {
${each(4, (j) => `            l${i}_${j}[e] = readPixel(pixelOf(row${i} + ${j}u, tapY, tapX), c);`).join("\n")}
          }
          c += 1u;
          if (c == P.channelsIn) { c = 0u; tapX += 1u; if (tapX == P.kernelWidth) { tapX = 0u; tapY += 1u; } }
        } }`;
}

/** Moves a thread's patches one round along K; what lies in rows follows `k0`. */
export function advance(v: GemmVariant, load: Load): string {
  if (!v.conv || !load.a) return "";
  const i = load.index;
  const tap = { c: `c${i}`, tapX: `tapX${i}`, tapY: `tapY${i}` };
  return onlyA(load, advanceTap(tap, DEPTH, v.quadK ? pixels(i) : ""));
}

/** Transposes the quad in registers and stores it as four vec4 along rows. */
export function store(v: GemmVariant, tile: Tile, threads: number, load: Load): string {
  const i = load.index;
  const quad = `vec4<${arithmeticOf(v)}>`;
  const put = (operand: "a" | "b") =>
    each(4, (j) => `      q${j} = ${unheld(v, load, operand, `l${i}_${j}`)};`).join("\n");
  const chosen =
    load.a && load.b ? `    if (isB${i}) {\n${put("b")}\n    } else {\n${put("a")}\n    }` : put(load.a ? "a" : "b");
  const [stepA, stepB] = [tile.rows / 4, tile.columns / 4];
  const step =
    load.a && load.b && stepA !== stepB ? `select(${stepA}u, ${stepB}u, isB${i})` : `${load.a ? stepA : stepB}u`;
  const text = `    {
${each(4, (j) => `      var q${j}: ${quad};`).join("\n")}
${chosen}
      let step = ${step};
${each(4, (k) => `      tile[local${i} + ${k}u * step] = ${quad}(${each(4, (j) => `q${j}[${k}]`).join(", ")});`).join("\n")}
    }`;
  if (!load.partial) return text;
  return `    if (t + ${i * threads}u < ${tile.rows + tile.columns}u) {\n${text}\n    }`;
}
