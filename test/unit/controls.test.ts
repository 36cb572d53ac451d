/** @file ControlNets: what a full-size one costs beside SDXL, pixels over budgets, when they are asked, their flags and texts, and what is made of pictures first. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { WebGpuSizes } from "../../src/backend/webgpu/lower/sizes.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { CONTROL_PREPROCESSORS, controlPicture, controlPictureBytes } from "../../src/image/control-picture.ts";
import { JOB_FIELDS } from "../../src/job/fields.ts";
import { a1111Parameters, type ImageRecord } from "../../src/job/infotext.ts";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import { checkJob } from "../../src/job/schema.ts";
import { timestepEmbedding } from "../../src/models/embedding.ts";
import type { JobShape } from "../../src/models/job-shape.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_CLIP_L, SDXL_BASE_UNET, SDXL_BASE_VAE } from "../../src/models/sdxl/base.ts";
import { ControlLora } from "../../src/models/sdxl/control-lora.ts";
import { openControls } from "../../src/models/sdxl/control-runs.ts";
import { type ControlNetConfig, controlNetSchema } from "../../src/models/sdxl/controlnet.ts";
import { unetWeightGraphs } from "../../src/models/sdxl/graphs.ts";
import { SdxlJob } from "../../src/models/sdxl/job.ts";
import { stageControls } from "../../src/models/sdxl/stage-controls.ts";
import { unetSchema } from "../../src/models/sdxl/unet.ts";
import { readPicture } from "../../src/node/pictures.ts";
import type { JobControl } from "../../src/pipeline/job-controls.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { jobShape } from "../../src/pipeline/route.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import { type TextToImageJob, textToImage } from "../../src/pipeline/text-to-image.ts";
import { describePhase } from "../../src/plan/describe.ts";
import type { Plan } from "../../src/plan/plan.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import { memorySource } from "../../src/source/memory.ts";
import { BasedBlocks } from "../../src/stream/based-blocks.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { addFields, valuesOf } from "../../src/terminal/options.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { drawer, tensorOf } from "../support/adapters.ts";
import { allocatedBytes } from "../support/allocated.ts";

const fixtures = new URL("../../fixtures/", import.meta.url);
const pathOf = (name: string) => fileURLToPath(new URL(name, fixtures));

/** As diffusers/controlnet-canny-sdxl-1.0: 1,251,014,160 parameters, 2.5 GB in fp16. */
const { outChannels: _, sampleSize: __, upLevels: ___, ...HALF } = SDXL_BASE_UNET;
const FULL: ControlNetConfig = {
  ...{ ...HALF, kind: "controlnet", pictureChannels: 3, hintChannels: [16, 32, 96, 256], bgr: false },
};

/** Of 128, as Stability's "rank128" files: fp16, biases and norms whole. */
function controlLora(rank: number): ControlNetConfig {
  const schema = controlNetSchema(FULL);
  const stored = [...schema].flatMap(([name, shape]) => {
    const [out, ...inner] = shape as [number, ...number[]];
    if (name.startsWith("controlnet_") || inner.length === 0) return [entryOf(name, shape)];
    const own = Math.min(rank, out, inner[0]!);
    const layer = name.replace(/\.weight$/, "");
    return [entryOf(`${layer}.up`, [out, own]), entryOf(`${layer}.down`, [own, ...inner])];
  });
  const table = new Map(stored.map((entry) => [entry.name, entry]));
  const lora = ControlLora.read(table, schema, "full", (why) => new Error(why));
  return { ...FULL, lora };
}

/** Of a file that nobody reads. */
function entryOf(name: string, shape: readonly number[]): TensorEntry {
  return {
    name,
    dtype: "f16",
    shape,
    source: memorySource("none", new Uint8Array()),
    startByte: 0,
    endByte: 2 * elementCount(shape),
  };
}

const DEVICE = new WebGpuSizes();

