/** @file The `webgpu` device when something goes wrong: a lost device, short memory, refused work, stale results, bad reads. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { OpenedGpu } from "../../src/backend/webgpu/adapter/opened-gpu.ts";
import { BASELINE } from "../../src/backend/webgpu/lower/paths.ts";
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from "../../src/backend/webgpu/run/device.ts";
import { BudgetError, DeviceError } from "../../src/errors.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { sameOutputs, sameValues } from "../support/same.ts";
import { searched } from "../support/thorough.ts";
import { computeGraph, drawData } from "./conformance.ts";
import { deviceBackend } from "./device-backend.ts";
import { dropDispatches, fallSilent, limitMemory, watchAwaits } from "./faulty-gpu.ts";
import { findTestAdapter } from "./software-vulkan.ts";

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: adapter.skip };

/** Kernels that compile in no time: nearly each test has devices of its own. */
const graph = (() => {
  const g = new GraphBuilder("a norm");
  const x = g.input("x", [2, 40, 24]);
  g.segment("s", () => {
    const y = g.node("layerNorm", [x, g.weight("w", [24]), g.weight("b", [24])], { eps: 1e-5 });
    g.output("y", g.node("add", [x, g.node("silu", [y], {})], {}));
  });
  return g.build();
})();
const data = drawData(graph, 1);
const STAGING = { slots: 2, slotBytes: 65536 };

async function open(spoil: (opened: OpenedGpu) => void, more: WebGpuOptions = {}): Promise<WebGpuDevice> {
  const opened = await openDawn(adapter.name);
  spoil(opened);
  return await createWebGpuDevice(opened, { staging: STAGING, ...more });
}

const compute = (device: WebGpuDevice) => computeGraph(deviceBackend(device), graph, data, "f16");
const nothing = () => undefined;
const hasCode = (code: string) => (error: unknown) => error instanceof DeviceError && error.code === code;

test("a device lost at any await ends the work with E_GPU_LOST; a new one gives the same bits", options, async () => {
  const whole = await open(nothing);
  const expected = await compute(whole);
  await whole[Symbol.asyncDispose]();
  let lost = 0;
  for (let at = 0; ; at++) {
    let reached = false;
    const device = await open((opened) =>
      watchAwaits(opened, (call) => {
        if (call !== at) return;
        reached = true;
        opened.device.destroy();
      }),
    );
    const outcome = await compute(device).then(
      () => undefined,
      (error: unknown) => error,
    );
    // The last waits belong to work that is already complete.
    if (outcome !== undefined) {
      assert.ok(hasCode("E_GPU_LOST")(outcome), `await ${at}: ${outcome}`);
      assert.equal(device.pacing.caution, 0.5);
      lost++;
    }
    await device[Symbol.asyncDispose]();
    if (!reached) break;
  }
  assert.ok(lost >= 10, `${lost} losses`);
  const again = await open(nothing);
  sameOutputs(await compute(again), expected);
  await again[Symbol.asyncDispose]();
});

test(
  "a device that never answers ends the work with E_GPU_SILENT and smaller work the next time",
  options,
  async () => {
    for (const question of [
      "popErrorScope",
      "createComputePipelineAsync",
      "onSubmittedWorkDone",
      "map to read",
      "map to write",
    ] as const) {
      let kept: number | undefined;
      let asked = 0;
      const device = await open((opened) => fallSilent(opened, question, () => asked++), {
        // A test of subgroups would have asked already.
        paths: BASELINE,
        // Longer than a software driver compiles one kernel while other tests run.
        patienceMs: 5000,
        keepPacing: async ({ caution }) => {
          kept = caution;
        },
      });
      // As many uploads as there are slots go without one coming back.
      const several = async () => {
        for (let i = 0; i <= STAGING.slots; i++) await compute(device);
      };
      await assert.rejects(several(), hasCode("E_GPU_SILENT"), question);
      assert.ok(asked > 0, `${question} was never asked`);
      assert.equal(device.failure?.code, "E_GPU_SILENT");
      await device[Symbol.asyncDispose]();
      assert.equal(kept, 0.5);
    }
  },
);

