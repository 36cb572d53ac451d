/**
 * @file A1111's API as its clients call it: the sequences of Open WebUI (routers/images.py) and SillyTavern (endpoints/stable-diffusion.js), and
 * what webuiapi 0.9.17 sends; progress, interrupt and skip; what is ignored is listed, what would change the picture refused.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { decodePng, encodePng } from "../../src/image/png.ts";
import type { GenerateJob } from "../../src/job/types.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";

interface Answer {
  readonly images: readonly string[];
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly info: string;
}
interface Progress {
  readonly progress: number;
  readonly eta_relative: number;
  readonly current_image: string | null;
  readonly state: Readonly<Record<string, unknown>>;
}

let folder: string;
const asked: GenerateJob[] = [];
let server: RunningServer;

before(async () => {
  folder = await serverFolder();
  server = await pretendingServer({ folder, asked: (job) => asked.push(job) });
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function get<T>(route: string): Promise<T> {
  const answer = await fetch(`${server.url}${route}`);
  assert.equal(answer.status, 200, route);
  return (await answer.json()) as T;
}

async function post<T>(route: string, body?: object, status = 200): Promise<T> {
  const headers = { "content-type": "application/json" };
  const sent = body && { body: JSON.stringify(body), headers };
  const answer = await fetch(`${server.url}/sdapi/v1/${route}`, { method: "POST", ...sent });
  const json = (await answer.json()) as T;
  assert.equal(answer.status, status, JSON.stringify(json));
  return json;
}

const picture = async (text: string) => await decodePng(new Uint8Array(Buffer.from(text, "base64")));
/** Until something runs that has drawn two steps. */
async function running(): Promise<Progress> {
  for (;;) {
    const progress = await get<Progress>("/sdapi/v1/progress");
    if (Number(progress.state.sampling_step) >= 2 && progress.current_image !== null) return progress;
    await delay(10);
  }
}

test("Open WebUI: options, the whole of them back, models, a picture at 64x64", async () => {
  const options = await get<Record<string, unknown>>("/sdapi/v1/options");
  const [model] = await get<{ title: string; model_name: string }[]>("/sdapi/v1/sd-models");
  assert.deepEqual([model?.title, options.sd_model_checkpoint], ["pretence", "pretence"]);
  assert.equal(await post("options", { ...options, sd_model_checkpoint: model!.title }), null);
  const refused = await post<{ detail: string }>("options", { sd_model_checkpoint: "other" }, 404);
  assert.match(refused.detail, /^E_MODEL .*Model not found/);
  const body = { prompt: "a (lake:1.2)", batch_size: 1, width: 64, height: 64, steps: 2, negative_prompt: "fog" };
  const made = await post<Answer>("txt2img", body);
  assert.equal(made.images.length, 1);
  assert.deepEqual(made.parameters, body);
  assert.deepEqual(asked.at(-1), {
    ...{
      prompt: "a (lake:1.2)",
      negativePrompt: "fog",
      promptSyntax: "a1111",
      steps: 2,
      guidance: 7,
      sampler: "euler",
    },
    ...{ width: 64, height: 64, seed: asked.at(-1)!.seed },
  });
});

test("SillyTavern: its lists, and its request with hires, override settings and all", async () => {
  assert.deepEqual(await get("/internal/ping"), {});
  const samplers = await get<{ name: string; aliases: string[]; options: object }[]>("/sdapi/v1/samplers");
  assert.ok(samplers.some(({ name }) => name === "DPM++ 2M"));
  const schedulers = await get<{ name: string; label: string }[]>("/sdapi/v1/schedulers");
  assert.ok(schedulers.some(({ name, label }) => name === "karras" && label === "Karras"));
  for (const list of [
    "sd-vae",
    "sd-modules",
    "loras",
    "script-info",
    "prompt-styles",
    "hypernetworks",
    "face-restorers",
  ]) {
    assert.deepEqual(await get(`/sdapi/v1/${list}`), [], list);
  }
  assert.deepEqual(await get("/sdapi/v1/scripts"), { txt2img: [], img2img: [] });
  const modes = (await get<{ name: string }[]>("/sdapi/v1/latent-upscale-modes")).map(({ name }) => name);
  assert.ok(modes.includes("Latent"));
  const body = {
    ...{
      prompt: "a door",
      negative_prompt: "",
      sampler_name: "DPM++ 2M",
      scheduler: "Karras",
      steps: 3,
      cfg_scale: 4.5,
    },
    ...{ width: 64, height: 128, restore_faces: false, enable_hr: true, hr_upscaler: "Latent", hr_scale: 1.5 },
    ...{ denoising_strength: 0.6, hr_second_pass_steps: 5, clip_skip: 1, save_images: true, send_images: true },
    override_settings: { CLIP_stop_at_last_layers: 3, sd_vae: "Automatic" },
    ...{ override_settings_restore_afterwards: true, do_not_save_grid: false, do_not_save_samples: false, seed: 5 },
  };
  const made = await post<Answer>("txt2img", body);
  assert.deepEqual(asked.at(-1), {
    ...{
      prompt: "a door",
      promptSyntax: "a1111",
      sampler: "dpmpp-2m",
      schedule: "karras",
      steps: 3,
      guidance: 4.5,
      seed: 5,
    },
    ...{
      width: 64,
      height: 128,
      hiresScale: 1.5,
      hiresStrength: 0.6,
      hiresSteps: 5,
      hiresUpscaler: "latent",
      clipSkip: 1,
    },
  });
  assert.deepEqual((JSON.parse(made.info) as { ignored: string[] }).ignored, []);
});

