/** @file What plans promise of memory, held against what runs: each part of it is planned, taken and given back, and nothing is computed or read twice. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createOnnxBackend, type OnnxRuntime } from "../../src/backend/onnx/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { DEFAULT_STAGING, WebGpuSizes } from "../../src/backend/webgpu/lower/sizes.ts";
import { MiB } from "../../src/ledger/byte-text.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { jobShape } from "../../src/pipeline/route.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import { type TextToImageJob, textToImage } from "../../src/pipeline/text-to-image.ts";
import { reportPlan } from "../../src/plan/report.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import { FaultyDevice } from "../faulty-device.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

const checkpoint = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)));
const JOB: TextToImageJob = {
  ...{ prompt: "a lake", seed: 1, steps: 2, guidance: 5, width: 16, height: 16 },
  sampler: "euler",
};
const PLENTY = 2 ** 30;

/** Overhead and process as they are asked for. */
function studio({ overheadBytes = 1000, processBytes = 7, deviceBytes = PLENTY, ramBytes = PLENTY } = {}) {
  /** Values of each result that was read back, by graph. */
  const results: [graph: string, values: number][] = [];
  const held: string[] = [];
  const device = new FaultyDevice(
    {
      onRead: ({ name }, into) => void results.push([name, into.length]),
      before: (call) => {
        if (call === "run")
          held.push(
            runtime.ledger
              .held()
              .map(({ tier, label, lengthBytes }) => `${tier} ${label} ${lengthBytes}`)
              .join("; "),
          );
      },
    },
    overheadBytes,
  );
  const runtime: Runtime = new Runtime(
    checkpoint,
    device,
    componentReaders(checkpoint, () => 0),
    {
      budgets: { deviceBytes, ramBytes },
      machine: TEST_MACHINE,
      rates: {},
      processBytes,
      now: () => 0,
      pause: async () => {},
    },
  );
  const draw = async (job = JOB) => {
    for await (const event of textToImage(runtime, runtime.plan(jobShape(checkpoint, job)), job)) {
      if (event.type === "pixels") return event.rgb;
    }
    throw new Error("no picture");
  };
  return { runtime, results, held, draw };
}

test("the driver's allowance and the process are in every plan, byte for byte, and held while anything runs", async () => {
  const shape = jobShape(checkpoint, JOB);
  const plain = studio({ overheadBytes: 0, processBytes: 0 });
  const heavy = studio({ overheadBytes: 50_000, processBytes: 30_000 });
  const [before, after] = [plain.runtime.plan(shape), heavy.runtime.plan(shape)];
  assert.equal(after.plan.peak.deviceBytes - before.plan.peak.deviceBytes, 50_000);
  assert.equal(after.plan.peak.ramBytes - before.plan.peak.ramBytes, 30_000);
  assert.equal(smallestDeviceBytes(after.input) - smallestDeviceBytes(before.input), 50_000);
  for (const [i, phase] of after.plan.phases.entries()) {
    assert.equal(phase.deviceBytes - before.plan.phases[i]!.deviceBytes, 50_000);
  }
  await heavy.draw();
  assert.ok(heavy.held.length > 10);
  for (const held of heavy.held) assert.match(held, /device device overhead 50000(;|$)/);
  for (const held of heavy.held) assert.match(held, /ram process 30000(;|$)/);
  // Now that all weights are there: none is read again.
  const { readBytes } = heavy.runtime;
  await heavy.draw({ ...JOB, prompt: "a hill" });
  assert.equal(heavy.runtime.readBytes, readBytes);
  // What is taken at most is what was promised.
  assert.equal(heavy.runtime.ledger.state("device").peakBytes, after.plan.peak.deviceBytes);
  assert.equal(heavy.runtime.ledger.state("ram").peakBytes, after.plan.peak.ramBytes);
});

test("the least budget works, and all that it plans is in the ledger", async () => {
  const shape = jobShape(checkpoint, JOB);
  const plenty = studio();
  const least = smallestDeviceBytes(plenty.runtime.plan(shape).input);
  const small = studio({ deviceBytes: least });
  assert.deepEqual(await small.draw(), await plenty.draw());
  assert.equal(small.runtime.ledger.state("device").peakBytes, small.runtime.plan(shape).plan.peak.deviceBytes);
  assert.throws(() => studio({ deviceBytes: least - 1 }).runtime.plan(shape), { code: "E_VRAM" });
});

test("allowances are those that docs/decisions state", () => {
  // Three slots of 16 MiB and a landing place as large, records of 8 KiB, and what a driver takes for itself.
  const recordsBytes = 8192;
  assert.equal(new WebGpuSizes().overheadBytes, (4 * 16 + 192) * MiB + recordsBytes);
  assert.deepEqual(DEFAULT_STAGING, { slots: 3, slotBytes: 16 * MiB });
  assert.equal(
    new WebGpuSizes(undefined, { slots: 2, slotBytes: 8 * MiB }).overheadBytes,
    (3 * 8 + 192) * MiB + recordsBytes,
  );
  // What passes through a slot, twice, in RAM.
  assert.equal(new WebGpuSizes().hostBytes, 2 * (16 * MiB - recordsBytes));
  const ort = {} as OnnxRuntime; // nothing of it is used before a segment is compiled
  assert.equal(new HostDevice(createOnnxBackend(ort, 1)).overheadBytes, 224 * MiB);
  assert.equal(new HostDevice(createReferenceBackend()).overheadBytes, 0);
});

test("guidance of 1 and less computes one half; more computes both, of prompt, step and time", async () => {
  const cells = checkpoint.describe(jobShape(checkpoint, JOB)).latentShape.reduce((a, b) => a * b);
  for (const [guidance, halves] of [
    [0, 1],
    [1, 1],
    [1.01, 2],
    [5, 2],
  ] as const) {
    const { runtime, results, draw } = studio();
    const job = { ...JOB, guidance };
    await draw(job);
    const steps = results
      .filter(([, values]) => values === cells || values === 2 * cells)
      .filter(([name]) => name === "unet.step");
    assert.deepEqual(
      steps.map(([, values]) => values),
      [halves * cells, halves * cells],
      `guidance ${guidance}`,
    );
    const { described, plan, input } = runtime.plan(jobShape(checkpoint, job));
    for (const { passes } of described.phases) {
      for (const { id, graph, repeats } of passes) {
        if (id === "clip" || id === "clip2" || /encode/.test(id)) assert.equal(repeats, halves, id);
        const latent = graph.inputs.get("latent");
        if (latent !== undefined && graph.name === "unet.step") assert.equal(graph.values[latent]!.shape[0], halves);
        const context = graph.inputs.get("context");
        if (context !== undefined) assert.equal(graph.values[context]!.shape[0], halves);
      }
    }
    assert.ok(reportPlan(plan, input.phases).phases.length === 3);
  }
});

test("one half takes less memory and arithmetic than both", () => {
  const { runtime } = studio();
  const flops = (guidance: number) =>
    runtime
      .plan(jobShape(checkpoint, { ...JOB, guidance }))
      .input.phases.map(({ passes }) =>
        passes.reduce(
          (sum, { segments, repeats }) => sum + repeats * segments.reduce((all, one) => all + one.flops, 0),
          0,
        ),
      );
  const [one, both] = [flops(1), flops(5)];
  assert.ok(Math.abs(both[0]! / one[0]! - 2) < 1e-9);
  assert.ok(both[1]! / one[1]! > 1.95);
  assert.equal(both[2], one[2]);
});
