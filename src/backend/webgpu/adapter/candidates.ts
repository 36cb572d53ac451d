/**
 * @file Which kernels a device computes with. What changes bits (arithmetic in fp16) is a declared setting, `precision`; what
 * doesn't (reductions through subgroups) is used wherever the adapter has it. Both only after the self-test. Pure.
 */
import type { PrecisionName } from "../../engine-types.ts";
import type { AdapterFacts } from "./adapter.ts";
import { matrixFits, matrixSharedBytes } from "./kernels/gemm-matrix.ts";
import type { Arithmetic } from "./wgsl.ts";

/** One product of matrices that a subgroup does at once: [m, k] x [k, n] in fp16, sums in fp32. `lanes`: of a subgroup. */
export interface MatrixShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly lanes: number;
  /** The adapter has subgroups of other sizes too: the kernel asks for this one. */
  readonly sized?: boolean;
  /** Tiles whose workgroup memory fits. */
  readonly tiles: readonly ("64x64" | "128x128")[];
}

export interface KernelPaths {
  /** Arithmetic of linear layers and convolutions, where the graph allows less than fp32. */
  readonly products: Arithmetic;
  readonly attention: Arithmetic;
  /** Products by subgroup matrices (tensor cores) instead. */
  readonly matrix?: MatrixShape;
  /** Lanes of the smallest subgroup: reductions go from register to register among that many. */
  readonly lanes?: number;
}

/** What every adapter can do. */
export const BASELINE: KernelPaths = { products: "f32", attention: "f32" };

/** The paths of graphs whose values fp16 can't hold: the bits of fp32 alone. */
export function widePaths({ lanes }: KernelPaths): KernelPaths {
  return { ...BASELINE, ...(lanes === undefined ? {} : { lanes }) };
}

/** For messages and the record of a picture: "fp32", "fp16 (shader-f16)", "fp16 (subgroup matrices)". */
export function describePrecision({ products, attention, matrix }: KernelPaths): string {
  if (matrix) return "fp16 (subgroup matrices)";
  return products === "f16" || attention === "f16" ? "fp16 (shader-f16)" : "fp32";
}

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
  precision: PrecisionName,
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
