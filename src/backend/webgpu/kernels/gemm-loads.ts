/**
 * @file How the product kernel gets its operands: 4 K of 4 or 2 rows at once, through registers into workgroup memory, where
 * both operands lie K-major. All threads have as many blocks of each operand, so that none of them branches.
 */

import { advanceTap, arithmeticOf, quadA, quadB, rawType, unpacked } from "./gemm-reads.ts";
import { DEPTH, type Tile, tileThreads } from "./gemm-tiles.ts";
import type { GemmVariant } from "./gemm-variant.ts";
import { each, lines } from "./text.ts";

/** A thread's share of an operand and round: blocks t, t + threads, ... of `rows` rows x 4 K. */
export interface Load {
  readonly operand: "a" | "b";
  /** Names its variables. */
  readonly name: string;
  readonly index: number;
  readonly rows: 2 | 4;
  /** Rows of the operand in the tile, and where it starts in workgroup memory (in vec4). */
  readonly length: number;
  readonly start: number;
}

export function tileLoads(tile: Tile): readonly Load[] {
  const threads = tileThreads(tile);
  const loads = (operand: "a" | "b", length: number, start: number): Load[] => {
    const rows = length % threads === 0 ? 4 : 2;
    const count = (length / rows) * (DEPTH / 4 / threads);
    return each(count, (index) => ({ operand, name: `${operand}${index}`, index, rows, length, start }) as const);
  };
  return [...loads("a", tile.rows, 0), ...loads("b", tile.columns, (tile.rows / 4) * DEPTH)];
}

/**
 * Workgroup memory is read and written by half or quarter warps of 128 bytes: what lies 4 K further is moved by 64 bytes, so
 * that both meet other banks. In vec4; a tile of 32 rows in f16 has no room for it.
 */
export function swizzleOf(v: GemmVariant, rows: number): 4 | 8 {
  return arithmeticOf(v) === "f16" && rows >= 64 ? 8 : 4;
}

/** Where a thread's block lies; for images the place of its K in each row's patch. */
export function setUp(v: GemmVariant, tile: Tile, load: Load): string {
  const { operand, name, rows } = load;
  const isPatch = v.conv !== undefined && operand === "a";
  const starts = isPatch ? startOfPatches(v, load) : v.quadK ? startOfRows(load) : "";
  return `${placeInTile(v, tile, load)}${rowOfOperand(v, tile, load)}${starts}
${lines(rows, (j) => `  var l${name}_${j} = ${rawType(v, operand)}();`)}`;
}

/** `kq`, `in`: first K and row of the block within the round's tile; `local`: its place in workgroup memory. */
function placeInTile(v: GemmVariant, tile: Tile, { name, index, rows, length, start }: Load): string {
  const block = index === 0 ? "t" : `t + ${index * tileThreads(tile)}u`;
  const blocks = length / rows;
  // Neighbouring threads read a whole sector of a row.
  return `
  let kq${name} = (((${block}) & 1u) | (((${block}) / ${2 * blocks}u) << 1u)) * 4u;
  let in${name} = (((${block}) >> 1u) % ${blocks}u) * ${rows}u;
  let local${name} = ${start}u + kq${name} * ${length / 4}u + ((in${name} >> 2u) ^ ((kq${name} & 4u) * ${swizzleOf(v, length) / 4}u));`;
}

/** `row`: the block's first row of the operand; `limit`, of B: where the rows end. */
function rowOfOperand({ geglu }: GemmVariant, { columns }: Tile, { operand, name }: Load): string {
  if (operand === "a") return `\n  let row${name} = m0 + in${name};`;
  if (!geglu) return `\n  let limit${name} = P.n;\n  let row${name} = n0 + in${name};`;
  // The limit keeps a tile's first half from running into the gate's rows.
  const half = `in${name} < ${columns / 2}u`;
  return `
  let limit${name} = select(2u * P.n, P.n, ${half});
  let row${name} = select(P.n + n0 + in${name} - ${columns / 2}u, n0 + in${name}, ${half});`;
}

/** `at`: the quads of the block's rows at K 0. */
function startOfRows({ operand, name, rows }: Load): string {
  return each(rows, (j) => {
    const row = `row${name} + ${j}u`;
    const quad = operand === "a" ? quadA(row, `kq${name}`) : quadB(row, `kq${name}`, `limit${name}`);
    return `\n  let at${name}_${j} = ${quad};`;
  }).join("");
}

