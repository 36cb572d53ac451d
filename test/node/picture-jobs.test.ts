/**
 * @file Pictures from pictures, and second passes: the same PNG for every budget, from folder and store; the same pixels from the state of
 * any step; memory within the plan; a device that breaks anywhere; what can't go together is refused.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { HostDevice } from "../../src/backend/host-device.ts";
import { runCli } from "../../src/cli/program.ts";
import { HiresUpscalers } from "../../src/engine/hires-upscalers.ts";
import { readJob } from "../../src/engine/read-job.ts";
import type { Picture } from "../../src/image/picture.ts";
import { resample } from "../../src/image/resample.ts";
import type { FullJob } from "../../src/job/job.ts";
import type { Refiner } from "../../src/models/family.ts";
import { SDXL } from "../../src/models/sdxl/family.ts";
import { Upscaling } from "../../src/models/upscaling.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { openUpscaler } from "../../src/node/upscaler-files.ts";
import type { Engine, GenerateJob, OpenEngineOptions } from "../../src/node.ts";
import { decodedFromImage } from "../../src/pipeline/job-pictures.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { recoveredTextToImage } from "../../src/pipeline/recovery.ts";
import { jobShape } from "../../src/pipeline/route.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import { type TextToImageJob, textToImage } from "../../src/pipeline/text-to-image.ts";
import { planUpscale, upscale } from "../../src/pipeline/upscale.ts";
import type { SamplerState } from "../../src/sampler/sampler.ts";
import { type DeviceFaults, FaultyDevice } from "../faulty-device.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { sameBytes } from "../support/same.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const root = new URL("../../", import.meta.url);
const DEEP = fileURLToPath(new URL("fixtures/golden/deep", root));
const here = (name: string) => fileURLToPath(new URL(`fixtures/from-pictures/${name}`, root));
const UPSCALER = (name: string) => fileURLToPath(new URL(`fixtures/upscalers/${name}`, root));
const PICTURE = { initImage: here("init.png"), width: 64, height: 56 };
// Few sizes in all: each is compiled for by itself.
const BASE = { prompt: "a lake at dawn", seed: 3, steps: 3, width: 32, height: 32 };
const JOBS: Readonly<Record<string, GenerateJob>> = {
  "image to image": { ...BASE, ...PICTURE, strength: 0.7 },
  inpainting: { ...BASE, ...PICTURE, maskImage: here("soft.png"), maskBlur: 2 },
  outpainting: { ...BASE, initImage: here("init.png"), outpaint: "8,0,16,0", width: 72, height: 48, steps: 2 },
  "a larger latent": { ...BASE, hiresScale: 2, hiresStrength: 0.7 },
  "a larger picture": { ...BASE, hiresScale: 2, hiresStrength: 0.5, hiresSteps: 2, hiresUpscaler: "lanczos" },
  "a picture enlarged by a network, then by a filter": {
    ...{ ...BASE, steps: 2, hiresScale: 2, hiresStrength: 0.5, hiresSteps: 2 },
    hiresUpscaler: UPSCALER("x4.safetensors"),
  },
};

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "solvay-picture-jobs-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** "226M" of "give --vram 226M or more". */
async function leastVram(engine: Engine, job: GenerateJob): Promise<string> {
  await engine.setBudgets({ vram: "1M" });
  const error = await engine.plan(job).then(() => assert.fail("1 MiB should not do"), String);
  return /--vram (\d+M)/.exec(error)![1]!;
}

