/**
 * @file What of faster kernels an adapter offers, by its facts and the declared precision: to be tried by the self-test
 * (run/self-test.ts) before it is used. Pure.
 */
import type { Precision } from "../../precision.ts";
import { type MatrixShape, matrixFits, matrixSharedBytes } from "../kernels/gemm-matrix-tiles.ts";
import type { KernelPaths } from "../lower/paths.ts";
import type { AdapterFacts } from "./adapter.ts";

/** A path that an adapter offers, to be tried. */
export interface Candidate {
  /** For notes. */
  readonly name: string;
  readonly paths: Partial<KernelPaths>;
  readonly problem: "products" | "attention" | "reductions";
  /** Bits must be the baseline's. */
  readonly exact: boolean;
  /** Not worth a try once these are chosen. */
  readonly unless?: (chosen: KernelPaths) => boolean;
}

/** What to try on an adapter, best first, and what was asked for that it lacks. */
export function candidatePaths(
  facts: AdapterFacts,
  precision: Precision,
): { readonly candidates: readonly Candidate[]; readonly notes: readonly string[] } {
  const candidates: Candidate[] = [];
  const { subgroups } = facts;
  if (facts.features.includes("subgroups") && subgroups && subgroups.min >= 2) {
    const lanes = Math.min(subgroups.min, MAX_LANES);
    candidates.push({ name: "subgroups", paths: { lanes }, problem: "reductions", exact: true });
  }
  if (precision === "fp32") return { candidates, notes: [] };
  if (!facts.features.includes("shader-f16")) {
    const note = "fp16 arithmetic was asked for, but this adapter offers no shader-f16: computing in fp32";
    return { candidates, notes: [note] };
  }
  const shape = matrixShape(facts);
  if (shape)
    candidates.push({ name: "subgroup matrices", paths: { matrix: shape }, problem: "products", exact: false });
  candidates.push({
    name: "fp16 products",
    paths: { products: "f16" },
    problem: "products",
    exact: false,
    unless: hasMatrix,
  });
  candidates.push({ name: "fp16 attention", paths: { attention: "f16" }, problem: "attention", exact: false });
  return { candidates, notes: [] };
}

function hasMatrix({ matrix }: KernelPaths): boolean {
  return matrix !== undefined;
}

/** The largest matrices with fp16 operands and fp32 sums that the kernel can use, where every subgroup has, or can get, one size. */
function matrixShape({ subgroups, matrices = [], limits, features }: AdapterFacts): MatrixShape | undefined {
  if (!subgroups || subgroups.min > MAX_LANES) return undefined;
  const sized = subgroups.min !== subgroups.max;
  if (sized && !features.includes("subgroup-size-control")) return undefined;
  const fitting = matrices
    .filter((found) => found.component === "f16" && found.result === "f32" && matrixFits(found))
    .sort((a, b) => b.m * b.n * b.k - a.m * a.n * a.k);
  for (const { m, n, k } of fitting) {
    const shape = { m, n, k, lanes: subgroups.min, ...(sized ? { sized } : {}), tiles: [] };
    const tiles = (["64x64", "128x128"] as const).filter(
      (tile) => matrixSharedBytes(tile, shape) <= limits.maxComputeWorkgroupStorageSize,
    );
    if (tiles.length > 0) return { ...shape, tiles };
  }
  return undefined;
}

/** Larger subgroups are used as if they were several. */
const MAX_LANES = 32;
