/**
 * @file Products by subgroup matrices (tensor cores): fp16 operands, fp32 sums. The same operands, parameters and epilogue as
 * gemm.ts. A workgroup's subgroups share a tile: each reads its rows of A and columns of B from workgroup memory, K in rounds
 * of 32, and keeps a span of results in matrices. Rows of workgroup memory are padded by 8 halves: eight rows of
 * 16 bytes then lie in eight different groups of banks. Results pass through workgroup memory once, matrix by matrix, because
 * WGSL doesn't say which lane holds what. Source: Dawn's docs/dawn/features/subgroup_matrix.md.
 */
import { type Kernel, makeKernel } from "../kernel.ts";
import type { MatrixShape } from "../paths.ts";
import { ACTIVATION_FUNCTIONS, STORAGE_FUNCTIONS } from "../wgsl.ts";
import { type GemmVariant, productText } from "./gemm.ts";
import { epilogueColumns, epilogueValue } from "./gemm-epilogue.ts";
import { advanceTap, quadA, quadB, rawType, readFunctions, unpacked } from "./gemm-reads.ts";
import { type ProductShape, WORKGROUPS_WANTED } from "./gemm-tiles.ts";
import { type At, each } from "./text.ts";

/** Results of a workgroup, and the span of them that each of its subgroups keeps. */
export const MATRIX_TILES = {
  "128x128": { rows: 128, columns: 128, spanRows: 64, spanColumns: 32 },
  "64x64": { rows: 64, columns: 64, spanRows: 32, spanColumns: 32 },
} as const;
export type MatrixTileName = keyof typeof MATRIX_TILES;

/** K a round. */
const DEPTH = 32;
/** Numbers from row to row of both operands. */
export const MATRIX_STRIDE = DEPTH + 8;
const STRIDE = MATRIX_STRIDE;

export function matrixThreads(tile: MatrixTileName, { lanes }: MatrixShape): number {
  return subgroupsOf(tile) * lanes;
}

function subgroupsOf(tile: MatrixTileName): number {
  const { rows, columns, spanRows, spanColumns } = MATRIX_TILES[tile];
  return (rows / spanRows) * (columns / spanColumns);
}

/** Bytes of workgroup memory. */
export function matrixSharedBytes(tile: MatrixTileName, { m, n }: MatrixShape): number {
  const { rows, columns } = MATRIX_TILES[tile];
  return (rows + columns) * STRIDE * 2 + subgroupsOf(tile) * m * n * 4;
}

/** Whether spans of 32 are whole numbers of matrices, half a span (the gate's) too. */
export function matrixFits({ m, n, k }: Pick<MatrixShape, "m" | "n" | "k">): boolean {
  return [32 % m, 16 % n, DEPTH % k, n % 4].every((rest) => rest === 0);
}

/** The larger tile where it gives `WORKGROUPS_WANTED` workgroups and fits; every tile sums in the same order. */
export function chooseMatrixTile({ rows, columns }: ProductShape, { tiles }: MatrixShape): MatrixTileName {
  const workgroups = Math.ceil(rows / 128) * Math.ceil(columns / 128);
  return workgroups >= WORKGROUPS_WANTED && tiles.includes("128x128") ? "128x128" : "64x64";
}

/**
 * Types and functions that the kernel computes with, apart from the rest so that a test can put others in their place. Offsets
 * are in numbers of the arrays; B lies as its columns, K contiguous.
 */
export function matrixDeclarations({ m, n, k }: Pick<MatrixShape, "m" | "n" | "k">): string {
  return `
alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;
alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;
alias Sums = subgroup_matrix_result<f32, ${n}, ${m}>;
fn loadLeft(offset: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&tileA, offset, ${MATRIX_STRIDE}u); }
fn loadRight(offset: u32) -> Right { return subgroupMatrixLoad<Right, col_major>(&tileB, offset, ${MATRIX_STRIDE}u); }
fn multiplyAdd(left: Left, right: Right, sums: Sums) -> Sums { return subgroupMatrixMultiplyAccumulate(left, right, sums); }
fn storeSums(offset: u32, sums: Sums) { subgroupMatrixStore<row_major>(&staging, offset, sums, ${n}u); }`;
}

export type MatrixVariant = Omit<GemmVariant, "tile" | "arithmetic"> & { readonly tile: MatrixTileName };

export function matrixKernel(v: MatrixVariant, shape: MatrixShape): Kernel {
  const halves: GemmVariant = { ...v, arithmetic: "f16" };
  const { m, n, k, lanes, sized } = shape;
  return makeKernel(
    productText(halves, {
      name: `matrix${m}x${n}x${k}-${lanes}${sized ? "-sized" : ""}`,
      enables: [
        "f16",
        "chromium_experimental_subgroup_matrix",
        ...(sized ? ["subgroups", "subgroup_size_control"] : []),
      ],
      ...(sized ? { subgroupSize: lanes } : {}),
      // Places of matrices follow from t / lanes: one number in a subgroup, which WGSL can't see.
      diagnosticsOff: ["chromium.subgroup_matrix_uniformity"],
      workgroupSize: matrixThreads(v.tile, shape),
      text: (at) => matrixText(halves, v.tile, shape, at),
    }),
  );
}

