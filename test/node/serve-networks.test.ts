/**
 * @file Networks of files behind a server: pictures that upscalers enlarge, as jobs of the queue within the same budgets, by our own API and A1111's extras;
 * and a picture that ControlNets steer, asked for as A1111's clients do.
 */
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { resample } from "../../src/image/resample.ts";
import type { ControlUse } from "../../src/job/control-use.ts";
import type { GenerateJob } from "../../src/node.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures/", import.meta.url));
const UPSCALERS = `${FIXTURES}upscalers`;
/** PyTorch's pictures: scripts/golden/upscaler_golden.py. */
const golden = JSON.parse(readFileSync(`${UPSCALERS}/golden.json`, "utf8")) as {
  readonly width: number;
  readonly height: number;
  readonly rgb: string;
  readonly networks: Readonly<Record<string, { readonly rgb: string }>>;
};
const { width, height } = golden;
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
const RGB = bytesOf(golden.rgb);
const MiB = 2 ** 20;
const OPEN = { model: `${FIXTURES}golden/deep`, upscalerDir: UPSCALERS, controlDir: `${FIXTURES}controls` };

interface Job {
  readonly id: string;
  readonly state: string;
  readonly job: { readonly prompt: string };
  readonly upscale?: { readonly image: string; readonly upscaler: string };
  readonly error?: { readonly code: string; readonly message: string };
  readonly asset?: string;
}

let folder: string;
let server: RunningServer;

