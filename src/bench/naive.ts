/** @file A kernel of one thread per result, fp16 weights in pairs, nothing shared: what tiles are worth. */
import { openDawn } from "../backend/webgpu/dawn.ts";
import { DeviceHealth } from "../backend/webgpu/failure.ts";
import { USAGE } from "../backend/webgpu/gpu-flags.ts";
import { type Kernel, makeKernel, RECORD_BYTES, writeRecord } from "../backend/webgpu/kernel.ts";
import { PipelineCache } from "../backend/webgpu/pipelines.ts";
import { fastest, type RateOptions } from "./rates.ts";
import type { BenchShape } from "./shapes.ts";

const THREADS = 64;
const MAX_WORKGROUPS = 65535;

/** out[m, n] = sum of a[m, k] b[n, k]; of images, k runs over nine taps of an NHWC image of `side` squared. */
export function naiveKernel(conv: boolean): Kernel {
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
  const kernel = naiveKernel(shape.kind === "conv");
  const cache = new PipelineCache(device, new DeviceHealth());
  const pipeline = await cache.get(kernel);
  const n = shape.columns;
  const channels = shape.depth;
  const k = shape.kind === "conv" ? 9 * channels : channels;
  const columns = Math.ceil(n / THREADS);
  const wanted = Math.min(shape.rows, MAX_WORKGROUPS / columns, mostOperations / (2 * n * k));
  const rows = Math.max(1, Math.floor(wanted));
  const buffer = (size: number, usage: number) => device.createBuffer({ size, usage });
  const record = buffer(RECORD_BYTES, USAGE.uniform | USAGE.copyTarget);
  const bytes = new ArrayBuffer(RECORD_BYTES);
  const side = Math.round(Math.sqrt(shape.rows / 2));
  writeRecord(new DataView(bytes), 0, kernel, 0, [0, 0, 0], { n, k, columns, side, channels });
  device.queue.writeBuffer(record, 0, bytes);
  const resources = [shape.rows * channels * 4, n * k * 2, rows * n * 4].map((size) => buffer(size, USAGE.storage));
  const group = device.createBindGroup({
    layout: cache.bindingLayout(resources.length),
    entries: [...resources, record].map((resource, binding) => ({ binding, resource: { buffer: resource } })),
  });
  const ms = await fastest(async () => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group, [0]);
    pass.dispatchWorkgroups(rows * columns);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
  }, options);
  device.destroy();
  await device.lost;
  // Dawn's instance must outlive its device.
  void opened.gpu;
  return (2 * rows * n * k) / ms / 1e6;
}