test("webuiapi: n_iter x batch_size with seeds counting up, a complete info, what is ignored by name", async () => {
  const body = {
    ...{
      prompt: "a mill",
      seed: 20,
      batch_size: 2,
      n_iter: 2,
      steps: 2,
      width: 64,
      height: 64,
      cfg_scale: 3,
      sampler_index: "Euler a",
    },
    ...{
      enable_hr: false,
      hr_scale: 2,
      firstphase_width: 0,
      styles: [],
      subseed: -1,
      subseed_strength: 0,
      eta: 0.5,
      tiling: true,
    },
    ...{
      script_name: null,
      script_args: [],
      alwayson_scripts: { ControlNet: { args: [] }, ADetailer: { args: [false] } },
    },
  };
  const made = await post<Answer>("txt2img", body);
  assert.deepEqual(
    await Promise.all(made.images.map(async (text) => (await picture(text)).pixels[0])),
    [20, 21, 22, 23],
  );
  const info = JSON.parse(made.info) as Record<string, unknown>;
  const { all_seeds, all_prompts, seed, width, steps, sampler_name, cfg_scale, sd_model_name, batch_size, ignored } =
    info;
  assert.deepEqual([all_seeds, seed, width, steps, cfg_scale], [[20, 21, 22, 23], 20, 64, 2, 3]);
  assert.deepEqual(
    [all_prompts, sampler_name, sd_model_name, batch_size],
    [Array(4).fill("a mill"), "Euler a", "pretence", 2],
  );
  assert.deepEqual(ignored, ["eta", "tiling", "alwayson_scripts.ADetailer"]);
  assert.deepEqual([await post("unload-checkpoint"), await post("reload-checkpoint")], [{}, {}]);
  for (const name of [
    "infotexts",
    "index_of_first_image",
    "job_timestamp",
    "clip_skip",
    "subseed",
    "sd_vae_name",
    "styles",
  ]) {
    assert.ok(name in info, name);
  }
});

test("img2img: bare base64 or a data: URL, a mask the other way round, A1111's defaults", async () => {
  const png = await encodePng({ width: 64, height: 64, rgb: new Uint8Array(64 * 64 * 3).fill(200) });
  const base64 = Buffer.from(png).toString("base64");
  await post<Answer>("img2img", {
    prompt: "it",
    init_images: [base64],
    steps: 1,
    mask: `data:image/png;base64,${base64}`,
    inpainting_mask_invert: 1,
  });
  const { initImage, maskImage, strength, maskBlur } = asked.at(-1)!;
  assert.deepEqual([initImage, strength, maskBlur], [`data:image/png;base64,${base64}`, 0.75, 4]);
  assert.equal((await picture(maskImage!.split(",")[1]!)).pixels[0], 55);
  const info = await post<{ info: string; items: object }>("png-info", { image: base64 });
  assert.deepEqual([info.info, info.items], ["", {}]);
});

test("progress while a picture is drawn; skip goes on with the next one, interrupt ends the request with what there is", async () => {
  const idle = await get<Progress>("/sdapi/v1/progress");
  assert.deepEqual([idle.progress, idle.state.job_count, idle.current_image], [0, 0, null]);
  const two = post<Answer>("txt2img", { prompt: "wait", n_iter: 2, steps: 4, width: 64, height: 64 });
  const first = await running();
  assert.deepEqual(
    [first.state.job_count, first.state.job_no, first.state.sampling_steps, first.progress],
    [2, 0, 4, 0.25],
  );
  assert.equal((await picture(first.current_image!)).width, 64);
  assert.ok(first.eta_relative > 0);
  await post("skip");
  let second = await running();
  while (second.state.job === first.state.job) second = await running();
  assert.equal(second.state.job_no, 1);
  await post("interrupt");
  assert.deepEqual((await two).images, []);
  assert.equal((await get<Progress>("/sdapi/v1/progress?skip_current_image=true")).state.job_count, 0);
});

test("refused with the field's name (E_REQUEST): scripts, settings and upscalers that would make another picture", async () => {
  const refusals: [object, RegExp][] = [
    [{ script_name: "x/y/z plot" }, /E_REQUEST script_name/],
    [
      { alwayson_scripts: { ControlNet: { args: [{ model: "x" }] } } },
      /E_REQUEST alwayson_scripts: .*without a folder of ControlNets/,
    ],
    [{ override_settings: { outdir_samples: "/etc" } }, /E_REQUEST override_settings: "outdir_samples"/],
    [{ enable_hr: true, hr_upscaler: "../../x.pth" }, /E_REQUEST hr_upscaler/],
    [{ batch_size: 8, n_iter: 4 }, /E_REQUEST n_iter: 32 pictures/],
    [{ init_images: [] }, /E_REQUEST init_images/],
    [{ init_images: ["AAAA"] }, /E_REQUEST init_images: base64 of a PNG/],
  ];
  for (const [body, message] of refusals) {
    const route = "init_images" in body ? "img2img" : "txt2img";
    const { detail } = await post<{ detail: string }>(route, { prompt: "x", ...body }, 422);
    assert.match(detail, message);
  }
  const { errors } = await post<{ errors: string }>("txt2img", { prompt: "x", steps: 1000 }, 400);
  assert.match(errors, /E_JOB steps/);
  assert.match((await post<{ detail: string }>("txt2img", { prompt: "refuse" }, 500)).detail, /^E_PRETENDED/);
});
