/**
 * @file GFLOP/s of the `webgpu` device by SDXL's own shapes, beside a kernel of one thread per result; GB/s of uploads through
 * the staging ring beside queue.writeBuffer. One JSON object on stdout.
 *
 *     node bench/webgpu_ops.ts [--adapter NAME] [--shrink 64] [--tune STATE.json]
 *
 * `--shrink` divides the rows of every product (software adapters); `--tune` measures every tile of every shape and keeps the
 * fastest in the state file that the engine reads.
 */
import { parseArgs } from "node:util";
import type { SegmentCall } from "../src/backend/device.ts";
import { describeAdapter } from "../src/backend/webgpu/adapter.ts";
import { type OpenedDevice, openDawn } from "../src/backend/webgpu/dawn.ts";
import { createWebGpuDevice, type WebGpuDevice } from "../src/backend/webgpu/device.ts";
import { DeviceHealth } from "../src/backend/webgpu/failure.ts";
import { makeKernel, RECORD_BYTES, writeRecord } from "../src/backend/webgpu/kernel.ts";
import {
  chooseTile,
  type ProductShape,
  TILE_NAMES,
  type TileName,
  tileFits,
} from "../src/backend/webgpu/kernels/gemm-tiles.ts";
import { PipelineCache } from "../src/backend/webgpu/pipelines.ts";
import { loadAdapterState, saveAdapterState } from "../src/backend/webgpu/state-file.ts";
import { tuneTiles } from "../src/backend/webgpu/tuning.ts";
import { GraphBuilder } from "../src/ir/builder.ts";

const { values } = parseArgs({
  options: {
    adapter: { type: "string" },
    shrink: { type: "string", default: "1" },
    tune: { type: "string" },
  },
});
const shrink = Number(values.shrink);
const where = values.adapter === undefined ? {} : { adapter: values.adapter };

interface Shape {
  readonly name: string;
  readonly kind: "linear" | "geglu" | "conv" | "attention";
  /** Rows (pixels, tokens) at 1024x1024 with both halves of the guidance. */
  readonly rows: number;
  /** Columns (output channels) and depth (input channels); heads of 64 for attention. */
  readonly columns: number;
  readonly depth: number;
}

const SHAPES: readonly Shape[] = [
  { name: "ff in, 32x32", kind: "geglu", rows: 2048, columns: 10240, depth: 1280 },
  { name: "ff out, 32x32", kind: "linear", rows: 2048, columns: 1280, depth: 5120 },
  { name: "to_q, 32x32", kind: "linear", rows: 2048, columns: 1280, depth: 1280 },
  { name: "to_q, 64x64", kind: "linear", rows: 8192, columns: 640, depth: 640 },
  { name: "3x3, 128x128", kind: "conv", rows: 32768, columns: 320, depth: 320 },
  { name: "3x3, 64x64", kind: "conv", rows: 8192, columns: 640, depth: 640 },
  { name: "3x3, 32x32", kind: "conv", rows: 2048, columns: 1280, depth: 1280 },
  { name: "self-attention, 64x64", kind: "attention", rows: 8192, columns: 640, depth: 640 },
];