/** Of SDXL's steps at 1024x1024, with such a network beside it. */
function plannedSteps(network: ControlNetConfig | undefined, deviceBytes: number): Plan {
  const controls = network && [{ component: "control-1", network, guess: false, rows: 2, calls: 30 }];
  const shape: JobShape = {
    ...{ batch: 2, width: 1024, height: 1024, modelCalls: 30, historyLength: 0, fp32: false },
    ...(controls && { controls }),
  };
  const configs = {
    ...{ unet: SDXL_BASE_UNET, vae: SDXL_BASE_VAE },
    ...{ textEncoder: SDXL_BASE_CLIP_L, textEncoder2: SDXL_BASE_CLIP_BIG_G },
  };
  const { phases } = new SdxlJob({ configs, tokenizer: { modelMaxLength: 77 } } as never, shape);
  const tableOf = (schema: ReadonlyMap<string, readonly number[]>) =>
    new Map([...schema].map(([name, dims]) => [name, entryOf(name, dims)]));
  const unet = new TableBlocks("unet", tableOf(unetSchema(SDXL_BASE_UNET)));
  const beside = network?.lora
    ? new BasedBlocks("control-1", network.lora.table, () => unet, unetWeightGraphs(SDXL_BASE_UNET))
    : new TableBlocks("control-1", tableOf(controlNetSchema(FULL)));
  const catalogOf = (component: string) => {
    const reader = component === "unet" ? unet : beside;
    return reader.blocks.bind(reader);
  };
  const denoise = phases.filter(({ id }) => id === "denoise").map((phase) => describePhase(DEVICE, phase, catalogOf));
  return makePlan({
    device: { name: "test", alignmentBytes: DEVICE.alignmentBytes, overheadBytes: 0, sharesHostMemory: false },
    machine: TEST_MACHINE,
    budgets: { deviceBytes, ramBytes: 64 * 2 ** 30 },
    ...{ processBytes: 0, phases: denoise, lanes: 1 },
  });
}

const GiB = 2 ** 30;
/** In each step. */
const moved = (plan: Plan) =>
  plan.phases[0]!.passes.filter(({ repeats }) => repeats === 30).reduce((sum, { movedBytes }) => sum + movedBytes, 0);

test("a ControlNet of 2.5 GB beside SDXL within 3 GiB: it plans, both stream, and each step's price is both networks'", () => {
  const parameters = [...controlNetSchema(FULL).values()].reduce((sum, shape) => sum + elementCount(shape), 0);
  assert.equal(parameters, 1_251_014_160);
  const [beside, alone] = [plannedSteps(FULL, 3 * GiB), plannedSteps(undefined, 3 * GiB)];
  assert.ok(beside.peak.deviceBytes <= 3 * GiB);
  const keys = [...beside.phases[0]!.residency.pinned, ...beside.phases[0]!.residency.streamed].map(({ key }) => key);
  for (const component of ["unet/", "control-1/"]) assert.ok(keys.some((key) => key.startsWith(component)));
  // What is no longer pinned, and the ControlNet's own weights, pass through in each step.
  assert.ok(moved(beside) - moved(alone) > 2e9, `${moved(beside)} after ${moved(alone)}`);
  assert.deepEqual(
    beside.phases[0]!.passes.map(({ id, repeats }) => [id, repeats]),
    [
      ...[
        ["unet.text", 1],
        ["unet.time", 1],
        ["control0.hint", 1],
        ["control0.text", 1],
        ["control0.time", 1],
      ],
      ...[
        ["control0.step", 30],
        ["unet.step", 30],
      ],
    ],
  );
});

test("a Control-LoRA of rank 128 beside SDXL: what its file has, and nothing of the model's a second time", () => {
  const network = controlLora(128);
  const own = [...network.lora!.table.values()].reduce((sum, { shape }) => sum + 2 * elementCount(shape), 0);
  // Stability's files of rank 128 are told to have 396 MB.
  assert.equal(own, 395_558_208);
  const [beside, alone] = [network, undefined].map((net) => plannedSteps(net, 16 * GiB)) as [Plan, Plan];
  const more = beside.weightBytes - alone.weightBytes;
  assert.ok(more >= own && more < own + 1e5, `${more}`);
  // Where a card of 6 GB holds all of its steps, a ControlNet would stream.
  assert.equal(moved(plannedSteps(network, 5.25 * GiB)), 0);
  assert.ok(moved(plannedSteps(FULL, 5.25 * GiB)) > 1.8e9);
  assert.ok(moved(plannedSteps(network, 3 * GiB)) < 0.7 * moved(plannedSteps(FULL, 3 * GiB)));
});

