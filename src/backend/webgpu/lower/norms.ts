/** @file Group normalization of images as dispatches: statistics of channels, of groups, and the normalization. Pure. */
import type { ValueId } from "../../../ir/graph.ts";
import { elementCount } from "../../../tensor/dtype.ts";
import {
  channelStatisticsKernel,
  groupStatisticsKernel,
  NORMALIZE_ITEMS,
  normalizeKernel,
  pixelsPerRun,
  STATISTICS_THREADS,
} from "../kernels/group-norm.ts";
import { BYTE_COST, type Window } from "./dispatches.ts";
import type { FusedGroupNorm } from "./fused-nodes.ts";
import type { LoweringScope, Place } from "./lowering-scope.ts";

/** Images [B, P, C] in memory order, in one storage or in two halves of the channels. */
export interface Image {
  readonly storages: readonly number[];
  readonly widths: readonly number[];
  readonly batch: number;
  readonly pixels: number;
  readonly channels: number;
}

function sources(storages: readonly number[], widths: readonly number[], window: (width: number) => Window) {
  return storages.map((storage, i) => ({ name: i === 0 ? "x" : "x2", storage, window: window(widths[i]!) }));
}

/** A fused node: images of four axes. */
export function addGroupNorm(l: LoweringScope, norm: FusedGroupNorm): void {
  const image: Image = {
    storages: norm.x.map((id) => l.floats(id)),
    widths: norm.x.map((id) => l.shape(id)[1]!),
    batch: norm.batch,
    pixels: norm.pixels,
    channels: norm.channels,
  };
  const label = l.label(norm.output);
  const statistics =
    norm.statistics === undefined
      ? groupStatistics(l, label, image, norm.groups, l.builder.scratch(norm.batch * norm.groups * 8))
      : l.floats(norm.statistics);
  normalize(l, label, image, statistics, norm, l.target(norm.output));
}

/** Mean and variance of each group into `out` [B, groups, 2]. */
export function groupStatistics(
  l: LoweringScope,
  label: string,
  { storages, widths, batch, pixels, channels }: Image,
  groups: number,
  out: number,
): number {
  const run = pixelsPerRun(pixels);
  const runs = Math.ceil(pixels / run);
  const blocks = Math.ceil(channels / STATISTICS_THREADS);
  const parts = l.builder.scratch(batch * runs * channels * 8);
  const runWindow =
    (width: number): Window =>
    (first, last) => {
      const pixel = (index: number) => Math.floor(index / runs) * pixels + (index % runs) * run;
      const end = Math.min(pixel(Math.ceil(last / blocks) - 1) + run, batch * pixels);
      return [pixel(Math.floor(first / blocks)) * width * 4, end * width * 4];
    };
  l.builder.add({
    label,
    operands: [...sources(storages, widths, runWindow), { name: "parts", storage: parts }],
    kernel: (s) => channelStatisticsKernel({ x: s.x!, x2: s.x2, parts: s.parts! }),
    workgroups: batch * runs * blocks,
    params: { pixels, channels, channelsFirst: widths[0]!, run, runs, blocks },
    costPerWorkgroup: run * STATISTICS_THREADS * 4 * BYTE_COST,
    cutWorkgroups: blocks,
  });
  l.builder.add({
    label,
    operands: [
      { name: "parts", storage: parts },
      { name: "statistics", storage: out },
    ],
    kernel: () => groupStatisticsKernel(l.paths.lanes),
    workgroups: batch * groups,
    params: { pixels, channels, run, runs, groups },
    costPerWorkgroup: (runs * channels * 8 * BYTE_COST) / groups,
  });
  return out;
}

function normalize(
  l: LoweringScope,
  label: string,
  { storages, widths, batch, pixels, channels }: Image,
  statistics: number,
  norm: Pick<FusedGroupNorm, "w" | "b" | "groups" | "eps" | "silu">,
  out: number,
): void {
  const quad = widths.every((width) => width % 4 === 0);
  const perPixel = channels / (quad ? 4 : 1);
  const items = batch * pixels * perPixel;
  const pixelWindow =
    (width: number): Window =>
    (first, last) => {
      const from = Math.floor((first * NORMALIZE_ITEMS) / perPixel);
      const to = Math.min(batch * pixels, Math.ceil((last * NORMALIZE_ITEMS) / perPixel));
      return [from * width * 4, to * width * 4];
    };
  const [w, b] = [l.place(norm.w), l.place(norm.b)];
  l.builder.add({
    label,
    operands: [
      ...sources(storages, widths, pixelWindow),
      { name: "statistics", storage: statistics },
      { name: "w", storage: w.storage },
      { name: "b", storage: b.storage },
      { name: "out", storage: out, window: pixelWindow(channels) },
    ],
    kernel: (s) =>
      normalizeKernel({
        slots: {
          x: s.x!,
          x2: s.x2,
          statistics: s.statistics!,
          w: s.w!,
          b: s.b!,
          out: s.out!,
        },
        wStorage: w.type,
        bStorage: b.type,
        silu: norm.silu,
        quad,
      }),
    workgroups: Math.ceil(items / NORMALIZE_ITEMS),
    params: { items, pixels, channels, channelsFirst: widths[0]!, groups: norm.groups, eps: norm.eps },
    costPerWorkgroup: NORMALIZE_ITEMS * (quad ? 4 : 1) * 8 * BYTE_COST,
  });
}

/** [B, C, ...] as an image in memory order: as it is with four axes, else transposed. */
export function imageOf(l: LoweringScope, id: ValueId): Image {
  const shape = l.shape(id);
  const [batch, channels] = shape as [number, number];
  const pixels = elementCount(shape.slice(2));
  const sizes = { widths: [channels], batch, pixels, channels };
  if (shape.length === 4) return { storages: [l.floats(id)], ...sizes };
  const transposed = l.builder.scratch(elementCount(shape) * 4);
  const from: Place = { storage: l.floats(id), type: "f32" };
  const byChannel = [channels * pixels, pixels, 1];
  l.copy(l.label(id), from, transposed, [batch, channels, pixels], byChannel, [channels * pixels, 1, channels]);
  return { storages: [transposed], ...sizes };
}

/** Normalizes what has been transposed into an image, and transposes it back. */
export function normalizeRows(
  l: LoweringScope,
  output: ValueId,
  image: Image,
  statistics: number,
  norm: Pick<FusedGroupNorm, "w" | "b" | "groups" | "eps">,
): void {
  const { batch, pixels, channels } = image;
  const label = l.label(output);
  const normal = l.builder.scratch(batch * pixels * channels * 4);
  normalize(l, label, image, statistics, { ...norm, silu: false }, normal);
  const byPixel = [channels * pixels, 1, channels];
  const from: Place = { storage: normal, type: "f32" };
  l.copy(label, from, l.target(output), [batch, channels, pixels], byPixel, [channels * pixels, pixels, 1]);
}