async function pictures(
  options: OpenEngineOptions,
  { streams, jobs }: { readonly streams: boolean; readonly jobs: readonly string[] },
): Promise<Map<string, Uint8Array>> {
  await using engine = await openThreadlessEngine({ backend: "cpu", ...options });
  const made = new Map<string, Uint8Array>();
  for (const name of jobs) {
    const job = JOBS[name]!;
    if (streams) await engine.setBudgets({ vram: await leastVram(engine, job) });
    let planned: { readonly deviceBytes: number; readonly ramBytes: number } | undefined;
    for await (const event of engine.generate(job)) {
      if (event.type === "plan") planned = event.plan.peak;
      if (event.type === "plan") assert.equal(event.plan.keepsAll, !streams, name);
      if (event.type !== "image") continue;
      made.set(name, event.bytes);
      assert.ok(event.peakDeviceBytes <= planned!.deviceBytes, `${name}: device memory as planned`);
      assert.ok(event.peakRamBytes <= planned!.ramBytes, `${name}: RAM as planned`);
    }
  }
  return made;
}

test("in place and from the store, resident and streamed: the same PNG of each kind of job", async () => {
  const all = Object.keys(JOBS);
  // Of the store's weights none are others than in place; the encoder's come when they are asked for.
  const stored = searched(["image to image", "a larger picture"], all);
  const expected = await pictures({ model: DEEP }, { streams: false, jobs: all });
  assert.equal(new Set([...expected.values()].map((png) => png.length)).size > 1, true);
  const fake = fakeContext({ cwd: folder });
  const store = join(folder, "store");
  assert.equal(await runCli(["import", DEEP, "--store", store, "--json"], fake.context), 0, fake.err());
  const { id } = JSON.parse(fake.out().trim().split("\n").at(-1)!) as { id: string };
  for (const [where, options, jobs] of [
    ["streamed", { model: DEEP }, all],
    ["from the store", { model: `store:${id}`, store }, stored],
  ] as const) {
    const found = await pictures(options, { streams: true, jobs });
    for (const name of jobs) sameBytes(found.get(name)!, expected.get(name)!, `${name}, ${where}`);
  }
});

const decoder = async (): Promise<(field: string, path: string) => Promise<Picture>> => {
  const { readPictureBytes } = await import("../../src/node/picture-files.ts");
  const { readPicture } = await import("../../src/node/pictures.ts");
  return async (field, path) => readPicture((await readPictureBytes(field, path, { cwd: "/" })).bytes, { name: field });
};

const settings = {
  budgets: { deviceBytes: 2 ** 30, ramBytes: 2 ** 30 },
  machine: TEST_MACHINE,
  rates: {},
  processBytes: 0,
  now: () => performance.now(),
  pause: async () => {},
};

const opened = new AsyncDisposableStack();
after(() => opened.disposeAsync());

async function upscalerOf(runtime: Runtime, job: FullJob) {
  return await opened.use(new HiresUpscalers(runtime, (file, signal) => openUpscaler(file, file, signal))).ofJob(job);
}

async function fullJob(runtime: Runtime, job: GenerateJob): Promise<TextToImageJob> {
  const { full, pictures: read } = await readJob({ runtime, readPicture: await decoder() }, job);
  return { ...full, pictures: read, upscaler: await upscalerOf(runtime, full) };
}

async function openRefiner(): Promise<Refiner> {
  const folder = await openFileFolder(here("refiner"));
  return await SDXL.openRefiner({ model: { kind: "folder", folder }, vocabulary: folder });
}

const PAINT = here("paint");
const SMALL = { ...BASE, steps: 4 };
const LARGER = { ...BASE, steps: 2, width: 16, height: 16, hiresScale: 2 };