const checkpoint = await openSdxlFolder(pathOf("golden/flat"));
const { outChannels: _o, sampleSize: _s, upLevels: _u, ...half } = checkpoint.parts.configs.unet;
/** Five levels of the hint: a cell of flat's is 16 pixels. */
const NETWORK: ControlNetConfig = {
  ...{ ...half, kind: "controlnet", pictureChannels: 3, hintChannels: [2, 3, 4, 5, 6], bgr: false },
};
const PLENTY = GiB;

function controlTable(seed: number) {
  const draw = drawer(seed);
  const entries = [...controlNetSchema(NETWORK)].map(([name, shape]) => {
    const values = draw(shape, 0.5 / Math.sqrt(elementCount(shape.slice(1))));
    return [name, tensorOf(name, shape, values, "f16")] as const;
  });
  return new Map(entries);
}

function studio(deviceBytes = PLENTY) {
  const runtime = new Runtime(
    checkpoint,
    new HostDevice(createReferenceBackend()),
    componentReaders(checkpoint, () => 0),
    {
      budgets: { deviceBytes, ramBytes: PLENTY },
      machine: TEST_MACHINE,
      ...{ rates: {}, processBytes: 0, now: () => 0, pause: async () => {} },
    },
  );
  for (const seed of [1, 2]) {
    runtime.provide(`control-${seed}`, new TableBlocks(`control-${seed}`, controlTable(seed)));
  }
  return runtime;
}

async function draw(runtime: Runtime, job: TextToImageJob): Promise<Float32Array> {
  let x: Float32Array | undefined;
  for await (const event of textToImage(runtime, runtime.plan(jobShape(checkpoint, job)), job)) {
    if (event.type === "step") x = event.state.x;
  }
  return x!;
}

const rgb = new Uint8Array(3 * 32 * 16).map((_value, i) => (i * 37) % 256);
const LOOKED = { first: { width: 32, height: 16, rgb } };
const control = (seed: number, use: Partial<JobControl["use"]> = {}): JobControl => ({
  use: { file: "made", ...use },
  component: `control-${seed}`,
  network: NETWORK,
});
const JOB: TextToImageJob = {
  ...{ prompt: "a lake", seed: 1, steps: 3, guidance: 4, width: 32, height: 16, sampler: "euler" },
  steering: [control(1, { end: 0.4 }), control(2, { guess: true, start: 0.3 })],
  controlPictures: [LOOKED, LOOKED],
};

test("two of them, one for a part of the steps: the same latent for every budget, within the plan; asked only where they count", async () => {
  const plenty = studio();
  const expected = await draw(plenty, JOB);
  const passes = new Map(plenty.telemetry.totals(0).map(({ pass, runs }) => [pass, runs]));
  // The first for one step of three; the second for two, and once before, so that its results are numbers.
  assert.deepEqual([passes.get("control0.step"), passes.get("control1.step"), passes.get("unet.step")], [1, 3, 3]);
  const without = await draw(plenty, { ...JOB, steering: undefined, controlPictures: undefined });
  assert.ok(expected.some((value, i) => Math.abs(value - without[i]!) > 0.01));
  const input = plenty.planInput(jobShape(checkpoint, JOB)).input;
  const least = smallestDeviceBytes({ ...input, lanes: 1 });
  for (const budget of [least, Math.ceil(least * 1.2)]) {
    const small = studio(budget);
    assert.deepEqual(await draw(small, JOB), expected);
    const { plan } = small.plan(jobShape(checkpoint, JOB));
    assert.ok(small.ledger.state("device").peakBytes <= plan.peak.deviceBytes);
    assert.ok(small.ledger.state("ram").peakBytes <= plan.peak.ramBytes);
    assert.ok(plan.phases.some(({ residency }) => residency.streamed.some(({ key }) => key.startsWith("control-1/"))));
  }
});

