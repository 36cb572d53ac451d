/** @file A kernel of one thread per result, fp16 weights in pairs, nothing shared: what tiles are worth. */

import { closeGpu } from "../backend/webgpu/adapter/opened-gpu.ts";
import { type Kernel, MAX_WORKGROUPS, makeKernel } from "../backend/webgpu/kernels/kernel.ts";
import { DispatchBuilder } from "../backend/webgpu/lower/dispatches.ts";
import { compileList, LooseList } from "../backend/webgpu/run/bindings.ts";
import { DeviceHealth } from "../backend/webgpu/run/device-health.ts";
import { PipelineCache } from "../backend/webgpu/run/pipelines.ts";
import { openDawn } from "../node/gpu/dawn.ts";
import { fastest, type RateOptions } from "./rates.ts";
import type { BenchShape } from "./shapes.ts";

const THREADS = 64;

/** out[m, n] = sum of a[m, k] b[n, k]; of images, k runs over nine taps of an NHWC image of `side` squared. */
function naiveKernel(conv: boolean): Kernel {
  const read = (at: (operand: string, index: string) => string, k: string) =>
    conv
      ? `a = 0.0;
    { let tap = (${k}) / P.channels; let c = (${k}) % P.channels;
      let y = i32(m / P.side % P.side) + i32(tap / 3u) - 1; let x = i32(m % P.side) + i32(tap % 3u) - 1;
      if (y >= 0 && x >= 0 && y < i32(P.side) && x < i32(P.side)) {
        a = ${at("a", "((m / (P.side * P.side) * P.side + u32(y)) * P.side + u32(x)) * P.channels + c")};
      } }`
      : `a = ${at("a", `m * P.k + ${k}`)};`;
  return makeKernel({
    name: "naive",
    variant: conv ? "conv" : "rows",
    operands: [
      { name: "a", slot: 0, view: "f32" },
      { name: "b", slot: 1, view: "u32" },
      { name: "out", slot: 2, view: "f32" },
    ],
    params: { n: "u32", k: "u32", columns: "u32", side: "u32", channels: "u32" },
    workgroupSize: THREADS,
    text: (at) => ({
      head: "",
      body: `
  let n = (wg % P.columns) * ${THREADS}u + t;
  let m = wg / P.columns;
  if (n >= P.n) { return; }
  var sum = 0.0;
  var a = 0.0;
  for (var k = 0u; k < P.k; k += 2u) {
    let w = unpack2x16float(${at("b", "(n * P.k + k) >> 1u")});
    ${read(at, "k")}
    sum = fma(a, w.x, sum);
    ${read(at, "k + 1u")}
    sum = fma(a, w.y, sum);
  }
  ${at("out", "m * P.n + n")} = sum;`,
    }),
  });
}

/** GFLOP/s of a linear layer or convolution, on as many rows as one dispatch and `mostOperations` take. */
export async function naiveGflops(
  shape: BenchShape,
  adapter: string,
  mostOperations: number,
  options: RateOptions,
): Promise<number> {
  const opened = await openDawn(adapter);
  const { device } = opened;
  const n = shape.columns;
  const channels = shape.depth;
  const k = shape.kind === "conv" ? 9 * channels : channels;
  const columns = Math.ceil(n / THREADS);
  const wanted = Math.min(shape.rows, MAX_WORKGROUPS / columns, mostOperations / (2 * n * k));
  const rows = Math.max(1, Math.floor(wanted));
  const builder = new DispatchBuilder(opened.facts.limits.maxStorageBufferBindingSize);
  builder.add({
    label: "naive",
    operands: [
      { name: "a", storage: builder.storage({ kind: "input", index: 0, bytes: shape.rows * channels * 4 }) },
      { name: "b", storage: builder.storage({ kind: "weight", index: 0, bytes: n * k * 2 }) },
      { name: "out", storage: builder.storage({ kind: "output", index: 0, bytes: rows * n * 4 }) },
    ],
    kernel: () => naiveKernel(shape.kind === "conv"),
    workgroups: rows * columns,
    params: { n, k, columns, side: Math.round(Math.sqrt(shape.rows / 2)), channels },
    costPerWorkgroup: 2 * k * THREADS,
  });
  const list = builder.build();
  const pipelines = new PipelineCache(device, new DeviceHealth());
  const loose = new LooseList(device, pipelines, list, await compileList(pipelines, list), "naive");
  const ms = await fastest(async () => {
    const encoder = device.createCommandEncoder();
    loose.encode(encoder);
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
  }, options);
  await closeGpu(opened);
  return (2 * rows * n * k) / ms / 1e6;
}