for (const [name, model, job] of [
  ["image to image", DEEP, { ...SMALL, initImage: here("init.png"), strength: 0.6 }],
  ["inpainting", DEEP, { ...SMALL, initImage: here("init.png"), maskImage: here("soft.png"), strength: 0.6 }],
  ["inpainting by a network for it", PAINT, { ...SMALL, initImage: here("init.png"), maskImage: here("mask.png") }],
  ["a larger latent", DEEP, { ...LARGER, hiresStrength: 0.6, hiresSteps: 4 }],
  ["a larger picture", DEEP, { ...LARGER, hiresUpscaler: "lanczos", hiresSteps: 3 }],
  ["a network's picture", DEEP, { ...LARGER, hiresUpscaler: UPSCALER("x2.pth"), hiresSteps: 3 }],
  [
    "inpainting, then a refiner",
    DEEP,
    { ...SMALL, initImage: here("init.png"), maskImage: here("soft.png"), refinerStart: 0.5 },
  ],
  ["a larger latent, then a refiner", DEEP, { ...LARGER, hiresStrength: 0.8, hiresSteps: 5, refinerStart: 0.5 }],
] as const) {
  test(`${name}: from the state of any step, the same pixels; a device lost at any of some calls as well`, async () => {
    await using base = await openSdxlFolder(model);
    await using refiner = "refinerStart" in job ? await openRefiner() : undefined;
    const checkpoint = refiner ? base.withRefiner(refiner) : base;
    await using device = new HostDevice(await openOnnxBackend());
    await using runtime = new Runtime(checkpoint, device, componentReaders(checkpoint, performance.now), settings);
    const full = await fullJob(runtime, job);
    const planned = runtime.plan(jobShape(checkpoint, full));
    const states: SamplerState[] = [];
    let expected: Uint8Array | undefined;
    for await (const event of textToImage(runtime, planned, full)) {
      if (event.type === "step") states.push(event.state);
      if (event.type === "step") assert.equal(event.state.step, states.length);
      if (event.type === "pixels") expected = event.rgb;
    }
    assert.ok(states.length > 1);
    for (const from of searched([states[0]!, states.at(-2)!], states)) {
      for await (const event of textToImage(runtime, planned, full, { from: structuredClone(from) })) {
        if (event.type === "step") assert.ok(event.state.step > from.step, "no step twice");
        if (event.type === "pixels") sameBytes(event.rgb, expected!, `from step ${from.step}`);
      }
    }
    let calls = 0;
    const draw = async (faults: DeviceFaults) => {
      const first = new FaultyDevice(faults, 1000);
      await using faulty = new Runtime(checkpoint, first, componentReaders(checkpoint, performance.now), settings);
      assert.deepEqual(await upscalerOf(faulty, full), full.upscaler);
      const recovery = {
        reopen: async () => {
          await first[Symbol.asyncDispose]();
          return new FaultyDevice({}, 1000);
        },
        hasLessThanFp32: false,
        shrink: async () => {},
        pause: () => new Promise<void>((resume) => setImmediate(resume)),
      };
      for await (const event of recoveredTextToImage(faulty, full, recovery))
        if (event.type === "pixels") return event.rgb;
      throw new Error("no picture");
    };
    const plain = await draw({ before: () => void calls++ });
    // Usually late, after a few states; of larger latents in the first pass.
    for (const share of searched([name.startsWith("a larger latent") ? 0.3 : 0.9], [0.2, 0.3, 0.45, 0.7, 0.9, 0.95])) {
      const at = Math.floor(calls * share);
      const found = await draw({ before: (_, count, broken) => void (count === at && broken.lose()) });
      sameBytes(found, plain, `lost at call ${at} of ${calls}`);
    }
  });
}

