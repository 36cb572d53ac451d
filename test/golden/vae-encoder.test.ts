/**
 * @file The VAE's encoder against diffusers' in fp32 (fixtures/module/vae-encoder.safetensors, scripts/golden/vae_encoder_golden.py), and
 * there and back: a picture encoded in a phase of its own, as whoever starts from a picture would, and decoded by the job's.
 *
 * Tolerance: as in modules.test.ts. The largest differences found: 9.0e-7 of the largest magnitude on cpu, 8.1e-7 on reference, 1.3e-6 on
 * webgpu (lavapipe), 1.1e-6 there and back.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Device } from "../../src/backend/device.ts";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { bandProgram } from "../../src/bands/bands.ts";
import { JsonConfig } from "../../src/checkpoint/json-config.ts";
import { requireSchema } from "../../src/checkpoint/schema.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import { Ledger } from "../../src/ledger/ledger.ts";
import { folderComponent } from "../../src/library/on-demand.ts";
import { type VaeConfig, vaeEncoderGraph, vaeScaleFactor } from "../../src/models/autoencoder.ts";
import { vaeConfig } from "../../src/models/sdxl/network-config.ts";
import { vaeEncoderRules } from "../../src/models/sdxl/rules.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import { describePhase, type PhaseDescription } from "../../src/plan/describe.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { memorySource } from "../../src/source/memory.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import { OpenPhase } from "../../src/stream/phase.ts";
import { Telemetry } from "../../src/stream/telemetry.ts";
import { WeightPool } from "../../src/stream/weight-pool.ts";
import { toFloat32 } from "../../src/tensor/dtype.ts";
import { findTestAdapter, openTestDevice } from "../backend/software-vulkan.ts";
import { runBandProgram, runGraph, TEST_MACHINE } from "../graph-run.ts";
import { openSdxlInMemory } from "../sdxl-folder.ts";
import { searched } from "../support/thorough.ts";

const TOLERANCE = 5e-5;
const OWN = ["level", "ninths", "levels", "plain"] as const;
const MODELS = ["deep", "nested", "odd"] as const;

interface Vae {
  readonly config: VaeConfig;
  readonly table: TensorTable;
}

const adapter = await findTestAdapter();
const SKIP = { cpu: undefined, reference: undefined, webgpu: adapter.skip } as const;
type DeviceName = keyof typeof SKIP;

const devices = new Map<DeviceName, Device>();
const opened = new AsyncDisposableStack();
const vaes = new Map<string, Vae>();
let golden: TensorTable;

before(async () => {
  devices.set("cpu", opened.use(new HostDevice(await openOnnxBackend())));
  devices.set("reference", opened.use(new HostDevice(createReferenceBackend())));
  if (adapter.skip === undefined) devices.set("webgpu", opened.use(await openTestDevice(adapter)));
  const bytes = new Uint8Array(await readFile(fixture("module/vae-encoder.safetensors")));
  const header = await readSafetensorsHeader(memorySource("vae-encoder.safetensors", bytes));
  golden = header.table;
  const configs = JSON.parse(header.metadata.get("configs")!) as Record<string, object>;
  for (const name of OWN) {
    const config = vaeConfig(new JsonConfig(name, JSON.stringify(configs[name])));
    const stored = [...golden].flatMap(([key, entry]): [string, TensorEntry][] => {
      const [owner, kind, parameter] = key.split("/");
      return owner === name && kind === "weights" ? [[parameter!, entry]] : [];
    });
    vaes.set(name, { config, table: requireSchema(new Map(stored), vaeEncoderRules(config), name) });
  }
  for (const name of MODELS) {
    const checkpoint = opened.use(await openSdxlInMemory(fixture(`golden/${name}`)));
    const { table } = folderComponent(checkpoint, "vaeEncoder");
    vaes.set(name, { config: checkpoint.parts.configs.vae, table });
  }
});
after(() => opened.disposeAsync());

/** On a software driver, which compiles each one's kernels for seconds. */
const ON_CARD = searched(["ninths"], [...OWN, ...MODELS] as readonly string[]);

for (const name of [...OWN, ...MODELS]) {
  for (const device of Object.keys(SKIP) as DeviceName[]) {
    if (device === "webgpu" && !ON_CARD.includes(name)) continue;
    test(`the VAE encoder of ${name} on ${device} equals diffusers'`, { skip: SKIP[device] }, async () => {
      const error = await encodingError(name, devices.get(device)!, vaes.get(name)!.table);
      assert.ok(error <= TOLERANCE, `largest error ${error} of the largest magnitude`);
    });
  }
}

