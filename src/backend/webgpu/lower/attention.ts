/**
 * @file Dispatches of attention. Heads of up to 128 values: one kernel that never stores scores. Longer ones (the VAE's single
 * head of 512): scores, softmax and weighted sum as products over blocks of queries, through scratch memory. Pure.
 */

import { attentionKernel } from "../kernels/attention.ts";
import { MAX_DEPTH, paddedDepth, queryBlock, ROW_THREADS } from "../kernels/attention-variant.ts";
import { COPY_ITEMS, copyKernel } from "../kernels/movement.ts";
import { softmaxKernel } from "../kernels/softmax.ts";
import { BYTE_COST, type DispatchBuilder } from "./dispatches.ts";
import type { KernelPaths } from "./paths.ts";
import { addProduct, type TileChoice } from "./products.ts";

export interface AttentionShape {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly channels: number;
  readonly heads: number;
  readonly causal: boolean;
}

interface Places {
  readonly q: number;
  readonly k: number;
  readonly v: number;
  readonly out: number;
}

interface AttentionOptions {
  readonly workgroupBytes: number;
  readonly chooseTile: TileChoice;
  readonly paths: KernelPaths;
}

/** Scores held at once: 64 MiB of fp32. */
const SCORES = 1 << 24;

export function addAttention(
  builder: DispatchBuilder,
  label: string,
  places: Places,
  shape: AttentionShape,
  options: AttentionOptions,
): void {
  if (shape.channels / shape.heads <= MAX_DEPTH) addFlash(builder, label, places, shape, options);
  else addByProducts(builder, label, places, shape, options);
}

function addFlash(
  builder: DispatchBuilder,
  label: string,
  places: Places,
  { batch, queries, keys, channels, heads, causal }: AttentionShape,
  { workgroupBytes, paths }: AttentionOptions,
): void {
  const depth = channels / heads;
  const perBlock = queryBlock(depth, workgroupBytes, paths.attention);
  const blocks = Math.ceil(queries / perBlock);
  builder.add({
    label,
    operands: (["q", "k", "v", "out"] as const).map((name) => ({ name, storage: places[name] })),
    kernel: (slots) =>
      attentionKernel({
        slots: { q: slots.q!, k: slots.k!, v: slots.v!, out: slots.out! },
        depth: paddedDepth(depth),
        queries: perBlock,
        causal,
        quad: depth % 4 === 0,
        arithmetic: paths.attention,
        shuffles: (paths.lanes ?? 0) >= ROW_THREADS,
      }),
    workgroups: batch * heads * blocks,
    params: { queries, keys, channels, depth, heads, blocks, scale: 1 / Math.sqrt(depth) },
    costPerWorkgroup: 4 * perBlock * keys * paddedDepth(depth),
  });
}

function addByProducts(
  builder: DispatchBuilder,
  label: string,
  places: Places,
  { batch, queries, keys, channels, heads, causal }: AttentionShape,
  { chooseTile, paths }: AttentionOptions,
): void {
  const depth = channels / heads;
  // Rows of scores start at multiples of 4, so that the second product reads them four at once.
  const stride = Math.ceil(keys / 4) * 4;
  const block = Math.min(queries, Math.max(128, Math.floor(SCORES / stride / 128) * 128));
  const scores = builder.scratch(block * stride * 4);
  const transposed = builder.scratch(depth * stride * 4);
  for (let image = 0; image < batch; image++) {
    for (let head = 0; head < heads; head++) {
      const startK = image * keys * channels + head * depth;
      // v [S, D] -> [D, S]: K of the second product runs along keys.
      builder.add({
        label,
        operands: [
          { name: "x", storage: places.v },
          { name: "out", storage: transposed },
        ],
        kernel: () => copyKernel("f32"),
        workgroups: Math.ceil((keys * depth) / COPY_ITEMS),
        params: {
          items: keys * depth,
          size0: 1,
          size1: 1,
          size2: depth,
          size3: keys,
          source: startK,
          source0: 0,
          source1: 0,
          source2: 1,
          source3: channels,
          place: 0,
          place0: 0,
          place1: 0,
          place2: stride,
          place3: 1,
        },
        costPerWorkgroup: COPY_ITEMS * 8 * BYTE_COST,
      });
      for (let first = 0; first < queries; first += block) {
        const rows = Math.min(block, queries - first);
        const startQ = (image * queries + first) * channels + head * depth;
        addProduct(
          builder,
          {
            label,
            a: { storage: places.q, start: startQ, stride: channels },
            b: { storage: places.k, start: startK, stride: channels, type: "f32" },
            out: { storage: scores, stride },
            rows,
            columns: keys,
            depth,
            factor: 1 / Math.sqrt(depth),
          },
          chooseTile,
          paths,
        );
        builder.add({
          label,
          operands: [{ name: "x", storage: scores }],
          kernel: () => softmaxKernel(paths.lanes),
          workgroups: rows,
          params: { columns: keys, stride, causal: causal ? 1 : 0, firstRow: first },
          costPerWorkgroup: keys * 20 * BYTE_COST,
        });
        addProduct(
          builder,
          {
            label,
            a: { storage: scores, stride },
            b: { storage: transposed, stride, type: "f32" },
            out: { storage: places.out, start: startQ, stride: channels },
            rows,
            columns: depth,
            depth: keys,
          },
          chooseTile,
          paths,
        );
      }
    }
  }
}