test("short memory is tried again once, then E_VRAM; nothing stays taken", options, async () => {
  const once = await open((opened) => limitMemory(opened, (allocation) => allocation === 0));
  await compute(once);
  assert.equal(once.heldBytes, 0);
  await once[Symbol.asyncDispose]();
  for (const first of [0, 1]) {
    const device = await open((opened) => limitMemory(opened, (allocation) => allocation >= first));
    await assert.rejects(compute(device), (error) => {
      assert.ok(error instanceof BudgetError && error.code === "E_VRAM");
      assert.match(error.message, /needs 1 MB more, \d+ MB are taken/);
      return true;
    });
    assert.equal(device.heldBytes, 0);
    await device[Symbol.asyncDispose]();
  }
});

test("nothing stays bound to arenas that were given back", options, async () => {
  const device = await open(nothing);
  // Each computes in arenas of its own.
  for (let i = 0; i < 3; i++) await compute(device);
  assert.equal(device.heldBytes, 0);
  assert.equal(device.boundCount, 0);
  await device[Symbol.asyncDispose]();
});

test("an arena larger than the adapter allows is refused before it is asked for", options, async () => {
  const device = await open(nothing);
  await assert.rejects(
    async () => device.createArena(device.maxArenaBytes + 256, "huge"),
    /E_GPU_LIMIT huge: .*allowed.*smaller picture/,
  );
  await device[Symbol.asyncDispose]();
});

test("an error that WebGPU reports by itself fails the work that follows", options, async () => {
  let raw: GPUDevice | undefined;
  const device = await open((opened) => {
    raw = opened.device;
  });
  raw!.createBuffer({ label: "nonsense", size: 16, usage: 0xffff });
  await assert.rejects(async () => {
    await device.settle();
    await compute(device);
  }, hasCode("E_GPU"));
  await device[Symbol.asyncDispose]();
});

test("results that were never computed are not handed out", options, async () => {
  const device = await open((opened) => dropDispatches(opened));
  await assert.rejects(compute(device), hasCode("E_GPU_STALE"));
  await device[Symbol.asyncDispose]();
});

test("an id outside of the table gives NaN, never another row", options, async () => {
  const g = new GraphBuilder("ids");
  const table = g.input("table", [3, 4]);
  const ids = g.input("ids", [3], "i32");
  g.segment("s", () => g.output("y", g.node("embedding", [table, ids], {})));
  const built = g.build();
  const inputs = new Map<number, Float32Array | Int32Array>([
    [table.id, new Float32Array(12).fill(1)],
    [ids.id, Int32Array.of(2, 3, -1)],
  ]);
  const device = await open(nothing);
  const y = (await computeGraph(deviceBackend(device), built, { inputs, weights: new Map() }, "f32")).get("y")!;
  assert.deepEqual([...y.subarray(0, 4)], [1, 1, 1, 1]);
  assert.ok(y.subarray(4).every(Number.isNaN));
  await device[Symbol.asyncDispose]();
});

test("a table larger than a binding is looked up in parts, whatever the length of its rows", options, async () => {
  const device = await open(nothing, { limits: { bindingBytes: 4096 } });
  for (const [rows, channels] of [
    [100, 33],
    [41, 200],
    [9, 1500],
  ] as const) {
    const g = new GraphBuilder("table");
    const table = g.weight("table", [rows, channels]);
    const ids = g.input("ids", [2, 20], "i32");
    g.segment("s", () => g.output("y", g.node("embedding", [table, ids], {})));
    const values = Int32Array.from({ length: 40 }, (_, i) => (i * 7) % rows);
    values[5] = rows;
    values[6] = -1;
    const built = g.build();
    const drawn = drawData(built, 1);
    for (const type of ["f16", "f32"] as const) {
      // Two rows of the longest in fp32 don't fit.
      if (channels * 4 > 4096 && type === "f32") continue;
      const inputs = new Map([[ids.id, values]]);
      const y = await computeGraph(deviceBackend(device), built, { ...drawn, inputs }, type);
      const row = (id: number) => drawn.weights.get(table.id)!.subarray(id * channels, (id + 1) * channels);
      values.forEach((id, i) => {
        const found = y.get("y")!.subarray(i * channels, (i + 1) * channels);
        if (id < 0 || id >= rows) assert.ok(found.every(Number.isNaN));
        else sameValues(found, row(id), `row ${id} of ${rows} x ${channels} ${type}`);
      });
    }
  }
  await device[Symbol.asyncDispose]();
});

