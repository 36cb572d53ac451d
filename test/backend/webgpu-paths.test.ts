/** @file The faster kernels of the `webgpu` device: against the reference, against each other, and the self-test that admits them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { StoredWeight } from "../../src/backend/device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import type { AdapterFacts } from "../../src/backend/webgpu/adapter/adapter.ts";
import { candidatePaths } from "../../src/backend/webgpu/adapter/candidates.ts";
import type { MatrixShape } from "../../src/backend/webgpu/kernels/gemm-matrix-tiles.ts";
import { lowerSegment } from "../../src/backend/webgpu/lower/lowering.ts";
import { BASELINE, describePrecision, type KernelPaths } from "../../src/backend/webgpu/lower/paths.ts";
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from "../../src/backend/webgpu/run/device.ts";
import { difference, forgetProbes, MAX_NMSE } from "../../src/backend/webgpu/run/self-test.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { sameOutputs, sameValues } from "../support/same.ts";
import { computeGraph, drawData, type GraphData, opGraph, segmentGraph } from "./conformance.ts";
import { deviceBackend } from "./device-backend.ts";
import { emulateMatrices } from "./emulated-matrices.ts";
import { RANDOM_CASES } from "./random-cases.ts";
import { SEGMENT_CASES } from "./segment-cases.ts";
import { findTestAdapter, openTestDevice } from "./software-vulkan.ts";

const adapter = await findTestAdapter();
const facts = adapter.skip === undefined ? await adapterFacts() : undefined;
const lacking = (feature: string) =>
  adapter.skip ?? (facts!.features.includes(feature) ? undefined : `this adapter has no ${feature}`);
const needs = (feature: string) => {
  const skip = lacking(feature);
  return skip === undefined ? {} : { skip };
};
const halves: KernelPaths = { products: "f16", attention: "f16" };
/** One small tile for all shapes: software takes seconds to compile a large one. */
const SMALL: WebGpuOptions = { paths: halves, chooseTile: ({ geglu }) => (geglu ? "32x64" : "32x32") };

async function adapterFacts(): Promise<AdapterFacts> {
  await using device = await openTestDevice(adapter, { paths: BASELINE });
  return device.adapter;
}

/** One device for each set of paths: its kernels are compiled once. */
const devices = new Map<string, WebGpuDevice>();
after(async () => {
  for (const device of devices.values()) await device[Symbol.asyncDispose]();
});
async function deviceWith(options: WebGpuOptions, key = JSON.stringify(options.paths)): Promise<WebGpuDevice> {
  const device = devices.get(key) ?? (await openTestDevice(adapter, options));
  devices.set(key, device);
  return device;
}

/**
 * Random cases of some ops that need few kernels: software takes a second to compile each. `perOp`: kernels that an op may add.
 */
function casesOf(paths: KernelPaths, ops: readonly string[], perOp: number): ReturnType<typeof opGraph>[] {
  return ops.flatMap((op) => {
    const keys = new Set<string>();
    const cases = RANDOM_CASES.filter((item) => item.op === op).map(opGraph);
    return cases.filter(({ graph }) => {
      const segment = graph.segments[0]!;
      const stored = segment.weights.map((id): StoredWeight => ({ dtype: "f16", shape: graph.values[id]!.shape }));
      const limits = { bindingBytes: 2 ** 27, workgroupBytes: 16384 };
      const { dispatches } = lowerSegment(graph, segment, stored, { limits, paths, chooseTile: () => "32x32" });
      const added = dispatches.map(({ kernel }) => kernel.key).filter((key) => !keys.has(key));
      if (keys.size + added.length > perOp) return false;
      for (const key of added) keys.add(key);
      return true;
    });
  });
}

/** Not disposed here: the device is shared. */
async function compute(options: WebGpuOptions, graph: ReturnType<typeof opGraph>["graph"], data: GraphData) {
  return await computeGraph(deviceBackend(await deviceWith(options)), graph, data, "f16");
}

async function requireClose(options: WebGpuOptions, item: ReturnType<typeof opGraph>): Promise<void> {
  await requireCloseOn(await deviceWith(options), item);
}

async function requireCloseOn(device: WebGpuDevice, { graph, data }: ReturnType<typeof opGraph>): Promise<void> {
  const expected = await computeGraph(createReferenceBackend(), graph, data, "f32");
  const found = await computeGraph(deviceBackend(device), graph, data, "f16");
  for (const [name, values] of expected) {
    const problem = difference(values, found.get(name)!, false);
    assert.equal(problem, undefined, `${graph.name} ${name}: ${problem}`);
  }
}

