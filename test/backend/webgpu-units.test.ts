/** @file The pure parts of the `webgpu` backend: adapters, pacing, rebuilds, scratch, fusion, uploads, cuts of large tensors. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { BlockTensor } from "../../src/backend/device.ts";
import {
  type AdapterFacts,
  chooseAdapter,
  isSoftware,
  NEEDED_LIMITS,
} from "../../src/backend/webgpu/adapter/adapter.ts";
import { shapeKey, tableChoice, tuneTiles } from "../../src/backend/webgpu/adapter/tuning.ts";
import { unaryKernel } from "../../src/backend/webgpu/kernels/elementwise.ts";
import {
  chooseTile,
  TILE_NAMES,
  TILES,
  tileFits,
  tileSharedBytes,
} from "../../src/backend/webgpu/kernels/gemm-tiles.ts";
import { DispatchBuilder } from "../../src/backend/webgpu/lower/dispatches.ts";
import { fuseSegment } from "../../src/backend/webgpu/lower/fusion.ts";
import { placeScratch } from "../../src/backend/webgpu/lower/scratch-places.ts";
import { WebGpuSizes } from "../../src/backend/webgpu/lower/sizes.ts";
import { planUpload, RECORDS_BYTES } from "../../src/backend/webgpu/lower/upload-plan.ts";
import { Pacer, TARGET_MS, TRUST_AFTER_MS } from "../../src/backend/webgpu/run/pacing.ts";
import { DeviceError } from "../../src/errors.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { loadAdapterState, saveAdapterState } from "../../src/node/gpu/adapter-state.ts";
import { allowRebuild, noteRebuild, requireStable } from "../../src/node/gpu/rebuild-limiter.ts";
import { vulkanLoaderProblem } from "../../src/node/gpu/vulkan-loader.ts";
import { segmentGraph } from "./conformance.ts";
import { SEGMENT_CASES } from "./segment-cases.ts";

const gpu: AdapterFacts = {
  backend: "vulkan",
  vendor: "nvidia",
  architecture: "pascal",
  device: "NVIDIA GeForce GTX 1060 6GB",
  description: "driver 550",
  software: false,
  features: [],
  limits: NEEDED_LIMITS,
};
const lavapipe: AdapterFacts = { ...gpu, vendor: "mesa", device: "llvmpipe (LLVM 15)", software: true };
const refused = (code: string, text: RegExp) => (error: unknown) =>
  error instanceof DeviceError && error.code === code && text.test(error.message);

test("the first real adapter is chosen, a software one only by name", () => {
  assert.equal(chooseAdapter([lavapipe, gpu]), 1);
  assert.equal(chooseAdapter([gpu, lavapipe], "LLVMPIPE"), 1);
  assert.equal(chooseAdapter([lavapipe, gpu], "gtx 1060"), 1);
  assert.equal(chooseAdapter([lavapipe, gpu], "vulkan"), 1);
  assert.throws(() => chooseAdapter([lavapipe, gpu], "-"), refused("E_NO_ADAPTER", /no graphics adapter has this/));
  assert.throws(
    () => chooseAdapter([lavapipe]),
    refused("E_NO_ADAPTER", /found: llvmpipe.*software.*--adapter llvmpipe\./),
  );
  assert.throws(() => chooseAdapter([]), refused("E_NO_ADAPTER", /found: none/));
  assert.throws(() => chooseAdapter([gpu], "radeon"), refused("E_NO_ADAPTER", /radeon.*GTX 1060/));
});

test("a name is known however its words are joined: Dawn's way, or as the box has it", () => {
  const dawns = { ...gpu, device: "nvidia-geforce-gtx-1060-6gb" };
  const software = { ...lavapipe, device: "llvmpipe-llvm-15-0-6-256-bits-" };
  for (const name of ["GTX 1060", "gtx-1060", "NVIDIA GeForce GTX 1060 6GB", "nvidia-geforce-gtx-1060-6gb"]) {
    assert.equal(chooseAdapter([software, dawns], name), 1, name);
    assert.equal(chooseAdapter([software, gpu], name), 1, name);
  }
  assert.throws(() => chooseAdapter([software]), refused("E_NO_ADAPTER", /--adapter llvmpipe\./));
});

test("a missing Vulkan loader is told, one that is there is not taken for missing", () => {
  const failing = (text: string) => (name: string) => {
    throw new Error(`${text.replace("NAME", name)}\nmore`);
  };
  const missing = failing("NAME: cannot open shared object file: No such file or directory");
  const found = vulkanLoaderProblem("linux", missing)!;
  assert.equal(
    found,
    "Vulkan's loader is missing: libvulkan.so.1: cannot open shared object file: No such file or directory",
  );
  assert.equal(vulkanLoaderProblem("linux", failing("Module did not self-register: 'NAME'.")), undefined);
  assert.equal(
    vulkanLoaderProblem("linux", () => undefined),
    undefined,
  );
  assert.equal(vulkanLoaderProblem("win32", missing), undefined);
  assert.throws(
    () => chooseAdapter([], undefined, found),
    refused("E_NO_ADAPTER", /found: none; Vulkan's loader is missing/),
  );
});

test("an adapter that is too small is passed over, and named if there is no other", () => {
  const small = { ...gpu, limits: { ...NEEDED_LIMITS, maxStorageBufferBindingSize: 1000 } };
  assert.equal(chooseAdapter([small, gpu]), 1);
  assert.throws(() => chooseAdapter([small]), refused("E_GPU_LIMIT", /found 1000, needed 134217728/));
});

test("software adapters are known by name and by Dawn's flag", () => {
  for (const name of [
    "llvmpipe (LLVM 15)",
    "SwiftShader Device",
    "Microsoft Basic Render Driver",
    "microsoft-basic-render-driver",
  ])
    assert.equal(isSoftware(name, false), true);
  assert.equal(isSoftware("NVIDIA GeForce RTX 2060", false), false);
  assert.equal(isSoftware("anything", true), true);
});

test("submits follow the measured rate, grow slowly, and are halved after a loss", () => {
  const pacer = new Pacer({ costPerMs: 1000 });
  assert.equal(pacer.budget, 1000 * TARGET_MS);
  pacer.observe(1e6, 100); // ten times as fast
  assert.equal(pacer.state.costPerMs, 2000);
  for (let i = 0; i < 20; i++) pacer.observe(10, 5); // too short to prove that it is slow
  assert.equal(pacer.state.costPerMs, 2000);
  pacer.observe(200_000, 400); // a full submit took four times too long
  assert.equal(pacer.state.costPerMs, 500);
  pacer.observe(50_000, 5000); // something else took the time
  assert.equal(pacer.state.costPerMs, 125);
  pacer.halve();
  assert.equal(pacer.budget, (125 * TARGET_MS) / 2);
  assert.equal(new Pacer(pacer.state).budget, pacer.budget);
  for (let i = 0; i < 20; i++) pacer.halve();
  assert.equal(pacer.state.caution, 1 / 64);
});

test("a loss is forgiven after ten minutes of work without another, also over several starts", () => {
  let pacer = new Pacer({ costPerMs: 1000, caution: 0.25 });
  const work = (ms: number) => pacer.observe(1000 * ms, ms);
  work(TRUST_AFTER_MS - 1000);
  assert.equal(pacer.state.caution, 0.25);
  pacer = new Pacer(pacer.state);
  work(1000);
  assert.equal(pacer.state.caution, 0.5);
  work(TRUST_AFTER_MS - 1000);
  pacer.halve();
  work(1000);
  assert.equal(pacer.state.caution, 0.25);
  for (let i = 0; i < 5; i++) work(TRUST_AFTER_MS);
  assert.equal(pacer.state.caution, 1);
});

test("ends that are reported late and in heaps raise no rate beyond the true one", () => {
  const pacer = new Pacer({ costPerMs: 1000 });
  for (let i = 0; i < 200; i++) {
    pacer.observe(10_000, 40); // this and the three that were done with it, at 1000 a millisecond
    for (let mate = 0; mate < 3; mate++) pacer.observe(10_000, 0);
    pacer.observe(0, 300); // only copies
  }
  assert.ok(pacer.state.costPerMs > 500 && pacer.state.costPerMs < 2000, `${pacer.state.costPerMs}`);
});

test("two rebuilds a minute, whatever the clock does", () => {
  assert.deepEqual(allowRebuild([], 1000), [1000]);
  assert.deepEqual(allowRebuild([1000], 2000), [1000, 2000]);
  assert.equal(allowRebuild([1000, 2000], 3000), undefined);
  assert.deepEqual(allowRebuild([1000, 2000], 61_500), [2000, 61_500]);
  assert.equal(allowRebuild([9e9, 9e9], 3000), undefined);
  assert.deepEqual(allowRebuild([Number.NaN, 2000], 3000), [2000, 3000]);
});

test("rebuilds are counted across processes, and a damaged file counts none", async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "solvay-"));
  try {
    const file = path.join(folder, "gpu", "rebuilds.json");
    await requireStable(file, 1000);
    await noteRebuild(file, 1000);
    await requireStable(file, 2000);
    await noteRebuild(file, 2000);
    await assert.rejects(requireStable(file, 3000), refused("E_GPU_UNSTABLE", /3 times in 60 s/));
    await requireStable(file, 70_000);
    await assert.rejects(noteRebuild(file, 3000), refused("E_GPU_UNSTABLE", /3 times in 60 s/));
    await noteRebuild(file, 70_000);
    await writeFile(file, "{");
    await noteRebuild(file, 70_001);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("temporaries that live at the same time don't overlap, others share", () => {
  const items = [
    { bytes: 1000, first: 0, last: 1 },
    { bytes: 300, first: 1, last: 2 },
    { bytes: 900, first: 2, last: 3 },
    { bytes: 10, first: 0, last: 3 },
  ];
  const { offsets, bytes } = placeScratch(items);
  items.forEach((a, i) => {
    items.forEach((b, j) => {
      if (i >= j || a.first > b.last || b.first > a.last) return;
      assert.ok(offsets[i]! + a.bytes <= offsets[j]! || offsets[j]! + b.bytes <= offsets[i]!, `${i} and ${j} overlap`);
    });
    assert.equal(offsets[i]! % 256, 0);
    assert.ok(offsets[i]! + a.bytes <= bytes);
  });
  assert.equal(offsets[0], offsets[2]);
  assert.equal(bytes, 1024 + 512 + 256);
});

const fused = (name: string) => {
  const graph = segmentGraph(SEGMENT_CASES.find((item) => item.name === name)!);
  return fuseSegment(graph, graph.segments[0]!);
};

test("a ResNet block is two norms and three products; nothing is joined, added or activated by itself", () => {
  const steps = fused("ResNet block with skip, time and shortcut");
  assert.deepEqual(
    steps.map(({ kind }) => kind),
    ["groupNorm", "product", "groupNorm", "product", "product"],
  );
  const products = steps.filter((step) => step.kind === "product");
  assert.deepEqual(
    products.map((step) => [step.x.length, step.channels !== undefined, step.residual !== undefined]),
    [
      [1, true, false],
      [1, false, false],
      [2, false, true],
    ],
  );
  assert.ok(steps.every((step) => step.kind !== "groupNorm" || step.silu));
});

test("a transformer block is norms, attentions and products with residuals and gate", () => {
  const steps = fused("transformer block");
  const count = (kind: string) => steps.filter((step) => step.kind === kind).length;
  assert.equal(count("product"), 8);
  assert.equal(count("plain"), 5); // three layer norms, two attentions
  assert.equal(steps.length, 13);
  assert.equal(steps.filter((step) => step.kind === "product" && step.residual !== undefined).length, 3);
  assert.equal(steps.filter((step) => step.kind === "product" && step.geglu).length, 1);
});

test("what is read twice, or is a result, stays", () => {
  const steps = fused("a result that is read on, and one weight in two places");
  assert.deepEqual(
    steps.map((step) => step.kind === "product" && [step.activation, step.residual !== undefined]),
    [
      ["silu", false],
      [undefined, true],
    ],
  );
  const up = fused("upsampling to an odd size");
  assert.equal(up.length, 1);
  const image = up[0]?.kind === "product" ? up[0].image : undefined;
  assert.deepEqual([image?.inHeight, image?.gridHeight], [4, 7]);
});

test("a result with one reader stays too", () => {
  const g = new GraphBuilder("result");
  const x = g.input("x", [1, 4]);
  g.segment("s", () => {
    const y = g.node("linear", [x, g.weight("w", [4, 4])], {});
    g.output("y", y);
    g.output("z", g.node("silu", [y], {}));
  });
  const graph = g.build();
  assert.deepEqual(
    fuseSegment(graph, graph.segments[0]!).map(({ output }) => output),
    graph.segments[0]!.outputs,
  );
});

test("every tile fits in WebGPU's default workgroup memory; the choice follows the shape", () => {
  for (const name of TILE_NAMES) assert.ok(tileSharedBytes(TILES[name]) <= 16384, name);
  assert.equal(chooseTile({ rows: 8192, columns: 10240, depth: 1280, geglu: true }), "128x128");
  assert.equal(chooseTile({ rows: 2, columns: 1280, depth: 1280, geglu: false }), "32x32");
  for (const rows of [1, 77, 2048]) {
    const shape = { rows, columns: 256, depth: 64, geglu: true };
    assert.ok(tileFits(chooseTile(shape), shape));
  }
});

const tensor = (
  name: string,
  dtype: "f16" | "f32" | "f64",
  shape: readonly number[],
  storedOffsetBytes: number,
): BlockTensor => {
  const arena = { label: "a", lengthBytes: 1 << 20, [Symbol.dispose]: () => undefined };
  return { name, stored: { dtype, shape }, storedOffsetBytes, span: { arena, offsetBytes: 0, lengthBytes: 1 << 20 } };
};

test("uploads read every stored byte once, in pieces that fit, and copy in multiples of four", () => {
  const tensors = [
    tensor("bias", "f16", [5], 2),
    tensor("linear", "f16", [100, 33], 12),
    tensor("conv", "f16", [7, 5, 3, 3], 6612),
    tensor("double", "f64", [300], 7248),
  ];
  const slotBytes = 1024;
  const pieces = planUpload(tensors, slotBytes);
  const stored = new Map<number, number>();
  for (const { reads } of pieces) {
    for (const { startByte, slotOffset, length } of reads) {
      assert.ok(slotOffset + length <= slotBytes);
      for (let i = 0; i < length; i++) stored.set(startByte + i, (stored.get(startByte + i) ?? 0) + 1);
    }
  }
  assert.ok([...stored.values()].every((times) => times === 1));
  assert.equal(stored.size, 10 + 6600 + 630 + 2400);
  const moved = (index: number) =>
    pieces
      .flatMap(({ copies, repacks }) => [...copies, ...repacks])
      .filter((copy) => copy.tensor === index)
      .map(({ targetOffset, bytes }) => [targetOffset, targetOffset + bytes]);
  for (const [index, bytes] of [
    [0, 12],
    [1, 6600],
    [2, 632],
    [3, 1200],
  ] as const) {
    const parts = moved(index);
    assert.equal(parts[0]![0], 0);
    for (const [i, part] of parts.entries()) if (i > 0) assert.equal(part[0], parts[i - 1]![1]);
    assert.equal(parts.at(-1)![1], bytes);
  }
  assert.ok(pieces.some(({ repacks }) => repacks.length > 0));
  assert.throws(() => planUpload([tensor("conv", "f32", [4, 64, 3, 3], 0)], slotBytes), RangeError);
});

test("what is repacked in runs shares no word with the next run, and a piece has no more runs than records", () => {
  // Rows of 45 values: an odd number of halves.
  const odd = planUpload([tensor("conv", "f16", [9, 5, 3, 3], 0)], 300).flatMap(({ repacks }) => repacks);
  assert.deepEqual(
    odd.map(({ values, targetOffset }) => [values, targetOffset]),
    [
      [90, 0],
      [90, 180],
      [90, 360],
      [135, 540],
    ],
  );
  const many = Array.from({ length: 70 }, (_, i) => tensor(`conv ${i}`, "f16", [2, 2, 3, 3], i * 72));
  const runs = planUpload(many, 65_536).map(({ repacks }) => repacks.length);
  assert.deepEqual(runs, [32, 32, 6]);
  assert.equal(RECORDS_BYTES, 32 * 256);
});

test("a tensor larger than a binding is cut into parts that cover it", () => {
  const builder = new DispatchBuilder(4096);
  const bytes = 10_240;
  const x = builder.storage({ kind: "input", index: 0, bytes });
  const out = builder.storage({ kind: "output", index: 0, bytes });
  const window = (first: number, last: number) => [first * 1024, Math.min(last * 1024, bytes)] as const;
  builder.add({
    label: "test",
    operands: [
      { name: "x", storage: x, window },
      { name: "out", storage: out, window },
    ],
    kernel: () => unaryKernel("silu"),
    workgroups: 10,
    params: { quads: bytes / 16 },
    costPerWorkgroup: 1,
  });
  const { parts } = builder.build().dispatches[0]!;
  assert.deepEqual(
    parts.map(({ windows }) => windows[0]),
    [
      [0, 4096],
      [4096, 8192],
      [8192, 10_240],
    ],
  );
  assert.deepEqual(
    parts.flatMap(({ runs }) => runs.map(({ first, workgroups }) => [first, workgroups])),
    [
      [0, 4],
      [4, 4],
      [8, 2],
    ],
  );
});

test("large dispatches can begin anew within; sizes need no graphics card", () => {
  const g = new GraphBuilder("large");
  const x = g.input("x", [2, 4096, 640]);
  const w = g.weight("w", [5120, 640]);
  g.segment("s", () => g.output("y", g.node("silu", [g.node("linear", [x, w], {})], {})));
  const graph = g.build();
  const sizes = new WebGpuSizes();
  const stored = [{ dtype: "f16" as const, shape: [5120, 640] }];
  const { list } = sizes.list(graph, graph.segments[0]!, stored);
  assert.equal(list.dispatches.length, 1);
  const runs = list.dispatches[0]!.parts.flatMap((part) => part.runs);
  // 53.7 GFLOP in runs of at most 4.
  assert.ok(runs.length >= 13 && runs.length <= 16, `${runs.length} runs`);
  assert.equal(
    runs.reduce((sum, run) => sum + run.workgroups, 0),
    64 * 40,
  );
  assert.deepEqual(sizes.scratchBytes(graph, graph.segments[0]!, stored), { sharedBytes: 0, privateBytes: 0 });
  assert.equal(sizes.weightBytes(stored[0]!), 5120 * 640 * 2);
});

test("an fp32 graph is told from one that may be fp16: lists and kernels of its own", () => {
  const graphs = [false, true].map((fp32) => {
    const g = new GraphBuilder("same", { fp32 });
    const x = g.input("x", [4, 16]);
    g.segment("s", () => g.output("y", g.node("linear", [x, g.weight("w", [4, 16])], {})));
    return g.build();
  });
  const limits = { bindingBytes: 2 ** 27, workgroupBytes: 16384 };
  const sizes = new WebGpuSizes({ limits, paths: { products: "f16", attention: "f16", lanes: 32 } });
  const stored = [{ dtype: "f16" as const, shape: [4, 16] }];
  const [half, full] = graphs.map((graph) => sizes.list(graph, graph.segments[0]!, stored));
  assert.notEqual(half!.signature, full!.signature);
  assert.notEqual(half!.list.dispatches[0]!.kernel.key, full!.list.dispatches[0]!.kernel.key);
  const plain = new WebGpuSizes({ limits });
  const { dispatches } = plain.list(graphs[0]!, graphs[0]!.segments[0]!, stored).list;
  assert.equal(full!.list.dispatches[0]!.kernel.key, dispatches[0]!.kernel.key, "the kernel of --precision fp32");
});

test("the fastest tile is kept, the default where none is clearly faster", async () => {
  const wide = { rows: 2048, columns: 1280, depth: 1280, geglu: false };
  const gate = { ...wide, geglu: true };
  const table = await tuneTiles([wide, gate], async ({ geglu }, tile) => (!geglu && tile === "32x32" ? 5 : 10));
  assert.equal(table[shapeKey(wide)], "32x32");
  assert.equal(table[shapeKey(gate)], chooseTile(gate));
  assert.equal(tableChoice(table)(wide), "32x32");
  assert.equal(tableChoice({})(wide), chooseTile(wide));
  assert.equal(tableChoice({ [shapeKey(gate)]: "32x32" })(gate), chooseTile(gate));
});

test("state is kept by adapter and driver; what doesn't fit is forgotten", async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "solvay-"));
  try {
    const file = path.join(folder, "state", "webgpu.json");
    const state = { pacing: { costPerMs: 5, caution: 0.5, steadyMs: 7 }, tiles: { "1x2x3": "64x64" as const } };
    assert.deepEqual(await loadAdapterState(file, gpu), {});
    await saveAdapterState(file, gpu, state);
    await saveAdapterState(file, lavapipe, {});
    assert.deepEqual(await loadAdapterState(file, gpu), state);
    assert.deepEqual(await loadAdapterState(file, { ...gpu, description: "driver 551" }), {});
    const line = "NVIDIA GeForce GTX 1060 6GB (vulkan, driver 550)";
    const odd = { pacing: { costPerMs: -1, caution: 2 }, tiles: { a: "1x1", b: "32x32" } };
    await writeFile(file, JSON.stringify({ [line]: odd }));
    assert.deepEqual(await loadAdapterState(file, gpu), { tiles: { b: "32x32" } });
  } finally {
    await rm(folder, { recursive: true });
  }
});