/** A job that can be run again and again, and its operations. */
async function prepare(device: WebGpuDevice, shape: Shape): Promise<{ run: () => Promise<void>; flops: number }> {
  const rows = Math.max(64, Math.round(shape.rows / shrink));
  const { columns, depth, kind } = shape;
  const g = new GraphBuilder(shape.name);
  const side = Math.max(8, Math.round(Math.sqrt(rows)));
  const x = kind === "conv" ? g.input("x", [1, depth, side, side]) : g.input("x", [1, rows, depth]);
  const w = kind === "conv" ? g.weight("w", [columns, depth, 3, 3]) : g.weight("w", [columns, depth]);
  g.segment("s", () => {
    if (kind === "attention")
      return g.output("y", g.node("attention", [x, x, x], { heads: depth / 64, causal: false }));
    if (kind === "conv") return g.output("y", g.node("conv2d", [x, w], { stride: 1, pad: [1, 1, 1, 1] }));
    const y = g.node("linear", [x, w], {});
    return g.output("y", kind === "geglu" ? g.node("geglu", [y], {}) : y);
  });
  const graph = g.build();
  const segment = graph.segments[0]!;
  const stored = segment.weights.map((id) => ({ dtype: "f16" as const, shape: graph.values[id]!.shape }));
  const arena = async (bytes: number) => await device.createArena(Math.max(256, bytes), "bench");
  const span = async (bytes: number) => ({ arena: await arena(bytes), offsetBytes: 0, lengthBytes: bytes });
  const input = await span(device.activationBytes(graph, x.id));
  const output = await span(device.activationBytes(graph, segment.outputs[0]!));
  const weights = new Map<number, { span: Awaited<ReturnType<typeof span>>; stored: (typeof stored)[number] }>();
  for (const [i, id] of segment.weights.entries())
    weights.set(id, { span: await span(device.weightBytes(stored[i]!)), stored: stored[i]! });
  await device.createScratch(device.scratchBytes(graph, segment, stored).given);
  const inputs = new Map([[x.id, input]]);
  const outputs = new Map([[segment.outputs[0]!, output]]);
  const call: SegmentCall = { graph, segment, inputs, weights, outputs };
  const flops =
    kind === "attention" ? 4 * rows * rows * depth : 2 * (kind === "conv" ? side * side * 9 : rows) * columns * depth;
  return { run: () => device.run(call), flops };
}

/** Seconds of one run: the least of a few, after one that compiles. */
async function seconds(device: WebGpuDevice, run: () => Promise<void>): Promise<number> {
  await run();
  await device.settle();
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    const startMs = performance.now();
    await run();
    await device.settle();
    best = Math.min(best, (performance.now() - startMs) / 1000);
  }
  return best;
}

async function measure(shape: Shape, tile?: TileName): Promise<number> {
  const device = await createWebGpuDevice({ ...where, ...(tile ? { chooseTile: () => tile } : {}) });
  const { run, flops } = await prepare(device, shape);
  const gflops = flops / (await seconds(device, run)) / 1e9;
  await device[Symbol.asyncDispose]();
  return gflops;
}

/** out[m, n] = sum of a[m, k] b[n, k]: a thread a result, fp16 weights in pairs, nothing shared. */
const NAIVE = makeKernel({
  name: "naive",
  variant: "f16",
  operands: [
    { name: "a", slot: 0, view: "f32" },
    { name: "b", slot: 1, view: "u32" },
    { name: "out", slot: 2, view: "f32" },
  ],
  params: { n: "u32", k: "u32", columns: "u32" },
  workgroupSize: 64,
  text: (at) => ({
    head: "",
    body: `
  let n = (wg % P.columns) * 64u + t;
  let m = wg / P.columns;
  if (n >= P.n) { return; }
  var sum = 0.0;
  for (var k = 0u; k < P.k; k += 2u) {
    let w = unpack2x16float(${at("b", "(n * P.k + k) >> 1u")});
    sum = fma(${at("a", "m * P.k + k")}, w.x, sum);
    sum = fma(${at("a", "m * P.k + k + 1u")}, w.y, sum);
  }
  ${at("out", "m * P.n + n")} = sum;`,
  }),
});

async function naiveGflops(shape: Shape): Promise<number> {
  const opened = await openDawn(values.adapter);
  const { device } = opened;
  const cache = new PipelineCache(device, new DeviceHealth());
  const pipeline = await cache.get(NAIVE);
  const [m, n, k] = [Math.max(64, Math.round(shape.rows / shrink)), shape.columns, shape.depth];
  const buffer = (size: number, usage = 0x80) => device.createBuffer({ size, usage });
  const record = buffer(RECORD_BYTES, 0x40 | 0x8);
  const bytes = new ArrayBuffer(RECORD_BYTES);
  const columns = Math.ceil(n / 64);
  writeRecord(new DataView(bytes), 0, NAIVE, 0, [0, 0, 0], { n, k, columns });
  device.queue.writeBuffer(record, 0, bytes);
  const resources = [buffer(m * k * 4), buffer(n * k * 2), buffer(m * n * 4)];
  const group = device.createBindGroup({
    layout: cache.bindingLayout(3),
    entries: [...resources, record].map((resource, binding) => ({ binding, resource: { buffer: resource } })),
  });
  // Not more than a binding's dimension allows, and whole rows.
  const workgroups = Math.floor(Math.min(m * columns, 65535) / columns) * columns;
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 4; i++) {
    const startMs = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group, [0]);
    pass.dispatchWorkgroups(workgroups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    if (i > 0) best = Math.min(best, performance.now() - startMs);
  }
  await close(opened);
  return (2 * (workgroups / columns) * n * k) / best / 1e6;
}