/** One band is the whole, which is compared above. Each takes a session of ONNX Runtime's. */
const BAND_BYTES = searched([1, 8192], [1, 8192, Number.POSITIVE_INFINITY]);
const IN_BANDS = searched(["ninths", "levels", "odd"], [...OWN, ...MODELS]);

for (const name of IN_BANDS) {
  test(`the VAE encoder of ${name} in bands of rows equals diffusers'`, async () => {
    const image = golden.get(`${name}/image`)!;
    const { config, table } = vaes.get(name)!;
    const reader = new TableBlocks("vae_encoder", table);
    const expected = await floats(golden.get(`${name}/moments`)!);
    for (const bandBytes of BAND_BYTES) {
      const program = bandProgram(encoderGraph(config, image.shape), { bandBytes });
      if (bandBytes === 1) assert.ok(program.bandRuns > program.layers.length, "cut indeed");
      const inputs = new Map([["image", await floats(image)]]);
      const outputs = await runBandProgram(devices.get("cpu")!, reader, program, inputs);
      const error = relativeError(outputs.get("moments")!, expected);
      assert.ok(error <= TOLERANCE, `bands of ${bandBytes}: largest error ${error} of the largest magnitude`);
    }
  });
}

/** Tensors of one shape that a wrong key map could exchange, and whose encoder. */
const SWAPS: readonly (readonly [string, string, string])[] = [
  ["ninths", "encoder.mid_block.resnets.0.conv1.weight", "encoder.mid_block.resnets.1.conv1.weight"],
  ["ninths", "encoder.mid_block.resnets.0.norm1.bias", "encoder.mid_block.resnets.0.norm2.bias"],
  ["ninths", "encoder.mid_block.attentions.0.to_q.weight", "encoder.mid_block.attentions.0.to_k.weight"],
  ["ninths", "encoder.mid_block.attentions.0.to_v.bias", "encoder.mid_block.attentions.0.to_out.0.bias"],
  ["ninths", "encoder.down_blocks.1.resnets.1.conv2.weight", "encoder.down_blocks.1.downsamplers.0.conv.weight"],
  ["ninths", "encoder.conv_out.bias", "quant_conv.bias"],
  ["levels", "encoder.down_blocks.1.downsamplers.0.conv.weight", "encoder.down_blocks.2.downsamplers.0.conv.weight"],
  ["levels", "encoder.down_blocks.2.resnets.0.conv1.weight", "encoder.down_blocks.2.resnets.0.conv2.weight"],
];

test("exchanging two tensors of an encoder is seen", async () => {
  for (const [name, a, b] of SWAPS) {
    const { table } = vaes.get(name)!;
    assert.ok(table.has(a) && table.has(b), `${a}, ${b}`);
    const swapped = new Map(table).set(a, { ...table.get(b)!, name: a }).set(b, { ...table.get(a)!, name: b });
    const error = await encodingError(name, devices.get("cpu")!, swapped);
    assert.ok(error > TOLERANCE, `${a} <-> ${b}: error only ${error}`);
  }
});

/** A key's bias adds the same to all scores of a query, which softmax takes away again. */
const WITHOUT_EFFECT = "encoder.mid_block.attentions.0.to_k.bias";

test(`half as much again in any ${searched("third ", "")}tensor of an encoder is seen`, async () => {
  for (const name of ["ninths", "plain"]) {
    const { table } = vaes.get(name)!;
    for (const [i, [key, entry]] of [...table].entries()) {
      if (i % searched(3, 1) !== 0) continue;
      const error = await encodingError(name, devices.get("cpu")!, new Map(table).set(key, await scaled(entry, 1.5)));
      if (key !== WITHOUT_EFFECT) assert.ok(error > TOLERANCE, `${name} ${key}: error only ${error}`);
    }
  }
});