test("each network is told what is its own: the prompt's rows in guess mode, colours as it knows them, a union its kind", async () => {
  const rowOf = (value: number) => Float32Array.of(value, value + 0.5);
  const told = [1, 2].map((value) => ({ sequences: new Map([["context", rowOf(value)]]), vectors: new Map() }));
  const calls = [10, 20].map((timestep) => ({ timestep, additions: [rowOf(timestep + 1), rowOf(timestep + 2)] }));
  const graph = { inputs: new Map() };
  const picture = Float32Array.of(1, 1, 2, 2, 3, 3); // two pixels: red, green, blue
  const runOf = async (guess: boolean, config: Partial<ControlNetConfig>, mode?: number) => {
    const heard = new Map<string, ReadonlyMap<string, ArrayLike<number>>>();
    const phase = {
      run: async (id: string, inputs: ReadonlyMap<string, ArrayLike<number>>) => {
        heard.set(id, inputs);
        return new Map();
      },
    };
    const control = {
      ...{ kind: "net", prefix: "c.", rows: guess ? 1 : 2, ids: { hint: "hint", text: "text", step: "step" } },
      ...{ config: { ...FULL, ...config }, text: graph, step: graph, times: new Map([[2, { id: "time", graph }]]) },
      shape: { mode },
    };
    const input = { picture, weights: [1] };
    const [run] = await openControls([control] as never, [input], phase as never, undefined);
    await run!.tell(told, [], undefined);
    await run!.time(calls, [], undefined);
    await run!.step(Float32Array.of(7), { at: { index: 0, count: 2 }, upcoming: [], strengths: [] }, undefined);
    return (pass: string, name: string) => [...Array.from(heard.get(pass)!.get(name) ?? [])];
  };
  const both = await runOf(false, {});
  assert.deepEqual(both("text", "context"), [1, 1.5, 2, 2.5]);
  assert.deepEqual(both("time", "addition"), [11, 11.5, 12, 12.5, 21, 21.5, 22, 22.5]);
  assert.deepEqual(
    [both("hint", "picture"), both("step", "latent")],
    [
      [1, 1, 2, 2, 3, 3],
      [7, 7],
    ],
  );
  const guess = await runOf(true, { bgr: true });
  assert.deepEqual(guess("text", "context"), [2, 2.5]);
  assert.deepEqual(guess("time", "addition"), [12, 12.5, 22, 22.5]);
  assert.deepEqual([guess("hint", "picture"), guess("step", "latent")], [[3, 3, 2, 2, 1, 1], [7]]);
  assert.deepEqual(guess("hint", "mode"), []);
  const union = { types: 3, heads: 1, layers: 1 };
  const [first, last] = [await runOf(true, { union }, 0), await runOf(true, { union }, 2)];
  assert.deepEqual([first("hint", "mode"), last("hint", "mode")], [[0], [2]]);
  // A row of zeros, and 1 for its kind: as embeddings of timesteps 0 and 1.
  const at = (value: number) => [...timestepEmbedding([value], FULL.additionTimeEmbedDim, FULL)];
  const rows = (...kinds: number[]) => [...kinds, ...kinds].flatMap(at);
  assert.deepEqual(first("time", "types"), rows(1, 0, 0));
  assert.deepEqual(last("time", "types"), rows(0, 0, 1));
});

test("a T2I-Adapter's pictures fold twice, each way", () => {
  const network = {
    kind: "t2i-adapter",
    guesses: false,
    pictureChannels: 3,
    fold: 16,
    channels: [4, 4, 4, 4],
    layers: 1,
  };
  const stage = (width: number, height: number) =>
    stageControls(
      {
        ...{ pixelsPerCell: 8, width: width / 8, height: height / 8, textTokens: 77, fp32: false, adapters: undefined },
        controls: [{ component: "control-1", network: network as never, guess: false, rows: 2, calls: 1 }],
        callsAtOnce: [1],
      },
      "",
    );
  assert.equal(stage(64, 96).length, 1);
  for (const [width, height] of [
    [48, 64],
    [64, 80],
    [72, 72],
  ] as const) {
    assert.throws(() => stage(width, height), /E_CONTROL .*multiples of 32/, `${width}x${height}`);
  }
});