/** `c`, `tapX`, `tapY`: channel and tap of the block's first K; `at`: pixels of its rows under that tap. */
function startOfPatches({ quadK }: GemmVariant, load: Load): string {
  const { name, rows } = load;
  return `
  var c${name} = kq${name} % P.channelsIn;
  var tapX${name} = (kq${name} / P.channelsIn) % P.kernelWidth;
  var tapY${name} = (kq${name} / P.channelsIn) / P.kernelWidth;
${quadK ? lines(rows, (j) => `  var at${name}_${j} = 0;`) : ""}
${quadK ? pixels(load) : ""}`;
}

/** The pixels of the rows' patches stand where rows of a matrix have their quads. */
function pixels({ name, rows }: Load): string {
  return lines(rows, (j) => `      at${name}_${j} = pixelOf(row${name} + ${j}u, tapY${name}, tapX${name});`);
}

/** Reads a block of the round that starts at K `k0` into registers. */
export function fetch(v: GemmVariant, load: Load): string {
  const { operand, name, rows } = load;
  const none = lines(rows, (j) => `        l${name}_${j} = ${rawType(v, operand)}();`);
  if (!v.quadK) {
    if (v.conv && operand === "a") return `${none}\n${fetchChannels(load)}`;
    const read = operand === "a" ? "readA" : "readB";
    const limit = operand === "a" ? "P.m" : `limit${name}`;
    const one = (j: number) =>
      `        if (row${name} + ${j}u < ${limit}) { l${name}_${j} = ${read}(row${name} + ${j}u, kq${name} + k0); }`;
    return `${none}\n${lines(rows, one)}`;
  }
  const value = (j: number) => {
    if (operand === "b") return `readB(at${name}_${j} + (k0 >> 2u))`;
    return v.conv ? `readPixel(at${name}_${j}, c${name})` : `readA(at${name}_${j} + (k0 >> 2u))`;
  };
  return `      if (kq${name} + k0 < P.k) {
${lines(rows, (j) => `        l${name}_${j} = ${value(j)};`)}
      } else {
${none}
      }`;
}

/** Channels that fill no vector: each of the four K has a tap of its own. */
function fetchChannels({ name, rows }: Load): string {
  return `        { var c = c${name}; var tapX = tapX${name}; var tapY = tapY${name};
        for (var e = 0u; e < 4u; e++) {
          if (kq${name} + k0 + e < P.k) {
${lines(rows, (j) => `            l${name}_${j}[e] = readPixel(pixelOf(row${name} + ${j}u, tapY, tapX), c);`)}
          }
          c += 1u;
          if (c == P.channelsIn) { c = 0u; tapX += 1u; if (tapX == P.kernelWidth) { tapX = 0u; tapY += 1u; } }
        } }`;
}

/** Moves a thread's patches one round along K; what lies in rows follows `k0`. */
export function advance(v: GemmVariant, load: Load): string {
  if (!v.conv || load.operand === "b") return "";
  const { name } = load;
  return advanceTap({ c: `c${name}`, tapX: `tapX${name}`, tapY: `tapY${name}` }, DEPTH, v.quadK ? pixels(load) : "");
}

/** Type of an element of workgroup memory: four neighbouring rows at one K. */
export function sharedType(v: GemmVariant): string {
  return arithmeticOf(v) === "f16" ? "vec2<u32>" : "vec4<f32>";
}

/** Such an element as vec4 of the kernel's arithmetic. */
export function sharedQuad(v: GemmVariant, element: string): string {
  return arithmeticOf(v) === "f16" ? `bitcast<vec4<f16>>(${element})` : element;
}

/** Transposes a block in registers and stores it, along rows. */
export function store(v: GemmVariant, load: Load): string {
  const { operand, name, rows, length } = load;
  const halves = arithmeticOf(v) === "f16";
  const pair = (k: number, j: number) => `q${j}[${k}], q${j + 1}[${k}]`;
  const put = (k: number) => {
    const element = `tile[local${name} + ${(k * length) / 4}u]`;
    if (rows === 4) {
      const value = `vec4<${arithmeticOf(v)}>(${pair(k, 0)}, ${pair(k, 2)})`;
      return `      ${element} = ${halves ? `bitcast<vec2<u32>>(${value})` : value};`;
    }
    if (halves) return `      ${element}[pair] = bitcast<u32>(vec2<f16>(${pair(k, 0)}));`;
    return `      ${element}[2u * pair] = q0[${k}]; ${element}[2u * pair + 1u] = q1[${k}];`;
  };
  return `    {
${lines(rows, (j) => `      let q${j} = ${unpacked(v, operand, `l${name}_${j}`)};`)}
${rows === 2 ? `      let pair = (in${name} >> 1u) & 1u;` : ""}
${lines(4, put)}
    }`;
}
