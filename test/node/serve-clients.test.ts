/**
 * @file Clients that people have, against a server with keys: the calls of Open WebUI (backend/open_webui/routers/images.py) and SillyTavern
 * (src/endpoints/stable-diffusion.js, and its extension's request) as their sources send them, the AI SDK, and Python's webuiapi and openai.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createOpenAI } from "@ai-sdk/openai";
import { generateImage } from "ai";
import { readPictureHeader } from "../../src/image/picture-header.ts";
import { encodePng } from "../../src/image/png.ts";
import type { ControlUse } from "../../src/job/control-use.ts";
import type { GenerateJob } from "../../src/job/types.ts";
import { Keys } from "../../src/server/http/keys.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";

const KEY = "0123456789abcdef0123";
/** A Python that has webuiapi and openai (test/support/python_clients.py tells how it is made). */
const PYTHON = process.env.SOLVAY_TEST_PYTHON_CLIENTS;
const basic = `Basic ${Buffer.from(`anybody:${KEY}`).toString("base64")}`;

let folder: string;
let server: RunningServer;
const asked: GenerateJob[] = [];

before(async () => {
  folder = await serverFolder();
  writeFileSync(`${folder}/edges.safetensors`, "");
  const keys = Keys.fromText(`ann:${KEY}`, "keys");
  server = await pretendingServer({
    ...{ folder, keys, asked: (job) => asked.push(job) },
    models: new Map([
      ["pretence", { controlDir: folder }],
      ["lake", {}],
    ]),
  });
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  // However it came: in a header of either kind, or in a body.
  assert.ok(server.logs().includes('"path":"/sdapi/v1/txt2img"'));
  for (const secret of [KEY, basic.slice("Basic ".length), "a (lake"])
    assert.ok(!server.logs().includes(secret), secret);
  rmSync(folder, { recursive: true, force: true });
});