test("flags are read into the control before them, in their order; the texts of loop and infotext are read back", () => {
  const command = addFields(new Command("x"), JOB_FIELDS)
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  const read = (line: string) => valuesOf(JOB_FIELDS, command.parse(line.split(" "), { from: "user" }).opts()).controls;
  const controls = [
    { file: "a", image: "x.png", weight: 0.5, guess: true },
    {
      file: "b.safetensors",
      image: "y.png",
      start: 0.25,
      end: 0.75,
      preprocess: "canny",
      pass: "first",
      low: 30,
      high: 90.5,
    },
  ] as const;
  const line =
    "--control a --control-image x.png --control-weight 0.5 --control-guess " +
    "--control b.safetensors --control-end 0.75 --control-image y.png --control-start 0.25 --control-preprocess canny " +
    "--control-pass first --control-high 90.5 --control-low 30";
  assert.deepEqual(read(line), controls);
  for (const [wrong, words] of [
    ["--control-image x.png --control a", /E_USAGE --control-image: there is no --control before it/],
    ["--control a --control-weight 1 --control-weight 2", /E_USAGE --control-weight: it is said twice of a/],
    ["--control a --control-weight 11", /--control-weight must be a number from 0 to 10/],
    ["--control a --control-preprocess depth", /--control-preprocess must be one of none, canny/],
  ] as const) {
    const fresh = addFields(new Command("x"), JOB_FIELDS)
      .exitOverride()
      .configureOutput({ writeErr: () => {} });
    assert.throws(() => fresh.parse(wrong.split(" "), { from: "user" }), words);
  }
  assert.throws(() => checkJob({ prompt: "x", controls: [{ file: "a", start: 0.6, end: 0.5 }] }), /E_JOB controls/);
  const record: ImageRecord = {
    ...{
      prompt: "a cat",
      negativePrompt: "",
      seed: 1,
      steps: 30,
      guidance: 7,
      width: 64,
      height: 64,
      sampler: "euler",
    },
    ...{ samplerName: "Euler", scheduleType: "DDIM", backend: "cpu", version: "0.1.0", controls },
  };
  const text = a1111Parameters(record);
  assert.match(
    text,
    /ControlNet 0: "Module: none, Model: a, Weight: 0.5, Resize Mode: Just Resize, Guidance Start: 0, Guidance End: 1, Control Mode: ControlNet is more important, Image: x.png", ControlNet 1: "Module: canny, /,
  );
  assert.deepEqual(settingsOfInfotext(text)!.job.controls, controls);
  // A1111's own says no picture.
  const foreign = settingsOfInfotext(text.replace("Version: Solvay 0.1.0", "Version: v1.10.1"))!;
  assert.equal(foreign.job.controls, undefined);
  assert.match(foreign.notes.join(), /ControlNet 0: .* not understood here/);
});

test("edges as OpenCV's Canny finds them (fixtures/controls, made by cv2), and what else is made of pictures without a network", async () => {
  const open = async (name: string) =>
    readPicture(new Uint8Array(await readFile(pathOf(`controls/${name}`))), { name });
  const [grey, edges, others] = [await open("grey.png"), await open("canny.png"), await open("canny-40-250.png")];
  assert.deepEqual(controlPicture(grey, "canny"), edges.rgb);
  assert.deepEqual(controlPicture(grey, "canny", { low: 40, high: 250 }), others.rgb);
  assert.deepEqual(controlPicture(grey, "canny", { low: 250, high: 40 }), others.rgb);
  const picture = { width: 2, height: 1, rgb: Uint8Array.of(200, 100, 0, 10, 20, 30) };
  assert.deepEqual([...controlPicture(picture, "threshold", { low: 100 })], [255, 255, 255, 0, 0, 0]);
  const plain = CONTROL_PREPROCESSORS.filter((name) => name !== "canny");
  const made = Object.fromEntries(plain.map((name) => [name, [...controlPicture(picture, name)]]));
  // Grey by ITU-R 601: 0.299 200 + 0.587 100 = 118.5, and 18.2.
  assert.deepEqual(made, {
    none: [200, 100, 0, 10, 20, 30],
    invert: [55, 155, 255, 245, 235, 225],
    grey: [118, 118, 118, 18, 18, 18],
    threshold: [0, 0, 0, 0, 0, 0],
    tile: [105, 60, 15, 105, 60, 15],
  });
});

test("what is counted for a control's picture holds what each preprocessor takes, Canny's stack with it", () => {
  for (const size of [
    { width: 16, height: 12 },
    { width: 5, height: 30 },
  ]) {
    const pixels = size.width * size.height;
    const picture = { ...size, rgb: Uint8Array.from({ length: 3 * pixels }, (_, i) => (i * 151) % 256) };
    for (const name of CONTROL_PREPROCESSORS) {
      const { uint8, int32 } = allocatedBytes(() => controlPicture(picture, name));
      // The last copy of the marks is made when the stack, of at most 4 bytes a pixel, is empty.
      const stack = name === "canny" ? (4 - 1) * pixels : 0;
      assert.ok(uint8 + int32 + stack <= controlPictureBytes(size), `${name}: ${uint8} + ${int32}`);
    }
  }
});
