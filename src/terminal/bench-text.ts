/** @file What a bench has measured, in lines for people. */
import { describeAdapter } from "../backend/webgpu/adapter/adapter.ts";
import type { BenchEvent } from "../bench/bench.ts";
import type { HostResult } from "../bench/host-bench.ts";
import type { ModelResult } from "../bench/model-bench.ts";
import type { ShapeResult, WebGpuBench } from "../bench/webgpu-bench.ts";

export function benchLines(event: BenchEvent): readonly string[] {
  switch (event.type) {
    case "shape":
      return [shapeLine(event.result)];
    case "adapter":
      return adapterLines(event.found);
    case "tilesKept":
      return [`tiles kept in ${event.file}`];
    case "noAdapter":
      return [`On the CPU: ${event.problem}.`];
    case "model":
      return [modelLine(event.result)];
  }
}

function shapeLine(result: ShapeResult | HostResult): string {
  const { name, rows, columns, depth, gflops, gbps = 0, tile, tiles, paths, naiveGflops, share }: ShapeResult = result;
  const [best] = Object.entries(tiles ?? {}).sort(([, a], [, b]) => b - a);
  const parts = [
    gflops === undefined ? `${gbps.toFixed(1)} GB/s` : `${gflops.toFixed(1)} GFLOP/s${tile ? ` (${tile})` : ""}`,
    ...(best ? [`best ${best[1].toFixed(1)} (${best[0]})`] : []),
    ...Object.entries(paths ?? {}).map(([path, value]) => `${path} ${value.toFixed(1)}`),
    ...(naiveGflops === undefined ? [] : [`naive ${naiveGflops.toFixed(1)}`]),
    ...(share === undefined ? [] : [`${Math.round(share * 100)} % of peak`]),
  ];
  return `${`${name} [${rows} x ${columns} x ${depth}]`.padEnd(48)} ${parts.join(", ")}`;
}

function adapterLines({ adapter, shrink, notes, uploads, overlap }: WebGpuBench): readonly string[] {
  const { ringGbps, writeBufferGbps } = uploads;
  const { uploadMs, computeMs, bothMs, hiddenShare } = overlap;
  const hidden = `${Math.round(hiddenShare * 100)} % of the shorter hidden`;
  return [
    `${describeAdapter(adapter)}${shrink > 1 ? `; rows divided by ${shrink}` : ""}`,
    ...notes,
    `uploads: ${ringGbps.toFixed(2)} GB/s by the ring, ${writeBufferGbps.toFixed(2)} by writeBuffer`,
    `upload ${ms(uploadMs)}, compute ${ms(computeMs)}, both at once ${ms(bothMs)}: ${hidden}`,
  ];
}

function modelLine(result: ModelResult): string {
  if ("error" in result) return `--vram ${result.vram}: ${result.error}`;
  const { vram, stepSeconds, waitSeconds, readBytes } = result;
  const weights = `${(readBytes / 1e9).toFixed(2)} GB of weights`;
  return `--vram ${vram}: ${stepSeconds.toFixed(2)} s/step, ${waitSeconds.toFixed(2)} of it waiting for ${weights}`;
}

const ms = (value: number) => `${value.toFixed(1)} ms`;