/** With the header as both clients send it, the body as JSON. */
async function call<T>(route: string, body?: object, authorization = basic): Promise<T> {
  const headers = { authorization, ...(body && { "content-type": "application/json" }) };
  const sent = body && { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(server.url + route, { headers, ...sent });
  assert.equal(answer.status, 200, `${route}: ${await answer.clone().text()}`);
  return (await answer.json()) as T;
}

const sizeOf = (base64: string) => {
  const { width, height } = readPictureHeader(Buffer.from(base64, "base64"), "made");
  return [width, height];
};

test("Open WebUI by A1111's API: its check, models, the model's choice by the whole options, pictures with its own parameters", async () => {
  const options = await call<Record<string, unknown>>("/sdapi/v1/options");
  const [model] = await call<{ title: string; model_name: string }[]>("/sdapi/v1/sd-models");
  assert.deepEqual([model?.title, model?.model_name], [options.sd_model_checkpoint, "pretence"]);
  assert.equal(await call("/sdapi/v1/options", { ...options, sd_model_checkpoint: "lake" }), null);
  const now = await call<Record<string, unknown>>("/sdapi/v1/options");
  assert.deepEqual(now, { ...options, sd_model_checkpoint: "lake" });
  const data = { prompt: "a (lake:1.2)", batch_size: 2, width: 512, height: 512, steps: 2, negative_prompt: "fog" };
  const parameters = { sampler_name: "DPM++ 2M", scheduler: "Karras", cfg_scale: 5 };
  const made = await call<{ images: string[]; info: string }>("/sdapi/v1/txt2img", { ...data, ...parameters });
  assert.deepEqual(made.images.map(sizeOf), [
    [512, 512],
    [512, 512],
  ]);
  const { steps, guidance, sampler, schedule, negativePrompt } = asked.at(-1)!;
  assert.deepEqual([steps, guidance, sampler, schedule, negativePrompt], [2, 5, "dpmpp-2m", "karras", "fog"]);
  const info = JSON.parse(made.info) as { all_seeds: number[]; sd_model_name: string };
  assert.deepEqual([info.all_seeds.length, info.sd_model_name], [2, "lake"]);
  await call("/sdapi/v1/options", { sd_model_checkpoint: model!.title });
});

test("Open WebUI by OpenAI's API: generations with and without response_format, a url fetched with its key, edits of one and of a list", async () => {
  const bearer = `Bearer ${KEY}`;
  const generate = (body: object) =>
    call<{ data: { b64_json?: string; url?: string }[] }>(
      "/v1/images/generations?api-version=2025-04-01",
      body,
      bearer,
    );
  const data = { model: "dall-e-2", prompt: "a lake", n: 1, size: "512x512", response_format: "b64_json" };
  assert.deepEqual(sizeOf((await generate(data)).data[0]!.b64_json!), [512, 512]);
  // gpt-image-... gets no response_format; parameters of the admin's come along.
  const plain = await generate({ model: "gpt-image-1.5", prompt: "a lake", n: 2, size: "auto", quality: "low" });
  assert.deepEqual(
    plain.data.map(({ b64_json }) => sizeOf(b64_json!)),
    [
      [64, 64],
      [64, 64],
    ],
  );
  const linked = await generate({ model: "dall-e-3", prompt: "a lake", n: 1, size: "64x64", response_format: "url" });
  const fetched = await fetch(linked.data[0]!.url!, { headers: { authorization: bearer } });
  assert.deepEqual([fetched.status, fetched.headers.get("content-type")], [200, "image/png"]);

  const png = await encodePng({ width: 64, height: 64, rgb: new Uint8Array(64 * 64 * 3).fill(50) });
  const edit = async (name: string, count: number) => {
    const form = new FormData();
    for (const [field, value] of Object.entries({ ...data, n: "1", size: "64x64", background: "auto" }))
      form.append(field, value);
    for (let i = 0; i < count; i++) form.append(name, new File([png], "a.png", { type: "image/png" }));
    return await fetch(`${server.url}/v1/images/edits`, {
      method: "POST",
      body: form,
      headers: { authorization: bearer },
    });
  };
  for (const name of ["image", "image[]"]) {
    const { data: edited } = (await (await edit(name, 1)).json()) as { data: { b64_json: string }[] };
    assert.deepEqual(sizeOf(edited[0]!.b64_json), [64, 64], name);
  }
  assert.equal(asked.at(-1)?.strength, 0.75);
  const several = await edit("image[]", 2);
  const { error } = (await several.json()) as { error: { message: string; param: string } };
  assert.deepEqual([several.status, error.param], [400, "image"]);
  assert.match(error.message, /one picture is taken/);
});

test("SillyTavern: every list it asks for, its model's change, its request with address and secret in it, its interrupt when the reader goes", async () => {
  await call("/sdapi/v1/options");
  const [upscalers, latent] = await Promise.all(
    ["upscalers", "latent-upscale-modes"].map((list) => call<{ name: string }[]>(`/sdapi/v1/${list}`)),
  );
  assert.equal(upscalers![0]!.name, "None");
  assert.ok(latent!.some(({ name }) => name === "Latent"));
  const vaes = await Promise.allSettled(["sd-vae", "sd-modules"].map((list) => call<unknown[]>(`/sdapi/v1/${list}`)));
  assert.ok(vaes.every((each) => each.status === "fulfilled" && Array.isArray(each.value)));
  const [samplers, schedulers, models] = await Promise.all(
    ["samplers", "schedulers", "sd-models"].map((list) => call<{ name: string; title: string }[]>(`/sdapi/v1/${list}`)),
  );
  await call("/sdapi/v1/options", { sd_model_checkpoint: models![0]!.title });
  const { progress, state } = await call<{ progress: number; state: { job_count: number } }>("/sdapi/v1/progress");
  assert.deepEqual([progress, state.job_count], [0, 0]);
  const body = {
    ...{ url: server.url, auth: `anybody:${KEY}`, prompt: "a door", negative_prompt: "", steps: 3, cfg_scale: 4.5 },
    ...{ sampler_name: samplers!.at(-1)!.name, scheduler: schedulers![1]!.name, width: 64, height: 64 },
    ...{ restore_faces: false, enable_hr: true, hr_upscaler: "Latent", hr_scale: 1.5, hr_additional_modules: [] },
    ...{ denoising_strength: 0.6, hr_second_pass_steps: 5, clip_skip: 1, save_images: true, send_images: true },
    override_settings: { CLIP_stop_at_last_layers: 1, sd_vae: "Automatic" },
    ...{ override_settings_restore_afterwards: true, do_not_save_grid: false, do_not_save_samples: false },
  };
  const made = await call<{ images: string[]; info: string; parameters: object }>("/sdapi/v1/txt2img", body);
  assert.deepEqual([made.images.length, made.parameters], [1, body]);
  assert.deepEqual((JSON.parse(made.info) as { ignored: string[] }).ignored, ["url", "auth"]);
  assert.doesNotMatch(made.info, new RegExp(KEY));
  assert.equal(asked.at(-1)?.hiresScale, 1.5);

  const gone = new AbortController();
  const headers = { authorization: basic, "content-type": "application/json" };
  const waiting = fetch(`${server.url}/sdapi/v1/txt2img`, {
    ...{ method: "POST", headers, signal: gone.signal, body: JSON.stringify({ ...body, prompt: "wait" }) },
  });
  const jobCount = async () =>
    (await call<{ state: { job_count: number; sampling_step: number } }>("/sdapi/v1/progress")).state;
  while ((await jobCount()).sampling_step < 2);
  // No body, and no type of one.
  const interrupt = await fetch(`${server.url}/sdapi/v1/interrupt`, {
    method: "POST",
    headers: { authorization: basic },
  });
  assert.equal(interrupt.status, 200);
  gone.abort();
  await assert.rejects(waiting);
  while ((await jobCount()).job_count > 0);
});

test("the AI SDK: pictures of a model, a size, a seed by provider options; edits with a mask; its errors", async () => {
  const openai = createOpenAI({ baseURL: `${server.url}/v1`, apiKey: KEY });
  const two = await generateImage({
    model: openai.image("pretence"),
    prompt: "a mill",
    n: 2,
    size: "128x64",
    maxRetries: 0,
  });
  assert.deepEqual(
    two.images.map(({ base64 }) => sizeOf(base64)),
    [
      [128, 64],
      [128, 64],
    ],
  );
  assert.deepEqual(
    two.images.map(({ mediaType }) => mediaType),
    ["image/png", "image/png"],
  );
  const known = await generateImage({
    ...{ model: openai.image("gpt-image-1"), prompt: "a mill", size: "64x64", maxRetries: 0 },
    providerOptions: { openai: { quality: "low", background: "opaque", moderation: "low", style: "vivid" } },
  });
  assert.deepEqual(sizeOf(known.image.base64), [64, 64]);
  await generateImage({ model: openai.image("lake"), prompt: "by another model", size: "64x64", maxRetries: 0 });
  const { jobs } = await call<{ jobs: { model: string }[] }>("/api/jobs?limit=2");
  assert.deepEqual(
    jobs.map(({ model }) => model),
    ["lake", "pretence"],
  );
  const rgb = new Uint8Array(64 * 64 * 3).fill(50);
  const [picture, mask] = [
    await encodePng({ width: 64, height: 64, rgb }),
    await encodePng({ width: 64, height: 64, rgb, alpha: new Uint8Array(64 * 64) }),
  ];
  await generateImage({
    ...{ model: openai.image("gpt-image-1"), maxRetries: 0 },
    prompt: { text: "a boat", images: [picture], mask },
  });
  assert.deepEqual([asked.at(-1)?.prompt, asked.at(-1)?.maskImage !== undefined], ["a boat", true]);
  await assert.rejects(generateImage({ model: openai.image("flux"), prompt: "x", maxRetries: 0 }), /model_not_found/);
  await assert.rejects(
    generateImage({
      model: createOpenAI({ baseURL: `${server.url}/v1`, apiKey: "x" }).image("pretence"),
      prompt: "x",
      maxRetries: 0,
    }),
    /E_API_KEY/,
  );
});

test("Python: webuiapi and openai", {
  skip: PYTHON === undefined && "SOLVAY_TEST_PYTHON_CLIENTS names no Python",
}, async () => {
  const script = fileURLToPath(new URL("../support/python_clients.py", import.meta.url));
  const { stdout } = await promisify(execFile)(PYTHON!, [script, new URL(server.url).port, KEY]);
  const found = JSON.parse(stdout.trim().split("\n").at(-1)!) as Record<string, unknown>;
  const lists = found.lists as Record<string, number>;
  for (const [name, count] of Object.entries({ sd_models: 2, upscalers: 3, options: 5, scripts: 2, embeddings: 2 })) {
    assert.equal(lists[name], count, name);
  }
  assert.ok(lists.samplers! > 10 && lists.schedulers! > 4);
  assert.deepEqual(found, {
    txt2img: [
      [[64, 64], 30],
      [[64, 64], 31],
    ],
    info: [[30, 31], "Euler a", ["eta", "s_noise"]],
    img2img: [[64, 64], 5],
    extras: [128, 128],
    extras_batch: [
      [64, 64],
      [64, 64],
    ],
    png_info: "",
    progress: 0,
    lists,
    stops: [{}, {}, null],
    controlnet: [[64, 64], 3, ["database", "edges", "images"]],
    controlnet_ignored: found.controlnet_ignored,
    generate: [[128, 64], [128, 64], 0],
    stream: found.stream,
    edit: [64, 64],
    refused: [400, "invalid_request_error", "n", "E_REQUEST"],
    unknown_key: 401,
  });
  // Steps that take no time are not all told.
  assert.match(String(found.stream), /^(image_generation.partial_image,){1,2}image_generation.completed$/);
  const [{ image, ...steered }] = asked.findLast(({ controls }) => controls)!.controls as [ControlUse];
  assert.deepEqual(steered, { file: "edges", weight: 0.5, preprocess: "canny" });
  assert.match(image!, /^data:image\/png;base64,/);
});