test("what the second pass begins with is what the network alone makes of the first pass's picture", async () => {
  await using checkpoint = await openSdxlFolder(DEEP);
  await using device = new HostDevice(await openOnnxBackend());
  await using runtime = new Runtime(checkpoint, device, componentReaders(checkpoint, performance.now), settings);
  const file = UPSCALER("x4.safetensors");
  const full = await fullJob(runtime, { ...SMALL, steps: 2, hiresScale: 1.5, hiresUpscaler: file, hiresStrength: 0.5 });
  const planned = runtime.plan(jobShape(checkpoint, full));
  const hires = planned.described.hires!;
  const encodePicture = hires.encodePicture.bind(hires);
  let seen: Float32Array | undefined;
  Object.assign(hires, {
    encodePicture: (...[phase, picture, signal]: Parameters<typeof encodePicture>) => {
      seen = picture.slice();
      return encodePicture(phase, picture, signal);
    },
  });
  for await (const _ of textToImage(runtime, planned, full));
  let first: Uint8Array | undefined;
  const alone = await fullJob(runtime, { ...SMALL, steps: 2 });
  for await (const event of textToImage(runtime, runtime.plan(jobShape(checkpoint, alone)), alone)) {
    if (event.type === "pixels") first = event.rgb;
  }
  const source = { width: 32, height: 32, rgb: new Uint8Array(first!) };
  const { config, table, source: weights } = await openUpscaler(file, file);
  await using _ = weights;
  const enlarged = planUpscale({ ...settings, device }, new Upscaling(config, source), table, 0);
  const { rgb, width, height } = await upscale({ ...settings, device }, enlarged, source, {});
  assert.deepEqual([width, height], [128, 128]);
  const size = { width: 48, height: 48 };
  const expected = resample({ width, height, channels: 3, bytes: rgb }, size, "lanczos");
  const decoded = decodedFromImage({ ...size, rgb: expected });
  assert.deepEqual(seen, decoded);
  assert.ok(new Set(expected).size > 20);
});

test("fields that need or exclude one another, sizes and strengths that can't be: one clear refusal", async () => {
  await using checkpoint = await openSdxlFolder(DEEP);
  await using device = new HostDevice(await openOnnxBackend());
  await using runtime = new Runtime(checkpoint, device, componentReaders(checkpoint, performance.now), settings);
  const init = { initImage: here("init.png") };
  const refused: readonly (readonly [Partial<GenerateJob>, RegExp])[] = [
    [{ strength: 0.5 }, /E_JOB strength: there is no picture to begin with/],
    [{ maskImage: here("mask.png") }, /E_JOB maskImage: there is no picture to begin with/],
    [{ outpaint: "8,8,8,8" }, /E_JOB outpaint: there is no picture to begin with/],
    [{ hiresSteps: 4 }, /E_JOB hiresSteps: there is no second pass/],
    [{ ...init, hiresScale: 2 }, /E_JOB hiresScale: a second pass follows text to image only/],
    [{ ...init, maskBlur: 2 }, /E_JOB maskBlur: there is no mask/],
    [{ ...init, strength: 0.1, steps: 4 }, /E_JOB strength: 0.1 of 4 steps leaves none/],
    [{ ...init, outpaint: "1,2,3" }, /E_JOB outpaint: four numbers of pixels/],
    [{ hiresScale: 8, width: 1024, height: 1024 }, /E_JOB hiresScale: 8192x8192 is too large/],
    [{ hiresScale: 2, hiresUpscaler: "magic" }, /E_JOB hiresUpscaler: "magic" is none \(allowed: latent, /],
    [{ hiresScale: 2, hiresUpscaler: "none.pth" }, /E_MISSING none\.pth/],
    [{ hiresScale: 2, hiresUpscaler: UPSCALER("swinir.pth") }, /E_UPSCALER .*SwinIR/],
  ];
  for (const [job, message] of refused) {
    const shaped = async () => jobShape(checkpoint, await fullJob(runtime, { prompt: "a mill", ...job }));
    await assert.rejects(shaped(), (error: Error) => message.test(error.message) || assert.fail(error.message));
  }
  await using painter = await openSdxlFolder(PAINT);
  await using other = new Runtime(painter, device, componentReaders(painter, performance.now), settings);
  await assert.rejects(fullJob(other, { prompt: "a door" }), /E_JOB maskImage: .*is a model for inpainting/);
  await using refiner = await openRefiner();
  const both = painter.withRefiner(refiner);
  await using third = new Runtime(both, device, componentReaders(both, performance.now), settings);
  const masked = { prompt: "a door", ...init, maskImage: here("mask.png") };
  await assert.rejects(fullJob(third, masked), /E_JOB maskImage: .*a refiner can't go on from/);
});