before(async () => {
  folder = await serverFolder();
  server = await pretendingServer({
    folder,
    models: new Map([["deep", OPEN]]),
    engine: (options) => openThreadlessEngine({ ...options, backend: "cpu", budgets: { vram: "512M", ram: "800M" } }),
  });
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function ask<T>(route: string, body?: object, status = 200): Promise<T> {
  const sent = body && {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  };
  const answer = await fetch(`${server.url}${route}`, sent);
  const json = (await answer.json()) as T;
  assert.equal(answer.status, status, JSON.stringify(json));
  return json;
}

async function over(id: string): Promise<Job> {
  for (;;) {
    const job = await ask<Job>(`/api/jobs/${id}`);
    if (job.state !== "queued" && job.state !== "running") return job;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const source = async () => {
  const text = [{ keyword: "parameters", text: "a mill\nSteps: 3, Sampler: Euler, Seed: 4" }];
  return await encodePng({ width, height, rgb: RGB, text });
};

async function upload(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const headers = { "content-type": "image/png" };
  const answer = await fetch(`${server.url}/api/assets`, { method: "POST", body: bytes, headers });
  return `sha256:${((await answer.json()) as { sha256: string }).sha256}`;
}

const bytesOfAsset = async (job: Job) =>
  new Uint8Array(await (await fetch(`${server.url}/api/assets/${job.asset}`)).arrayBuffer());

function near(found: Uint8Array, expected: Uint8Array, most: number): void {
  assert.equal(found.length, expected.length);
  const largest = expected.reduce((far, value, at) => Math.max(far, Math.abs(value - found[at]!)), 0);
  assert.ok(largest <= most, `up to ${largest} of 255 off`);
}

test("an upscale is a job: planned, done in turn with pictures, PyTorch's pixels, and in the gallery with what the picture said", async () => {
  const drawn = { prompt: "a boat", steps: 1, width: 64, height: 64, seed: 3 };
  const { jobs: first } = await ask<{ jobs: Job[] }>("/api/jobs", { job: drawn }, 201);
  const upscale = { image: await upload(await source()), upscaler: "x4" };
  const plan = await ask<{ peak: { deviceBytes: number; ramBytes: number } }>("/api/upscales/plan", { upscale });
  assert.ok(plan.peak.deviceBytes > 0 && plan.peak.deviceBytes <= 512 * MiB, JSON.stringify(plan.peak));
  const { job } = await ask<{ job: Job }>("/api/upscales", { upscale }, 201);
  assert.deepEqual([job.upscale?.upscaler, job.job.prompt], ["x4.pth", "a mill"]);
  const { jobs: last } = await ask<{ jobs: Job[] }>("/api/jobs", { job: drawn }, 201);
  const done = await over(job.id);
  assert.equal(done.state, "done", JSON.stringify(done.error));
  const made = await decodePng(await bytesOfAsset(done));
  assert.deepEqual([made.width, made.height], [4 * width, 4 * height]);
  near(made.pixels, bytesOf(golden.networks.x4!.rgb), 1);
  const { pictures } = await ask<{ pictures: { job: string; prompt: string; infotext: string }[] }>("/api/gallery");
  const entry = pictures.find((each) => each.job === job.id);
  assert.deepEqual([entry?.prompt, entry?.infotext], ["a mill", "a mill\nSteps: 3, Sampler: Euler, Seed: 4"]);
  // What was on the device before it is there again, to the same pixels.
  const [one, two] = [await over(first[0]!.id), await over(last[0]!.id)];
  assert.deepEqual([one.state, two.state, two.asset], ["done", "done", one.asset]);
});

test("what can't be is refused by name, before the queue or with the worker's reason", async () => {
  const image = await upload(await source());
  const failing = async (upscale: object) => {
    const { job } = await ask<{ job: Job }>("/api/upscales", { upscale }, 201);
    return (await over(job.id)).error?.message ?? "";
  };
  assert.match(
    await failing({ image, upscaler: "none" }),
    /^E_UPSCALER none: the folder of upscalers has none of that name/,
  );
  assert.match(await failing({ image, upscaler: "x4.pth", width: 8192, height: 8192 }), /^E_(RAM|BUDGET)/);
  for (const [upscale, message] of [
    [{ image, upscaler: "../x4.pth" }, /^E_JOB upscaler: a server takes upscalers by their names/],
    [{ image: "/etc/passwd", upscaler: "x4.pth" }, /^E_PICTURE image: a server reads no files/],
    [{ image: `sha256:${"0".repeat(64)}`, upscaler: "x4.pth" }, /^E_PICTURE image: there is no asset/],
    [{ image, upscaler: "x4.pth", scale: 9 }, /^E_JOB scale: out of range/],
    [{ image, upscaler: "x4.pth", width: 64 }, /^E_JOB width: a size is width and height/],
  ] as const) {
    const { error } = await ask<{ error: { message: string } }>("/api/upscales", { upscale }, 400);
    assert.match(error.message, message);
  }
});

test("A1111's extras by networks: listed, alone, one laid over the other, to a size; smaller is Lanczos's", async () => {
  const listed = await ask<{ name: string; scale: number }[]>("/sdapi/v1/upscalers");
  assert.deepEqual(
    ["Lanczos", "compact-x2", "x8-first-names"].map((name) => listed.find((each) => each.name === name)?.scale),
    [4, 2, 8],
  );
  assert.ok(!listed.some(({ name }) => name === "swinir"), "what can't be opened is not offered");
  const image = Buffer.from(await source()).toString("base64");
  const extra = async (how: object) => {
    const made = await ask<{ image: string }>("/sdapi/v1/extra-single-image", { image, ...how });
    return await decodePng(bytesOf(made.image));
  };
  const network = {
    width: 2 * width,
    height: 2 * height,
    channels: 3,
    bytes: bytesOf(golden.networks["compact-x2"]!.rgb),
  };
  // Sides are multiples of 8: 42 x 26 becomes 40 x 24 by Lanczos (modules/upscaler.py).
  const size = { width: 40, height: 24 };
  const alone = resample(network, size, "lanczos");
  const two = await extra({ upscaler_1: "compact-x2", upscaling_resize: 2 });
  assert.deepEqual([two.width, two.height], [40, 24]);
  near(two.pixels, alone, 2);
  const lanczos = resample({ width, height, channels: 3, bytes: RGB }, size, "lanczos");
  const both = await extra({ upscaler_1: "compact-x2", upscaler_2: "Lanczos", extras_upscaler_2_visibility: 0.25 });
  near(
    both.pixels,
    alone.map((value, at) => Math.trunc(value + 0.25 * (lanczos[at]! - value))),
    2,
  );
  const cut = { resize_mode: 1, upscaling_resize_w: 24, upscaling_resize_h: 24 };
  const { images } = await ask<{ images: string[] }>("/sdapi/v1/extra-batch-images", {
    ...{
      imageList: [
        { data: image, name: "a.png" },
        { data: image, name: "b.png" },
      ],
      upscaler_1: "compact-x2",
    },
    ...cut,
  });
  const [a, b] = await Promise.all(images.map((each) => decodePng(bytesOf(each))));
  assert.deepEqual([a!.width, a!.height, a!.pixels], [24, 24, b!.pixels]);
  const smaller = await extra({ upscaler_1: "compact-x2", upscaling_resize: 0.8 });
  near(smaller.pixels, resample({ width, height, channels: 3, bytes: RGB }, { width: 16, height: 8 }, "lanczos"), 0);
  await ask("/sdapi/v1/extra-single-image", { image, upscaler_1: "swinir2" }, 422);
});

test("ControlNets through A1111's API: the engine's own picture, which equals diffusers' (test/golden/controls.test.ts)", async () => {
  const pathOf = (name: string) => `${FIXTURES}from-pictures/${name}`;
  const base64Of = (name: string) => readFileSync(pathOf(name)).toString("base64");
  const unit = { module: "none", guidance_start: 0, guidance_end: 1 };
  const args = [
    { ...unit, model: "edges", image: base64Of("init.png"), weight: 0.5, resize_mode: "Just Resize" },
    // Its own way where none is said: the middle, cut out.
    { ...unit, model: "light [0a1b2c3d]", image: base64Of("soft.png"), weight: 1.25 },
  ];
  const size = { width: 64, height: 64, steps: 2, seed: 2, prompt: "a mill" };
  const body = { ...size, cfg_scale: 3, sampler_name: "Euler", alwayson_scripts: { ControlNet: { args } } };
  const { images, info } = await ask<{ images: string[]; info: string }>("/sdapi/v1/txt2img", body);
  const { infotexts } = JSON.parse(info) as { readonly infotexts: readonly string[] };
  assert.match(infotexts[0]!, /ControlNet 1: "Module: none, Model: light, Weight: 1.25, Resize Mode: Crop and Resize/);
  await using engine = await openThreadlessEngine({ ...OPEN, backend: "cpu" });
  const drawn = async (...controls: ControlUse[]) => {
    const job: GenerateJob = { ...size, guidance: 3, promptSyntax: "a1111", sampler: "euler", controls };
    for await (const event of engine.generate(job))
      if (event.type === "image") return (await decodePng(new Uint8Array(event.bytes))).pixels;
    throw new Error("no picture");
  };
  const edges = { file: "edges", image: pathOf("init.png"), weight: 0.5 };
  const light = { file: "light", image: pathOf("soft.png"), weight: 1.25 };
  const found = (await decodePng(bytesOf(images[0]!))).pixels;
  near(found, await drawn(edges, { ...light, fit: "crop" }), 0);
  const stretched = await drawn(edges, light);
  assert.throws(() => near(found, stretched, 0), /255 off/);
  // What pictures leave on the device is given back before another picture is enlarged: one budget holds for both.
  const resident = async () => {
    for await (const moment of engine.watch()) return moment.resident.length;
    return 0;
  };
  assert.ok((await resident()) > 0);
  await engine.upscale({ image: pathOf("init.png"), upscaler: `${UPSCALERS}/compact-x2.pth` });
  assert.equal(await resident(), 0);
});
