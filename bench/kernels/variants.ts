/** @file The kernels of an SDXL step, as the backend makes them, under names of their use: what compilers for cards are asked about. */

import { attentionKernel } from "../../src/backend/webgpu/kernels/attention.ts";
import { queryBlock } from "../../src/backend/webgpu/kernels/attention-variant.ts";
import { gemmKernel } from "../../src/backend/webgpu/kernels/gemm.ts";
import { matrixKernel } from "../../src/backend/webgpu/kernels/gemm-matrix.ts";
import {
  MATRIX_TILES,
  type MatrixShape,
  type MatrixTileName,
} from "../../src/backend/webgpu/kernels/gemm-matrix-tiles.ts";
import { DEPTH, TILE_NAMES, TILES, tileFits } from "../../src/backend/webgpu/kernels/gemm-tiles.ts";
import type { GemmVariant } from "../../src/backend/webgpu/kernels/gemm-variant.ts";
import {
  channelStatisticsKernel,
  groupStatisticsKernel,
  normalizeKernel,
} from "../../src/backend/webgpu/kernels/group-norm.ts";
import type { Kernel } from "../../src/backend/webgpu/kernels/kernel.ts";
import { layerNormKernel } from "../../src/backend/webgpu/kernels/layer-norm.ts";
import { softmaxKernel } from "../../src/backend/webgpu/kernels/softmax.ts";
import type { Arithmetic } from "../../src/backend/webgpu/kernels/wgsl.ts";

interface Offers {
  readonly workgroupBytes: number;
  readonly halves: boolean;
  readonly lanes?: number;
  readonly matrix?: MatrixShape;
}

export interface NamedKernel {
  readonly name: string;
  readonly kernel: Kernel;
  /** Products of a thread and round along K, where the kernel has rounds. */
  readonly roundFma?: number;
}

type Source = Omit<GemmVariant, "tile" | "arithmetic">;

/** Weights are fp16, numbers of channels multiples of 4, as in SDXL. */
const common = { bStorage: "f16", biasStorage: "f16", quadK: true, quadN: true, geglu: false } as const;
const SOURCES: Readonly<Record<string, Source>> = {
  linear: { ...common, slots: { a: 0, b: 1, bias: 2, residual: 3, out: 4 } },
  gate: { ...common, slots: { a: 0, b: 1, bias: 2, out: 3 }, geglu: true },
  conv: { ...common, slots: { a: 0, b: 1, bias: 2, channels: 3, out: 4 }, conv: { upsample: false } },
  "conv of enlarged": { ...common, slots: { a: 0, b: 1, bias: 2, out: 3 }, conv: { upsample: true } },
  "conv of joined": {
    ...common,
    slots: { a: 0, a2: 1, b: 2, bias: 3, channels: 4, out: 5 },
    conv: { upsample: false },
  },
  "fp32 weights": { ...common, slots: { a: 0, b: 1, out: 2 }, bStorage: "f32" },
};

export function* kernelsOf({ workgroupBytes, halves, lanes, matrix }: Offers): Generator<NamedKernel> {
  const arithmetics: readonly Arithmetic[] = halves ? ["f32", "f16"] : ["f32"];
  for (const arithmetic of arithmetics) {
    const suffix = arithmetic === "f16" ? " fp16" : "";
    for (const tile of TILE_NAMES) {
      for (const [source, v] of Object.entries(SOURCES)) {
        if (!tileFits(tile, { rows: 1, columns: 1, depth: 1, geglu: v.geglu })) continue;
        const { threadRows, threadColumns } = TILES[tile];
        const roundFma = threadRows * threadColumns * DEPTH;
        yield { name: `${source} ${tile}${suffix}`, kernel: gemmKernel({ ...v, tile, arithmetic }), roundFma };
      }
    }
    for (const depth of [32, 64, 96, 128]) {
      const kernel = attentionKernel({
        slots: { q: 0, k: 1, v: 2, out: 3 },
        depth,
        queries: queryBlock(depth, workgroupBytes, arithmetic),
        causal: false,
        quad: true,
        arithmetic,
        shuffles: (lanes ?? 0) >= 8,
      });
      yield { name: `attention ${depth}${suffix}`, kernel };
    }
  }
  if (matrix) {
    for (const tile of Object.keys(MATRIX_TILES) as MatrixTileName[])
      for (const [source, v] of Object.entries(SOURCES))
        yield { name: `${source} ${tile} matrices`, kernel: matrixKernel({ ...v, tile }, matrix) };
  }
  const weights = { wStorage: "f16", bStorage: "f16" } as const;
  yield { name: "group norm statistics", kernel: channelStatisticsKernel({ x: 0, parts: 1 }) };
  yield { name: "group norm sums", kernel: groupStatisticsKernel(lanes) };
  yield {
    name: "group norm",
    kernel: normalizeKernel({ slots: { x: 0, statistics: 1, w: 2, b: 3, out: 4 }, ...weights, silu: true, quad: true }),
  };
  yield {
    name: "layer norm",
    kernel: layerNormKernel({ slots: { x: 0, w: 1, b: 2, out: 3 }, ...weights, ...(lanes ? { lanes } : {}) }),
  };
  yield { name: "softmax", kernel: softmaxKernel(lanes) };
}
