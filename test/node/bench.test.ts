/** @file `solvay bench`: its arithmetic, its shapes on a software adapter and on the CPU, its command line. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { describeAdapter } from "../../src/backend/webgpu/adapter/adapter.ts";
import { TILE_NAMES } from "../../src/backend/webgpu/kernels/gemm-tiles.ts";
import { createWebGpuDevice } from "../../src/backend/webgpu/run/device.ts";
import { knownPeak } from "../../src/bench/peaks.ts";
import { fastest } from "../../src/bench/rates.ts";
import { type BenchShape, benchProblem, SDXL_SHAPES, shrunk } from "../../src/bench/shapes.ts";
import { hiddenShare } from "../../src/bench/uploads.ts";
import { benchWebGpu } from "../../src/bench/webgpu-bench.ts";
import { runCli } from "../../src/cli/program.ts";
import { BudgetError } from "../../src/errors.ts";
import type { Engine, OpenEngineOptions, PlanReport } from "../../src/job/types.ts";
import { loadAdapterState, saveAdapterState } from "../../src/node/gpu/adapter-state.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { defaultStateFolder } from "../../src/node/state/folder.ts";
import { findTestAdapter } from "../backend/software-vulkan.ts";
import { fakeContext } from "./fake-context.ts";

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: adapter.skip };

test("operations of SDXL's shapes, as counted by hand", () => {
  const operations = (name: string) => benchProblem(SDXL_SHAPES.find((shape) => shape.name === name)!).operations;
  assert.equal(operations("feed-forward in, 32x32"), 2 * 2048 * 10240 * 1280);
  assert.equal(operations("3x3, 64x64"), 2 * 8192 * 9 * 640 * 640);
  // Two sequences of 4096 tokens: scores and weighted sums of 640 channels.
  assert.equal(operations("self-attention, 64x64"), 2 * (2 * 2 * 4096 * 4096 * 640));
  const norm = benchProblem(SDXL_SHAPES.find(({ kind }) => kind === "groupNorm")!);
  assert.deepEqual([norm.operations, norm.bytes], [0, 3 * 4 * 2 * 128 * 128 * 320]);
  assert.deepEqual(norm.graph.values[0]!.shape, [2, 320, 128, 128]);
});

test("smaller shapes keep their channels and stay square", () => {
  for (const shape of SDXL_SHAPES) {
    const small = shrunk(shape, 64);
    assert.deepEqual([small.columns, small.depth], [shape.columns, shape.depth]);
    assert.ok(small.rows >= 32 && small.rows <= shape.rows / 8);
    const { graph } = benchProblem(small);
    assert.ok(
      graph.values.every(({ shape: axes }) => axes.every(Number.isInteger)),
      shape.name,
    );
    assert.equal(shrunk(shape, 1), shape);
  }
});

test("peaks of cards by their names", () => {
  assert.deepEqual(knownPeak("NVIDIA GeForce GTX 1060 6GB"), { fp32: 4.4 });
  assert.deepEqual(knownPeak("NVIDIA GeForce GTX 1060 3GB"), { fp32: 3.9 });
  assert.deepEqual(knownPeak("NVIDIA GeForce GTX 1660 SUPER"), { fp32: 5.0, fp16: 10.1 });
  assert.deepEqual(knownPeak("NVIDIA GeForce RTX 2060"), { fp32: 6.5, fp16: 12.9 });
  assert.equal(knownPeak("NVIDIA GeForce RTX 2060 with Max-Q Design"), undefined);
  assert.equal(knownPeak("llvmpipe"), undefined);
});

test("the share of a transfer that hides behind computing", () => {
  assert.equal(hiddenShare(10, 100, 110), 0);
  assert.equal(hiddenShare(10, 100, 100), 1);
  assert.equal(hiddenShare(100, 10, 105), 0.5);
  // Noise.
  assert.equal(hiddenShare(10, 100, 125), 0);
  assert.equal(hiddenShare(10, 100, 95), 1);
});

test("the fastest run counts, the first doesn't", async () => {
  const took = [1, 7, 5, 9];
  let at = 0;
  let clock = 0;
  const work = async () => {
    clock += took[at++]!;
  };
  assert.equal(await fastest(work, { now: () => clock, runs: 3, leastMs: 0 }), 5);
  const stopped = { now: () => 0, runs: 1, leastMs: 0, signal: AbortSignal.abort(new Error("stop")) };
  await assert.rejects(
    fastest(async () => {}, stopped),
    /stop/,
  );
});

const TINY: readonly BenchShape[] = [
  { name: "linear", kind: "linear", rows: 64, columns: 32, depth: 64 },
  { name: "norm", kind: "groupNorm", rows: 32, columns: 32, depth: 32 },
];

test("a software adapter: every figure is there, and the tiles are kept", options, async () => {
  const seen: string[] = [];
  const found = await benchWebGpu({
    now: () => performance.now(),
    adapter: adapter.name,
    shrink: 1,
    shapes: TINY,
    uploadBytes: 1 << 20,
    peak: { fp32: 0.5 },
    onShape: ({ name }) => seen.push(name),
  });
  assert.deepEqual(seen, ["linear", "norm"]);
  const [linear, norm] = found.shapes;
  assert.equal(linear!.tile, "32x32");
  for (const number of [linear!.gflops, linear!.naiveGflops, norm!.gbps, ...Object.values(found.uploads)])
    assert.ok(number! > 0 && Number.isFinite(number), `${number}`);
  assert.ok(Math.abs(linear!.gflops! - (2 * 64 * 32 * 64) / linear!.ms / 1e6) < 1e-9);
  assert.ok(Math.abs(linear!.share! - linear!.gflops! / 500) < 1e-9);
  if (found.adapter.features.includes("shader-f16"))
    assert.ok(Object.entries(linear!.paths!).some(([path, gflops]) => path.startsWith("fp16") && gflops > 0));
  assert.ok(found.overlap.bothMs > 0 && found.overlap.hiddenShare <= 1);
  assert.equal(found.tiles, undefined);
});

test("tuned tiles join what is remembered, and a device computes with them", options, async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "solvay-"));
  try {
    assert.equal(defaultStateFolder({ SOLVAY_STATE: folder }), folder);
    assert.equal(defaultStateFolder({ XDG_STATE_HOME: folder }), path.join(folder, "solvay"));
    await using device = await createWebGpuDevice(await openDawn(adapter.name));
    const file = path.join(folder, "adapters.json");
    const pacing = { costPerMs: 5, caution: 1 };
    await saveAdapterState(file, device.adapter, { pacing, tiles: { "1x1x1": "64x64" } });
    const fake = fakeContext({ cwd: folder });
    const context = { ...fake.context, env: { SOLVAY_STATE: folder } };
    const args = ["bench", "--adapter", adapter.name, "--tune", "--json", "--shrink", "1024"];
    assert.equal(await runCli([...args, "--only", "to_q, 64x64"], context), 0, fake.err());
    const document = JSON.parse(fake.out());
    assert.equal(describeAdapter(document.adapter), describeAdapter(device.adapter));
    assert.equal(
      document.command,
      `solvay bench --adapter ${adapter.name} --shrink 1024 --only "to_q, 64x64" --tune --json`,
    );
    const [shape] = document.shapes;
    assert.equal(Object.keys(shape.tiles).length, TILE_NAMES.length);
    const kept = await loadAdapterState(file, device.adapter);
    assert.deepEqual(kept.pacing, pacing);
    assert.deepEqual(kept.tiles, { "1x1x1": "64x64", ...document.tiles });
    assert.ok(document.tiles["64x640x640"]);
    assert.ok((await readFile(file, "utf8")).length < 1000);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("the CPU, and a model under budgets of which one can't be kept", async () => {
  const fake = fakeContext({
    cwd: os.tmpdir(),
    fail: ({ open }) => {
      if (open?.budgets?.vram !== "1G") return;
      const error = { code: "E_BUDGET", problem: "too small", next: "use more" };
      throw new BudgetError(error);
    },
  });
  const args = ["bench", "--backend", "cpu", "--shrink", "1024", "--only", "to_q, 64x64", "--json"];
  // The first step, which compiles, and the slower one don't count; nor does what came before a picture began again.
  const openEngine = async (asked: OpenEngineOptions): Promise<Engine> => {
    const engine = await fake.context.openEngine(asked);
    return {
      ...engine,
      async *generate(job, options) {
        for await (const event of engine.generate(job, options)) {
          if (event.type !== "step") yield event;
          else {
            for (const step of [1, 2]) yield { ...event, step, stepMs: 1 };
            yield { type: "plan", plan: {} as PlanReport };
            for (const [i, stepMs] of [1, 30, 20, 25].entries()) yield { ...event, step: i + 1, stepMs, readBytes: i };
          }
        }
      },
    };
  };
  const code = await runCli([...args, "--model", "m", "--vram", "2G,1G", "--width", "64"], {
    ...fake.context,
    openEngine,
  });
  assert.equal(code, 0, fake.err());
  const document = JSON.parse(fake.out());
  assert.equal(document.backend, "cpu");
  assert.ok(document.shapes[0].gflops > 0);
  assert.deepEqual(
    fake.opened.map(({ budgets }) => budgets?.vram),
    ["2G", "1G"],
  );
  assert.deepEqual(
    fake.jobs.map(({ steps, width }) => [steps, width]),
    [[3, 64]],
  );
  const [first, second] = document.model;
  assert.equal(first.vram, "2G");
  assert.deepEqual([first.stepSeconds, first.readBytes, first.peakDeviceBytes], [0.02, 2, 1]);
  assert.equal(first.precision, "fp32");
  assert.match(second.error, /too small/);
});

test("what bench refuses", async () => {
  const cases: [args: string[], reason: RegExp][] = [
    [["--backend", "cpu", "--tune"], /E_USAGE: --tune is for graphics cards/],
    [["--backend", "cpu", "--adapter", "gtx"], /E_USAGE gtx: a graphics adapter is named, but --backend cpu/],
    [["--peak-tflops", "0"], /--peak-tflops must be/],
    [["--peak-tflops", "1,2,3"], /--peak-tflops must be/],
    [["--vram", "6G,x"], /--vram/],
    [["--only", "nothing"], /no shape has this in its name/],
    [["--backend", "webgpu", "--adapter", "no such card"], /E_NO_ADAPTER|E_NO_WEBGPU/],
  ];
  for (const [args, reason] of cases) {
    const fake = fakeContext({ cwd: os.tmpdir() });
    assert.notEqual(await runCli(["bench", ...args], fake.context), 0, args.join(" "));
    assert.match(fake.err(), reason);
  }
});