test("a failed or aborted read gives its slot back", options, async () => {
  const device = await open(nothing);
  using arena = await device.createArena(1 << 16, "weights");
  const stored = { dtype: "f32" as const, shape: [10_000] };
  const span = { arena, offsetBytes: 0, lengthBytes: device.weightBytes(stored) };
  const upload = (read: () => Promise<void>, signal?: AbortSignal) =>
    device.upload(
      { label: "block", storedBytes: 40_000, tensors: [{ name: "w", stored, span, storedOffsetBytes: 0 }], read },
      signal,
    );
  for (let i = 0; i < 5; i++) {
    await assert.rejects(
      upload(() => Promise.reject(new Error("disk"))),
      /^Error: disk$/,
    );
    const stop = new AbortController();
    await assert.rejects(
      upload(async () => stop.abort(new Error("enough")), stop.signal),
      /^Error: enough$/,
    );
  }
  assert.equal(device.uploadedBytes, 0);
  await upload(async () => undefined);
  await device.settle();
  assert.equal(device.uploadedBytes, 40_000);
  await device[Symbol.asyncDispose]();
});

test("tiles, cuts of submits and cuts of tensors move no bit", options, async () => {
  const g = new GraphBuilder("bits");
  const x = g.input("x", [2, 64, 24, 24]);
  const residual = g.input("residual", [2, 72, 24, 24]);
  const w = g.weight("w", [72, 64, 3, 3]);
  const bias = g.weight("bias", [72]);
  g.segment("s", () => {
    const y = g.node("conv2d", [x, w, bias], { stride: 1, pad: [1, 1, 1, 1] });
    g.output("y", g.node("add", [residual, y], {}));
    g.output(
      "z",
      g.node(
        "silu",
        [g.node("groupNorm", [x, g.weight("gw", [64]), g.weight("gb", [64])], { groups: 4, eps: 1e-5 })],
        {},
      ),
    );
  });
  const built = g.build();
  const drawn = drawData(built, 3);
  const results: Map<string, Float32Array>[] = [];
  const settings: WebGpuOptions[] = [
    { chooseTile: () => "32x32" },
    { chooseTile: () => "64x64" },
    // As much for each thread as in the one before, in more threads: a second to compile.
    ...searched([], [{ chooseTile: () => "128x128" as const }]),
    { chooseTile: () => "32x32", pacing: { costPerMs: 1 } },
    { chooseTile: () => "32x32", limits: { bindingBytes: 250_000 } },
  ];
  for (const more of settings) {
    const device = await open(nothing, more);
    results.push(await computeGraph(deviceBackend(device), built, drawn, "f16"));
    await device[Symbol.asyncDispose]();
  }
  for (const result of results.slice(1)) sameOutputs(result, results[0]!);
});

test(
  `${searched("twelve devices and an engine", "a hundred devices and three engines")} started and stopped in a process, which then ends by itself`,
  options,
  async () => {
    const url = (name: string) => JSON.stringify(new URL(`../../src/${name}`, import.meta.url).href);
    const name = JSON.stringify(adapter.name);
    const script = `const { createWebGpuDevice } = await import(${url("backend/webgpu/run/device.ts")});
    const { openDawn } = await import(${url("node/gpu/dawn.ts")});
    const { openEngine } = await import(${url("node.ts")});
    // Far more than a start takes, also where software compiles the kernels of the self-test on a loaded machine: a hang.
    const watchdog = setInterval(() => process.exit(9), 60_000);
    for (let i = 0; i < ${searched(12, 100)}; i++) {
      const device = await createWebGpuDevice(await openDawn(${name}), { staging: ${JSON.stringify(STAGING)} });
      if (i % 4 === 0) gc();
      (await device.createArena(4096, "a"))[Symbol.dispose]();
      await device.settle();
      await device[Symbol.asyncDispose]();
      watchdog.refresh();
    }
    for (let i = 0; i < ${searched(1, 3)}; i++) {
      await using engine = await openEngine({ backend: "webgpu", adapter: ${name} });
      watchdog.refresh();
    }
    clearInterval(watchdog);
    gc();
    console.log("done");`;
    const folder = mkdtempSync(path.join(os.tmpdir(), "solvay-cycles-"));
    try {
      const file = path.join(folder, "cycles.mts");
      writeFileSync(file, script);
      const env = { ...process.env, SOLVAY_STATE: folder };
      const result = spawnSync(process.execPath, ["--expose-gc", file], { env, encoding: "utf8", timeout: 300_000 });
      assert.equal(result.status, 0, result.stderr);
      assert.match(result.stdout, /done/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