for (const name of MODELS) {
  test(`a picture encoded and decoded again by ${name} equals diffusers'`, async () => {
    await using checkpoint = await openSdxlInMemory(fixture(`golden/${name}`));
    const device = new HostDevice(createReferenceBackend());
    const budgets = { deviceBytes: TEST_MACHINE.deviceBytes, ramBytes: TEST_MACHINE.ramBytes };
    await using runtime = new Runtime(checkpoint, device, componentReaders(checkpoint, performance.now), {
      ...{ budgets, machine: TEST_MACHINE, rates: {}, processBytes: 0, now: () => performance.now() },
      pause: async () => {},
    });
    const image = golden.get(`${name}/image`)!;
    const [, , height, width] = image.shape as [number, number, number, number];
    const { moments, peakBytes } = await encodeInPhase(device, vaes.get(name)!, image);
    assert.ok(peakBytes > 0);
    const job = runtime.plan({ batch: 1, width, height, modelCalls: 1, historyLength: 0, fp32: false });
    const { latentChannels, latentStatistics, scalingFactor } = checkpoint.parts.configs.vae;
    const mean = moments.subarray(0, moments.length / 2);
    const latent = mean.map((value, i) => {
      const channel = Math.floor((i * latentChannels) / mean.length);
      return ((value - (latentStatistics?.mean[channel] ?? 0)) * scalingFactor) / (latentStatistics?.std[channel] ?? 1);
    });
    await using phase = await runtime.openPhase(job, job.described.phaseOf.decode);
    const again = await job.described.decode(phase, latent);
    const error = relativeError(again, await floats(golden.get(`${name}/again`)!));
    assert.ok(error <= TOLERANCE, `largest error ${error} of the largest magnitude`);
  });
}

/** Describes, plans and runs a phase of the encoder alone, within exactly the memory that its plan says. */
async function encodeInPhase(
  device: Device,
  { config, table }: Vae,
  image: TensorEntry,
): Promise<{ readonly moments: Float32Array; readonly peakBytes: number }> {
  const reader = new TableBlocks("vae_encoder", table);
  const graph = encoderGraph(config, image.shape);
  const pass = { id: graph.name, graph, component: "vaeEncoder", repeats: 1, cyclic: false, links: [] };
  const described: PhaseDescription = { id: "see", title: "see", passes: [pass], hostBytes: 0, spilledBytes: 0 };
  const plan = makePlan({
    device,
    machine: TEST_MACHINE,
    budgets: { deviceBytes: TEST_MACHINE.deviceBytes, ramBytes: TEST_MACHINE.ramBytes },
    processBytes: 0,
    phases: [describePhase(device, described, () => reader.blocks.bind(reader))],
  });
  const planned = plan.phases[0]!;
  const peakBytes = planned.deviceBytes;
  const ledger = new Ledger({ device: peakBytes, ram: 2 ** 40, disk: 0 });
  const clock = { now: () => performance.now(), onLoad: () => {} };
  await using pool = new WeightPool(clock);
  await using weights = await pool.open(plan, described.id, device, ledger);
  const context = { device, ledger, weights, telemetry: new Telemetry(), now: clock.now, pause: async () => {} };
  await using phase = await OpenPhase.open(planned, [{ graph, plan: planned.passes[0]!, reader }], context);
  const outputs = await phase.run(pass.id, new Map([["image", await floats(image)]]));
  return { moments: outputs.get("moments")!, peakBytes };
}

async function encodingError(name: string, device: Device, table: TensorTable): Promise<number> {
  const image = golden.get(`${name}/image`)!;
  const graph = encoderGraph(vaes.get(name)!.config, image.shape);
  const inputs = new Map([["image", await floats(image)]]);
  const outputs = await runGraph(device, new TableBlocks("vae_encoder", table), graph, inputs);
  return relativeError(outputs.get("moments")!, await floats(golden.get(`${name}/moments`)!));
}

function encoderGraph(config: VaeConfig, [batch, , height, width]: readonly number[]) {
  const scale = vaeScaleFactor(config);
  return vaeEncoderGraph(config, batch!, height! / scale, width! / scale);
}

/** Largest absolute difference, over the largest magnitude that was expected. */
function relativeError(found: Float32Array, expected: Float32Array): number {
  assert.equal(found.length, expected.length);
  const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  const errors = expected.map((value, i) => Math.abs(found[i]! - value) / largest);
  return errors.some(Number.isNaN) ? Number.POSITIVE_INFINITY : errors.reduce((max, error) => Math.max(max, error), 0);
}

async function floats(entry: TensorEntry): Promise<Float32Array<ArrayBuffer>> {
  const bytes = new Uint8Array(entry.endByte - entry.startByte);
  await entry.source.read(entry.startByte, bytes);
  return Float32Array.from(toFloat32(entry.dtype, bytes));
}

async function scaled(entry: TensorEntry, factor: number): Promise<TensorEntry> {
  const values = Float32Array.from(await floats(entry), (value) => value * factor);
  const source = memorySource(`changed ${entry.name}`, new Uint8Array(values.buffer));
  return { ...entry, dtype: "f32", source, startByte: 0, endByte: source.byteLength };
}

function fixture(name: string): string {
  return fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
}