test("fp16 products and attention are within 5e-4 of the reference on random shapes", needs("shader-f16"), async () => {
  const cases = casesOf(halves, ["linear", "conv2d", "attention"], 2);
  assert.ok(cases.length >= 20, `${cases.length} cases`);
  for (const item of cases) await requireClose(SMALL, item);
});

test("fp16 products and attention in whole segments: epilogues, joins, enlarging", needs("shader-f16"), async () => {
  for (const name of ["ResNet block with skip, time and shortcut", "upsampling to an odd size"]) {
    const graph = segmentGraph(SEGMENT_CASES.find((item) => item.name === name)!);
    await requireClose(SMALL, { graph, data: drawData(graph, 5) });
  }
});

test("a long sum in fp16 errs no more than a short one: runs are added in fp32", needs("shader-f16"), async () => {
  const g = new GraphBuilder("long");
  // All of one sign: an fp16 sum of 4096 such products would be off by parts in a hundred.
  const x = g.input("x", [3, 4096]);
  g.segment("s", () => g.output("y", g.node("linear", [x, g.weight("w", [5, 4096])], {})));
  const graph = g.build();
  const drawn = drawData(graph, 2);
  const positive = <K>(values: ReadonlyMap<K, ArrayLike<number>>) =>
    new Map([...values].map(([id, numbers]) => [id, Float32Array.from(numbers, Math.abs)]));
  const data: GraphData = { inputs: positive(drawn.inputs), weights: positive(drawn.weights) };
  const expected = (await computeGraph(createReferenceBackend(), graph, data, "f32")).get("y")!;
  const found = (await compute(SMALL, graph, data)).get("y")!;
  let squares = 0;
  let size = 0;
  expected.forEach((value, i) => {
    squares += (found[i]! - value) ** 2;
    size += value ** 2;
  });
  // 2^-11 for each operand and for partial sums of 32: 1e-6 and less.
  assert.ok(squares / size < 1e-6, `NMSE ${squares / size}`);
});

test("scores that fp16 holds don't overflow on the way: queries are scaled first", needs("shader-f16"), async () => {
  const g = new GraphBuilder("large scores");
  const [q, k, v] = [g.input("q", [1, 3, 64]), g.input("k", [1, 40, 64]), g.input("v", [1, 40, 64])];
  g.segment("s", () => g.output("y", g.node("attention", [q, k, v], { heads: 1, causal: false })));
  const graph = g.build();
  const keys = Float32Array.from({ length: 40 * 64 }, (_, i) => (Math.floor(i / 64) === 37 ? 100 : 90));
  const values = Float32Array.from({ length: 40 * 64 }, (_, i) => i % 71);
  const inputs = new Map([
    [q.id, new Float32Array(3 * 64).fill(100)],
    [k.id, keys],
    [v.id, values],
  ]);
  const y = (await compute(SMALL, graph, { inputs, weights: new Map() })).get("y")!;
  // 64 products of 100 by 100 / 8 are 80,000, of 100 by 90 / 8 are 72,000: all weight is on key 37.
  for (let i = 0; i < y.length; i++) assert.equal(y[i], values[37 * 64 + (i % 64)]);
});

const MATRIX: MatrixShape = { m: 16, n: 16, k: 16, lanes: 32, tiles: ["64x64", "128x128"] };

async function withMatrices(shape: MatrixShape): Promise<WebGpuDevice> {
  const opened = await openDawn(adapter.name);
  emulateMatrices(opened, shape);
  return await createWebGpuDevice(opened, { paths: { ...BASELINE, matrix: shape } });
}

test(
  "products by matrices: all but the intrinsics, on random shapes and in segments",
  needs("shader-f16"),
  async () => {
    await using device = await withMatrices(MATRIX);
    const paths = { ...BASELINE, matrix: MATRIX };
    const cases = casesOf(paths, ["linear", "conv2d"], 2);
    assert.ok(cases.length >= 20, `${cases.length} cases`);
    const block = segmentGraph(SEGMENT_CASES.find(({ name }) => name === "transformer block")!);
    cases.push({ graph: block, data: drawData(block, 5) });
    for (const item of cases) await requireCloseOn(device, item);
  },
);