/** Loads of one thread: quads of 4 K, `threads` apart. All of one thread have the same K. */
interface Quads {
  readonly operand: "A" | "B";
  readonly count: number;
}

function matrixText(v: GemmVariant, tile: MatrixTileName, shape: MatrixShape, at: At) {
  const { rows, columns, spanRows, spanColumns } = MATRIX_TILES[tile];
  const { m, n, k, lanes } = shape;
  const threads = matrixThreads(tile, shape);
  const perRow = DEPTH / 4;
  const a: Quads = { operand: "A", count: (rows * perRow) / threads };
  const b: Quads = { operand: "B", count: (columns * perRow) / threads };
  const [mats, across, deep] = [spanRows / m, spanColumns / n, DEPTH / k];
  const subgroupsAcross = columns / spanColumns;
  const columnsOut = v.geglu ? columns / 2 : columns;
  const head = `
var<workgroup> tileA: array<f16, ${rows * STRIDE}>;
var<workgroup> tileB: array<f16, ${columns * STRIDE}>;
var<workgroup> staging: array<f32, ${(threads / lanes) * m * n}>;
${matrixDeclarations(shape)}
${STORAGE_FUNCTIONS}${ACTIVATION_FUNCTIONS}
${readFunctions(v, at)}`;
  const row = (i: number) => `t / ${perRow}u + ${(i * threads) / perRow}u`;
  const put = ({ operand, count }: Quads) => {
    const name = operand === "A" ? "a" : "b";
    const place = (i: number, j: number) => `tile${operand}[(${row(i)}) * ${STRIDE}u + inRow + ${j}u]`;
    return each(
      count,
      (i) => `    { let quad = ${unpacked(v, name, `${name}Quad${i}`)};
${each(4, (j) => `      ${place(i, j)} = quad[${j}];`).join("\n")} }`,
    ).join("\n");
  };
  const body = `
  // Tiles in groups of rows, each group column by column, as in gemm.ts.
  let perGroup = P.group * P.tilesN;
  let groupFirst = (wg / perGroup) * P.group;
  let groupRows = min(P.group, P.tilesM - groupFirst);
  let inGroup = wg % perGroup;
  let m0 = (groupFirst + inGroup % groupRows) * ${rows}u;
  let n0 = (inGroup / groupRows) * ${columnsOut}u;
  let lane = t % ${lanes}u;
  let subgroup = t / ${lanes}u;
  let spanRow = (subgroup / ${subgroupsAcross}u) * ${spanRows}u;
  let spanColumn = (subgroup % ${subgroupsAcross}u) * ${spanColumns}u;
  let inRow = (t % ${perRow}u) * 4u;
  let kq = inRow;
  var k0 = 0u;
${setUp(v, spanColumns, a.count, b.count, row)}
${each(mats, (i) => each(across, (j) => `  var sums${i}_${j}: Sums;`)).join("\n")}
${fetch(v, a.count, b.count)}
  let rounds = (P.k + ${DEPTH - 1}u) / ${DEPTH}u;
  for (var round = 0u; round < rounds; round++) {
    workgroupBarrier();
${put(a)}
${put(b)}
    workgroupBarrier();
    k0 += ${DEPTH}u;
    if (k0 < P.k) {
${v.conv ? advanceTap({ c: "c", tapX: "tapX", tapY: "tapY" }, DEPTH, pixels(v, a.count)) : ""}
${fetch(v, a.count, b.count)}
    }
${each(deep, (d) => {
  const left = (i: number) => `      let left${i} = loadLeft((spanRow + ${i * m}u) * ${STRIDE}u + ${d * k}u);`;
  const right = (j: number) => `      let right${j} = loadRight((spanColumn + ${j * n}u) * ${STRIDE}u + ${d * k}u);`;
  const sums = each(mats, (i) =>
    each(across, (j) => `      sums${i}_${j} = multiplyAdd(left${i}, right${j}, sums${i}_${j});`),
  );
  return `    {\n${[...each(mats, left), ...each(across, right), ...sums].join("\n")}\n    }`;
}).join("\n")}
  }
${finish(v, tile, shape, at)}`;
  return { head, body };
}