/** Dawn's instance must outlive its device. */
async function close({ device, gpu }: OpenedDevice): Promise<void> {
  device.destroy();
  await device.lost;
  void gpu;
}

/** GB/s from host memory to an arena. */
async function uploadRates(bytes: number): Promise<{ ringGBps: number; writeBufferGBps: number }> {
  const device = await createWebGpuDevice(where);
  const arena = await device.createArena(bytes, "upload");
  const source = new Uint8Array(bytes).fill(1);
  const stored = { dtype: "f16" as const, shape: [bytes / 2] };
  const tensors = [{ name: "w", stored, storedOffsetBytes: 0, span: { arena, offsetBytes: 0, lengthBytes: bytes } }];
  const read = async (start: number, into: Uint8Array) => into.set(source.subarray(start, start + into.length));
  const timed = async (work: () => Promise<void>) => {
    await work();
    const startMs = performance.now();
    await work();
    return bytes / (performance.now() - startMs) / 1e6;
  };
  const ringGBps = await timed(async () => {
    await device.upload({ label: "bench", storedBytes: bytes, tensors, read });
    await device.settle();
  });
  await device[Symbol.asyncDispose]();
  const opened = await openDawn(values.adapter);
  const raw = opened.device;
  const target = raw.createBuffer({ size: bytes, usage: 0x80 | 0x8 });
  const writeBufferGBps = await timed(async () => {
    raw.queue.writeBuffer(target, 0, source);
    await raw.queue.onSubmittedWorkDone();
  });
  await close(opened);
  return { ringGBps, writeBufferGBps };
}

const productOf = (shape: Shape): ProductShape => ({
  rows: Math.max(64, Math.round(shape.rows / shrink)),
  columns: shape.columns,
  depth: shape.kind === "conv" ? 9 * shape.depth : shape.depth,
  geglu: shape.kind === "geglu",
});

const probe = await createWebGpuDevice(where);
const facts = probe.adapter;
await probe[Symbol.asyncDispose]();
const results = [];
for (const shape of SHAPES) {
  const product = productOf(shape);
  const tiles: Record<string, number> = {};
  if (values.tune !== undefined && shape.kind !== "attention")
    for (const name of TILE_NAMES) if (tileFits(name, product)) tiles[name] = await measure(shape, name);
  results.push({
    name: shape.name,
    gflops: await measure(shape),
    ...(shape.kind === "attention" ? {} : { tile: chooseTile(product) }),
    ...(shape.kind === "linear" ? { naiveGflops: await naiveGflops(shape) } : {}),
    ...(Object.keys(tiles).length > 0 ? { tiles } : {}),
  });
}
if (values.tune !== undefined) {
  const measured = new Map(results.map((result, i) => [SHAPES[i]!.name, result.tiles ?? {}]));
  const products = SHAPES.filter(({ kind }) => kind !== "attention");
  const tiles = await tuneTiles(products.map(productOf), async (product, tile) => {
    const shape = products.find((candidate) => JSON.stringify(productOf(candidate)) === JSON.stringify(product))!;
    return 1 / measured.get(shape.name)![tile]!;
  });
  await saveAdapterState(values.tune, facts, { ...(await loadAdapterState(values.tune, facts)), tiles });
}
const uploads = await uploadRates(64 * 1024 ** 2);
process.stdout.write(`${JSON.stringify({ adapter: describeAdapter(facts), shrink, results, uploads }, null, 1)}\n`);