test("both matrix tiles give the same bits", needs("shader-f16"), async () => {
  const g = new GraphBuilder("tiles");
  // Sixty workgroups of 128 x 128: the larger tile's share.
  const x = g.input("x", [1000, 36]);
  g.segment("s", () => g.output("y", g.node("linear", [x, g.weight("w", [1000, 36])], {})));
  const graph = g.build();
  const data = drawData(graph, 6);
  const results = [];
  for (const tiles of [["64x64"], ["64x64", "128x128"]] as const) {
    const shape = { m: 16, n: 16, k: 16, lanes: 32, tiles };
    await using device = await withMatrices(shape);
    results.push((await computeGraph(deviceBackend(device), graph, data, "f16")).get("y")!);
  }
  assert.equal(difference(results[0]!, results[1]!, true), undefined);
});

test("tiles of either swizzle give the same bits in fp16", needs("shader-f16"), async () => {
  const g = new GraphBuilder("bits");
  const x = g.input("x", [140, 204]);
  g.segment("s", () => g.output("y", g.node("linear", [x, g.weight("w", [72, 204])], {})));
  const graph = g.build();
  const data = drawData(graph, 3);
  const results = [];
  for (const tile of ["32x32", "64x64"] as const) {
    const device = await openTestDevice(adapter, { paths: halves, chooseTile: () => tile });
    results.push((await computeGraph(deviceBackend(device), graph, data, "f16")).get("y")!);
    await device[Symbol.asyncDispose]();
  }
  for (const result of results.slice(1)) sameValues(result, results[0]!);
});

test("one device computes fp32 graphs and fp16 graphs of one structure side by side", needs("shader-f16"), async () => {
  const results = [];
  for (const fp32 of [true, false, true]) {
    const g = new GraphBuilder("range", { fp32 });
    const x = g.input("x", [4, 16]);
    g.segment("s", () => g.output("y", g.node("linear", [x, g.weight("w", [4, 16])], {})));
    const graph = g.build();
    const { inputs, weights } = drawData(graph, 4);
    const data: GraphData = { inputs: new Map([[x.id, new Float32Array(64).fill(70000)]]), weights };
    assert.equal(inputs.size, 1);
    results.push((await compute(SMALL, graph, data)).get("y")!);
  }
  assert.ok(results[0]!.every(Number.isFinite));
  sameValues(results[2]!, results[0]!);
  assert.ok(!results[1]!.every(Number.isFinite), "70000 is beyond fp16");
});

test("reductions through subgroups give the baseline's bits", needs("subgroups"), async () => {
  // Of this adapter's own size, and of smaller ones.
  const sizes = [2, facts!.subgroups!.min];
  const rows = casesOf({ ...BASELINE, lanes: 2 }, ["layerNorm", "groupStats"], 2);
  // A head of 144 numbers goes by a softmax of its own.
  const long = RANDOM_CASES.find(({ op, inputs, attrs }) => {
    return op === "attention" && inputs[0]!.shape[2]! / (attrs as { heads: number }).heads === 144;
  })!;
  assert.ok(rows.length >= 50);
  for (const { graph, data } of [...rows, opGraph(long, 1)]) {
    const expected = await compute({ paths: BASELINE }, graph, data);
    for (const lanes of sizes)
      sameOutputs(await compute({ paths: { ...BASELINE, lanes } }, graph, data), expected, graph.name);
  }
});

test("subgroups of another size pass the self-test too", needs("subgroups"), () => {
  const url = (name: string) => JSON.stringify(new URL(`../../src/${name}`, import.meta.url).href);
  const script = `const { createWebGpuDevice } = await import(${url("backend/webgpu/run/device.ts")});
    const { openDawn } = await import(${url("node/gpu/dawn.ts")});
    await using device = await createWebGpuDevice(await openDawn(${JSON.stringify(adapter.name.split("-")[0])}));
    console.log(JSON.stringify([device.adapter.subgroups, device.chosen]));`;
  const cwd = fileURLToPath(new URL("../..", import.meta.url));
  const env = { ...process.env, LP_NATIVE_VECTOR_WIDTH: "256" };
  const args = ["--input-type=module-typescript", "-e", script];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd, env, encoding: "utf8", timeout: 60_000 });
  assert.equal(status, 0, stderr);
  const [subgroups, { paths, notes }] = JSON.parse(stdout);
  assert.deepEqual(notes, []);
  assert.equal(paths.lanes, Math.min(32, subgroups.min));
});

