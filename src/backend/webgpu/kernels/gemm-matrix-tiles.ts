/** @file The tiles of products by subgroup matrices, what an adapter's matrices must be for them, and which one a shape gets. */
import { type ProductShape, WORKGROUPS_WANTED } from "./gemm-tiles.ts";

/** Results of a workgroup, and the span of them that each of its subgroups keeps. */
export const MATRIX_TILES = {
  "128x128": { rows: 128, columns: 128, spanRows: 64, spanColumns: 32 },
  "64x64": { rows: 64, columns: 64, spanRows: 32, spanColumns: 32 },
} as const;
export type MatrixTileName = keyof typeof MATRIX_TILES;

/** One product of matrices that a subgroup does at once: [m, k] x [k, n] in fp16, sums in fp32. `lanes`: of a subgroup. */
export interface MatrixShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly lanes: number;
  /** The adapter has subgroups of other sizes too: the kernel asks for this one. */
  readonly sized?: boolean;
  /** Tiles whose workgroup memory fits. */
  readonly tiles: readonly MatrixTileName[];
}

/** K a round. */
export const MATRIX_DEPTH = 32;
/** Values from row to row of both operands. */
export const MATRIX_STRIDE = MATRIX_DEPTH + 8;

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
  return (rows + columns) * MATRIX_STRIDE * 2 + subgroupsOf(tile) * m * n * 4;
}

/** Whether spans of 32 are whole numbers of matrices, half a span (the gate's) too. */
export function matrixFits({ m, n, k }: Pick<MatrixShape, "m" | "n" | "k">): boolean {
  return [32 % m, 16 % n, MATRIX_DEPTH % k, n % 4].every((rest) => rest === 0);
}

/** The larger tile where it gives `WORKGROUPS_WANTED` workgroups and fits; every tile sums in the same order. */
export function chooseMatrixTile({ rows, columns }: ProductShape, { tiles }: MatrixShape): MatrixTileName {
  const workgroups = Math.ceil(rows / 128) * Math.ceil(columns / 128);
  return workgroups >= WORKGROUPS_WANTED && tiles.includes("128x128") ? "128x128" : "64x64";
}
