/**
 * @file Products by subgroup matrices (tensor cores): fp16 operands, fp32 sums. The same operands, parameters and epilogue as
 * gemm.ts. A workgroup's subgroups share a tile: each reads its rows of A and columns of B from workgroup memory, K in rounds
 * of 32, and keeps a span of results in matrices. Rows of workgroup memory are padded by 8 halves: eight rows of
 * 16 bytes then lie in eight different groups of banks. Results pass through workgroup memory once, matrix by matrix, because
 * WGSL doesn't say which lane holds what. Source: Dawn's docs/dawn/features/subgroup_matrix.md. Twins: reference/matmul.ts,
 * linear and conv2d.
 */
import { epilogueColumns, epilogueValue } from "./gemm-epilogue.ts";
import { advance, fetch, matrixLoads, setUp, store } from "./gemm-matrix-loads.ts";
import {
  MATRIX_DEPTH,
  MATRIX_STRIDE,
  MATRIX_TILES,
  type MatrixShape,
  type MatrixTileName,
  matrixThreads,
} from "./gemm-matrix-tiles.ts";
import { readFunctions } from "./gemm-reads.ts";
import { type GemmVariant, productText, tileOrigin } from "./gemm-variant.ts";
import { type Kernel, makeKernel } from "./kernel.ts";
import { type At, each, lines, list } from "./text.ts";
import { ACTIVATION_FUNCTIONS, STORAGE_FUNCTIONS } from "./wgsl.ts";

/**
 * Types and functions that the kernel computes with, apart from the rest so that a test can put others in their place. Offsets
 * are in elements of the arrays; B lies as its columns, K contiguous.
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
      subgroupSize: sized ? lanes : undefined,
      // Places of matrices follow from t / lanes: one number in a subgroup, which WGSL can't see.
      diagnosticsOff: ["chromium.subgroup_matrix_uniformity"],
      workgroupSize: matrixThreads(v.tile, shape),
      text: (at) => matrixText(halves, v.tile, shape, at),
    }),
  );
}

function matrixText(v: GemmVariant, tile: MatrixTileName, shape: MatrixShape, at: At) {
  const { rows, columns, spanRows, spanColumns } = MATRIX_TILES[tile];
  const { m, n, lanes } = shape;
  const threads = matrixThreads(tile, shape);
  const loads = matrixLoads(v, MATRIX_TILES[tile], threads);
  const subgroupsAcross = columns / spanColumns;
  const columnsOut = v.geglu ? columns / 2 : columns;
  const head = `
var<workgroup> tileA: array<f16, ${rows * MATRIX_STRIDE}>;
var<workgroup> tileB: array<f16, ${columns * MATRIX_STRIDE}>;
var<workgroup> staging: array<f32, ${(threads / lanes) * m * n}>;
${matrixDeclarations(shape)}
${STORAGE_FUNCTIONS}${ACTIVATION_FUNCTIONS}
${readFunctions(v, at)}`;
  const body = `
  // Tiles in groups of rows, each group column by column, as in gemm.ts.
${tileOrigin(rows, columnsOut)}
  let lane = t % ${lanes}u;
  let subgroup = t / ${lanes}u;
  let spanRow = (subgroup / ${subgroupsAcross}u) * ${spanRows}u;
  let spanColumn = (subgroup % ${subgroupsAcross}u) * ${spanColumns}u;
${setUp(loads)}
${lines(spanRows / m, (i) => each(spanColumns / n, (j) => `  var sums${i}_${j}: Sums;`))}
${fetch(loads)}
  let rounds = (P.k + ${MATRIX_DEPTH - 1}u) / ${MATRIX_DEPTH}u;
  for (var round = 0u; round < rounds; round++) {
    workgroupBarrier();
${store(loads)}
    workgroupBarrier();
    k0 += ${MATRIX_DEPTH}u;
    if (k0 < P.k) {
${advance(loads)}
${fetch(loads)}
    }
${multiplyRound(tile, shape)}
  }
${finish(v, tile, shape, at)}`;
  return { head, body };
}

/** A subgroup's span of results: its rows of A by its columns of B, along the K of a round. */
function multiplyRound(tile: MatrixTileName, { m, n, k }: MatrixShape): string {
  const { spanRows, spanColumns } = MATRIX_TILES[tile];
  const [down, across] = [spanRows / m, spanColumns / n];
  return lines(MATRIX_DEPTH / k, (d) => {
    const left = (i: number) => `      let left${i} = loadLeft((spanRow + ${i * m}u) * ${MATRIX_STRIDE}u + ${d * k}u);`;
    const right = (j: number) =>
      `      let right${j} = loadRight((spanColumn + ${j * n}u) * ${MATRIX_STRIDE}u + ${d * k}u);`;
    const sums = each(down, (i) =>
      each(across, (j) => `      sums${i}_${j} = multiplyAdd(left${i}, right${j}, sums${i}_${j});`),
    );
    return `    {\n${[...each(down, left), ...each(across, right), ...sums].join("\n")}\n    }`;
  });
}

/** Matrix by matrix through workgroup memory, four neighbouring results of a row to a lane at a time. */
function finish(v: GemmVariant, tile: MatrixTileName, { m, n, lanes }: MatrixShape, at: At): string {
  const { spanRows, spanColumns } = MATRIX_TILES[tile];
  const across = spanColumns / n;
  const shown = v.geglu ? across / 2 : across;
  const quads = Math.ceil((m * n) / 4 / lanes);
  const place = `subgroup * ${m * n}u`;
  const four = (i: number) => `vec4<f32>(${list(4, (j) => `staging[${place} + (lane + ${i * lanes}u) * 4u + ${j}u]`)})`;
  const span = v.geglu ? `spanColumn / 2u` : "spanColumn";
  const stored = (name: string) => `  workgroupBarrier();\n  storeSums(${place}, ${name});\n  workgroupBarrier();`;
  return lines(spanRows / m, (r) =>
    each(shown, (c) => {
      const gate = v.geglu
        ? `${stored(`sums${r}_${c + shown}`)}\n${lines(quads, (i) => `  let gate${i} = ${four(i)};`)}`
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
  );
}