test("a driver that computes fp16 wrong loses the path, with a note", needs("shader-f16"), async () => {
  const wrong: [find: string | RegExp, put: string, reason: RegExp][] = [
    [/h0_0 = fma/g, "h0_0 = h1_0 + fma", /fp16 products is not used: its self-test failed \(error/],
    ["enable f16;", "enable f16; nonsense", /fp16 products is not used: .*refused work/],
  ];
  for (const [find, put, reason] of wrong) {
    forgetProbes();
    const found = await openDawn(adapter.name);
    // Matrices would take the place of the path at hand.
    const opened = { ...found, facts: { ...found.facts, matrices: [] } };
    const { device } = opened;
    const create = device.createShaderModule.bind(device);
    device.createShaderModule = (descriptor) => {
      if (!descriptor.label?.includes("gemm")) return create(descriptor);
      return create({ ...descriptor, code: descriptor.code.replace(find, put) });
    };
    await using made = await createWebGpuDevice(opened, { precision: "fp16" });
    const { paths, notes } = made.chosen;
    assert.equal(paths.products, "f32");
    assert.equal(paths.attention, "f16");
    assert.equal(notes.length, 1);
    assert.match(notes[0]!, reason);
    assert.ok(notes[0]!.length < 300 && !notes[0]!.includes("\n"));
  }
  forgetProbes();
});

test("which paths are tried follows features and the declared precision", () => {
  const gpu = { features: ["shader-f16", "subgroups"], subgroups: { min: 32, max: 32 } } as unknown as AdapterFacts;
  const names = (...args: Parameters<typeof candidatePaths>) =>
    candidatePaths(...args).candidates.map(({ name }) => name);
  assert.deepEqual(names(gpu, "fp32"), ["subgroups"]);
  assert.deepEqual(names(gpu, "fp16"), ["subgroups", "fp16 products", "fp16 attention"]);
  const limits = { maxComputeWorkgroupStorageSize: 49152 };
  const matrices = [
    { component: "f16", result: "f16", m: 16, n: 16, k: 16 },
    { component: "f16", result: "f32", m: 16, n: 8, k: 8 },
    { component: "f16", result: "f32", m: 16, n: 16, k: 16 },
    { component: "u8", result: "u32", m: 16, n: 16, k: 32 },
  ];
  const tensor = { ...gpu, limits, matrices } as unknown as AdapterFacts;
  assert.deepEqual(names(tensor, "fp16"), ["subgroups", "subgroup matrices", "fp16 products", "fp16 attention"]);
  const [, found, instead] = candidatePaths(tensor, "fp16").candidates;
  const matrix: MatrixShape = { m: 16, n: 16, k: 16, lanes: 32, tiles: ["64x64", "128x128"] };
  assert.deepEqual(found!.paths, { matrix });
  assert.ok(instead!.unless!({ ...BASELINE, matrix }) && !instead!.unless!(BASELINE));
  assert.equal(describePrecision({ ...BASELINE, matrix }), "fp16 (subgroup matrices)");
  const small = { ...tensor, limits: { maxComputeWorkgroupStorageSize: 16384 } } as unknown as AdapterFacts;
  assert.deepEqual(candidatePaths(small, "fp16").candidates[1]!.paths.matrix!.tiles, ["64x64"]);
  const uneven = { ...tensor, subgroups: { min: 8, max: 32 } };
  assert.ok(!names(uneven, "fp16").includes("subgroup matrices"));
  const choosing = { ...uneven, features: [...uneven.features, "subgroup-size-control"] };
  assert.deepEqual(candidatePaths(choosing, "fp16").candidates[1]!.paths.matrix, { ...matrix, lanes: 8, sized: true });
  const plain = { features: [] } as unknown as AdapterFacts;
  assert.deepEqual(candidatePaths(plain, "fp32"), { candidates: [], notes: [] });
  const { candidates, notes } = candidatePaths(plain, "fp16");
  assert.deepEqual(candidates, []);
  assert.match(notes.join(), /offers no shader-f16: computing in fp32/);
  const lanes64 = { ...gpu, subgroups: { min: 64, max: 64 } };
  assert.equal(candidatePaths(lanes64, "fp32").candidates[0]!.paths.lanes, 32);
  assert.equal(describePrecision(BASELINE), "fp32");
  assert.equal(describePrecision(halves), "fp16 (shader-f16)");
});

test("a difference is found in one bit, in fp16 by size, and in what is no number", () => {
  const numbers = Float32Array.of(1, 2, 0);
  assert.equal(difference(numbers, Float32Array.of(1, 2, 0), true), undefined);
  assert.match(difference(numbers, Float32Array.of(1, 2, -0), true)!, /other bits in 1 of 3/);
  const off = (share: number) =>
    difference(
      numbers,
      numbers.map((value) => value * (1 + share)),
      false,
    );
  assert.equal(off(Math.sqrt(MAX_NMSE) * 0.99), undefined);
  assert.match(off(Math.sqrt(MAX_NMSE) * 1.01)!, /self-test failed/);
  assert.match(off(Number.NaN)!, /error NaN/);
});