/** Where a thread's rows of A and B lie; for images, the place of each row's patch, and of K in it. */
function setUp(
  v: GemmVariant,
  spanColumns: number,
  aCount: number,
  bCount: number,
  row: (i: number) => string,
): string {
  const aRows = each(aCount, (i) => {
    const from = `  let aRow${i} = m0 + ${row(i)};`;
    if (!v.quadK) return from;
    return `${from}\n  ${v.conv ? "var" : "let"} aAt${i} = ${v.conv ? "-1" : quadA(`aRow${i}`, "kq")};`;
  });
  const half = spanColumns / 2;
  const bAt = (i: number) => (v.quadK ? `\n  let bAt${i} = ${quadB(`bRow${i}`, "kq", `bLimit${i}`)};` : "");
  // With the gate, the second half of each subgroup's columns are the gate's rows of the weights.
  const bRows = each(bCount, (i) =>
    v.geglu
      ? `  let bSpan${i} = ${row(i)};
  let bColumn${i} = n0 + bSpan${i} / ${spanColumns}u * ${half}u + bSpan${i} % ${half}u;
  let bRow${i} = select(bColumn${i}, P.n + bColumn${i}, bSpan${i} % ${spanColumns}u >= ${half}u);
  let bLimit${i} = select(P.n, 2u * P.n, bSpan${i} % ${spanColumns}u >= ${half}u);${bAt(i)}`
      : `  let bRow${i} = n0 + ${row(i)}; let bLimit${i} = P.n;${bAt(i)}`,
  );
  const patch = v.conv
    ? [
        "  var c = kq % P.channelsIn; var tapX = (kq / P.channelsIn) % P.kernelWidth; var tapY = (kq / P.channelsIn) / P.kernelWidth;",
        pixels(v, aCount),
      ]
    : [];
  const quads = (name: "a" | "b", count: number) =>
    each(count, (i) => `  var ${name}Quad${i} = ${rawType(v, name)}();`);
  return [...aRows, ...bRows, ...patch, ...quads("a", aCount), ...quads("b", bCount)].join("\n");
}

function pixels(v: GemmVariant, aCount: number): string {
  return v.quadK ? each(aCount, (i) => `      aAt${i} = pixelOf(aRow${i}, tapY, tapX);`).join("\n") : "";
}

/** Reads a thread's quads of the round that starts at K `k0` into registers. */
function fetch(v: GemmVariant, aCount: number, bCount: number): string {
  const none = (name: "a" | "b", count: number) => each(count, (i) => `      ${name}Quad${i} = ${rawType(v, name)}();`);
  if (!v.quadK) {
    const b = each(bCount, (i) => `    if (bRow${i} < bLimit${i}) { bQuad${i} = readB(bRow${i}, kq + k0); }`);
    return [...each(aCount, (i) => fetchOne(v, i)), ...none("b", bCount), ...b].join("\n");
  }
  const a = each(aCount, (i) =>
    v.conv ? `      aQuad${i} = readPixel(aAt${i}, c);` : `      aQuad${i} = readA(aAt${i} + (k0 >> 2u));`,
  );
  const b = each(bCount, (i) => `      bQuad${i} = readB(bAt${i} + (k0 >> 2u));`);
  return `    if (kq + k0 < P.k) {
${[...a, ...b].join("\n")}
    } else {
${[...none("a", aCount), ...none("b", bCount)].join("\n")}
    }`;
}

/** Without four numbers at once. */
function fetchOne(v: GemmVariant, i: number): string {
  if (!v.conv) return `    aQuad${i} = readA(aRow${i}, kq + k0);`;
  return `    { var ce = c; var xe = tapX; var ye = tapY; aQuad${i} = vec4<f16>();
      for (var e = 0u; e < 4u; e++) {
        if (kq + k0 + e < P.k) { aQuad${i}[e] = readPixel(pixelOf(aRow${i}, ye, xe), ce); }
        ce += 1u;
        if (ce == P.channelsIn) { ce = 0u; xe += 1u; if (xe == P.kernelWidth) { xe = 0u; ye += 1u; } }
      } }`;
}

/** Matrix by matrix through workgroup memory, four neighbouring results of a row to a lane at a time. */
function finish(v: GemmVariant, tile: MatrixTileName, { m, n, lanes }: MatrixShape, at: At): string {
  const { spanRows, spanColumns } = MATRIX_TILES[tile];
  const across = spanColumns / n;
  const shown = v.geglu ? across / 2 : across;
  const quads = Math.ceil((m * n) / 4 / lanes);
  const place = `subgroup * ${m * n}u`;
  const four = (i: number) =>
    `vec4<f32>(${each(4, (j) => `staging[${place} + (lane + ${i * lanes}u) * 4u + ${j}u]`).join(", ")})`;
  const span = v.geglu ? `spanColumn / 2u` : "spanColumn";
  const stored = (name: string) => `  workgroupBarrier();\n  storeSums(${place}, ${name});\n  workgroupBarrier();`;
  return each(spanRows / m, (r) =>
    each(shown, (c) => {
      const gate = v.geglu
        ? `${stored(`sums${r}_${c + shown}`)}\n${each(quads, (i) => `  let gate${i} = ${four(i)};`).join("\n")}`
        : "";
      const results = each(quads, (i) => {
        const inside = ((m * n) / 4) % lanes === 0 ? "true" : `lane + ${i * lanes}u < ${(m * n) / 4}u`;
        return `  if (${inside}) { let q = lane + ${i * lanes}u;
    let m = m0 + spanRow + ${r * m}u + q / ${n / 4}u;
    let column = n0 + ${span} + ${c * n}u + (q % ${n / 4}u) * 4u;
    if (m < P.m) {
${epilogueColumns(v, at, 0, "column")}
      let n = column;
${epilogueValue(v, at, { value: four(i), gate: `gate${i}` }, 0)}
    }
  }`;
      });
      return `  {\n${gate}\n${stored(`sums${r}_${c}`)}\n${results.join("\n")}\n  }`;
    }),
  ).join("\n");
}
