/** @file A1111's API (/sdapi/v1): pictures, what is on its way, what stops it, options. Lists are in lists.ts. */

import { readPictureTexts } from "../../../image/metadata/picture-texts.ts";
import { encodePng } from "../../../image/png.ts";
import { A1111_KEYWORD } from "../../../job/infotext.ts";
import { parseInfotext } from "../../../job/infotext-text.ts";
import { pictureReference } from "../../../job/picture.ts";
import type { GenerateJob } from "../../../job/types.ts";
import { modelNamed } from "../../../library/model-name.ts";
import { base64, dataUrlOf } from "../../../node/base64.ts";
import { readPicture } from "../../../node/pictures.ts";
import { upscalerNames } from "../../../node/upscaler-files.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import { memorySource } from "../../../source/memory.ts";
import type { JobRecord } from "../../queue/job-record.ts";
import { allOver, ask, askUpscale, openEngineOf, pictureOf, type Services } from "../../services.ts";
import { previewPng } from "../../work/previews.ts";
import { jsonOf, MAX_JSON_BYTES, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { CANCELLED, JobFailure, Refusal } from "../failures.ts";
import type { Route, RouteContext } from "../route.ts";
import { type ExtraNetworks, extraBatch, extraSingle } from "./extras.ts";
import { timestamp, webUiAnswer } from "./info.ts";
import { listRoutes } from "./lists.ts";
import { webUiRequest } from "./request.ts";
import { dataUrl } from "./request-picture.ts";
import { modelOf, options, type Served } from "./settings.ts";

const PREVIEW_SCALE = 8;
const ANY_OBJECT = { schema: { type: "object", description: "as A1111's web UI 1.10 takes it" } };

export function webUiRoutes(services: Services): readonly Route[] {
  const { queue } = services;
  /** By the key that chose: A1111's clients choose first, and ask then. */
  const chosen = new Map<string, string>();
  const served = async (context: RouteContext): Promise<Served> => {
    const { vae, refiner, controlDir, ipAdapterDir, upscalerDir } = services.model;
    const models = await services.models.names();
    const choice = chosen.get(context.get("owner")) ?? "";
    return {
      model: models.includes(choice) ? choice : services.models.standing,
      models,
      vae: vae === undefined ? undefined : modelNamed(vae).model,
      refiner: refiner === undefined ? undefined : modelNamed(refiner).model,
      hasControls: controlDir !== undefined,
      hasAdapters: ipAdapterDir !== undefined,
      upscalers: await upscalerNames(upscalerDir),
    };
  };
  const draw = async (context: RouteContext, fromPicture: boolean) => {
    const body = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
    const now = await served(context);
    const request = webUiRequest(body, fromPicture, now);
    const { model = now.model } = request;
    const job = request.invertMask ? await withInvertedMask(request.job) : request.job;
    const jobs = await ask(services, job, request.count, { owner: context.get("owner"), model });
    const over = await allOver(services, jobs, context.req.raw.signal);
    const failed = over.find(({ state }) => state === "failed");
    if (failed?.error) throw new JobFailure(failed.error);
    // What was interrupted has no picture: those before it are the answer.
    const done = over.filter(({ state }) => state === "done");
    return context.json(await webUiAnswer(services, done, body, request, model));
  };
  const networks = async (context: RouteContext): Promise<ExtraNetworks> => ({
    files: (await served(context)).upscalers,
    async enlarge(bytes, upscaler, size) {
      const image = `sha256:${(await services.assets.add(bytes, "image")).sha256}`;
      const job = await askUpscale(services, { image, upscaler, ...size }, { owner: context.get("owner") });
      const [over] = await allOver(services, [job], context.req.raw.signal);
      if (over?.state !== "done") throw new JobFailure(over?.error ?? CANCELLED);
      return (await pictureOf(services, over)).bytes;
    },
  });
  const stop = (every: boolean) => async (context: RouteContext) => {
    const [running] = await runningOf(services);
    if (running) {
      const jobs = every ? await queue.ofRequest(running.request) : [running];
      for (const { id } of jobs) await queue.cancel(id);
    }
    return context.json({});
  };
  return [
    {
      ...{
        method: "post",
        path: "/sdapi/v1/txt2img",
        summary: "Pictures from a prompt, as A1111's API has it",
        body: ANY_OBJECT,
      },
      handle: (context) => draw(context, false),
    },
    {
      ...{
        method: "post",
        path: "/sdapi/v1/img2img",
        summary: "Pictures from a picture, as A1111's API has it",
        body: ANY_OBJECT,
      },
      handle: (context) => draw(context, true),
    },
    {
      ...{ method: "get", path: "/sdapi/v1/progress", summary: "How far the running picture is" },
      async handle(context) {
        return context.json(await progress(services, context.req.query("skip_current_image") === "true"));
      },
    },
    { ...{ method: "post", path: "/sdapi/v1/interrupt", summary: "Stop the running request" }, handle: stop(true) },
    {
      ...{ method: "post", path: "/sdapi/v1/skip", summary: "Stop the running picture, go on with the next" },
      handle: stop(false),
    },
    {
      ...{ method: "get", path: "/sdapi/v1/options", summary: "Settings, as far as they say anything here" },
      handle: async (context) => context.json(options(await served(context))),
    },
    {
      ...{
        method: "post",
        path: "/sdapi/v1/options",
        summary: "The same; the model that this key's next requests are for",
        body: ANY_OBJECT,
      },
      async handle(context) {
        const model = modelOf(await jsonOf(context, MAX_JSON_BYTES), await served(context));
        if (model !== undefined) chosen.set(context.get("owner"), model);
        return context.json(null);
      },
    },
    {
      ...{ method: "post", path: "/sdapi/v1/png-info", summary: "How a picture was made", body: ANY_OBJECT },
      async handle(context) {
        const { image } = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
        return context.json(await pictureInfo(image));
      },
    },
    {
      ...{ method: "post", path: "/sdapi/v1/unload-checkpoint", summary: "Give back the memory that weights hold" },
      async handle(context) {
        // After the pictures that are drawn; the next one reads them again.
        await openEngineOf(services).setBudgets({});
        return context.json({});
      },
    },
    {
      ...{ method: "post", path: "/sdapi/v1/reload-checkpoint", summary: "Weights are read when a picture needs them" },
      handle(context) {
        openEngineOf(services);
        return context.json({});
      },
    },
    ...Object.entries({ "extra-single-image": extraSingle, "extra-batch-images": extraBatch }).map(
      ([name, enlarge]): Route => ({
        ...{ method: "post", path: `/sdapi/v1/${name}`, summary: "A picture made larger by itself", body: ANY_OBJECT },
        handle: async (context) =>
          context.json(await enlarge(await jsonOf(context, MAX_PICTURE_BODY_BYTES), await networks(context))),
      }),
    ),
    ...["checkpoints", "vae", "loras", "embeddings"].map(
      (what): Route => ({
        ...{ method: "post", path: `/sdapi/v1/refresh-${what}`, summary: "Lists are always as they are" },
        handle: (context) => context.json(null),
      }),
    ),
    { ...{ method: "get", path: "/internal/ping", summary: "It is there" }, handle: (context) => context.json({}) },
    ...listRoutes(served, services.model),
  ];
}

/** Jobs that run, the one that began first. */
async function runningOf({ queue }: Services): Promise<readonly JobRecord[]> {
  return (await queue.list(100, "running")).toReversed();
}

async function progress(services: Services, skipImage: boolean): Promise<JsonObject> {
  const { queue, previews } = services;
  const all = await runningOf(services);
  const [running] = all;
  const state = { skipped: false, interrupted: false, stopping_generation: false };
  if (!running) {
    const idle = { job: "", job_count: 0, job_timestamp: timestamp(), job_no: 0, sampling_step: 0, sampling_steps: 0 };
    return { progress: 0, eta_relative: 0, state: { ...state, ...idle }, current_image: null, textinfo: null };
  }
  const jobs = await queue.ofRequest(running.request);
  const done = jobs.filter((job) => job.state !== "queued" && job.state !== "running").length;
  // Several may be drawn side by side.
  const drawn = all.filter(({ request }) => request === running.request);
  const preview = await previews.find(running.id);
  const { step = running.step, steps = running.steps ?? 0, etaMs = 0, stepMs = 0 } = previews.times(running.id) ?? {};
  const shares = drawn.map(({ id, ...job }) => previews.times(id) ?? { step: job.step, steps: job.steps ?? 0 });
  const shareDone = shares.reduce((sum, each) => sum + (each.steps > 0 ? each.step / each.steps : 0), 0);
  const waiting = Math.max(0, jobs.length - done - drawn.length);
  return {
    progress: Math.min(1, (done + shareDone) / jobs.length),
    eta_relative: (etaMs + waiting * steps * stepMs) / 1000,
    state: {
      ...{ ...state, job: running.id, job_count: jobs.length, job_timestamp: timestamp(running.createdAt) },
      ...{ job_no: done, sampling_step: step, sampling_steps: steps },
    },
    current_image: preview && !skipImage ? base64((await previewPng(preview, PREVIEW_SCALE)).png) : null,
    textinfo: null,
  };
}

/** White is what is painted anew, here; A1111 can have it the other way. */
async function withInvertedMask(job: GenerateJob): Promise<GenerateJob> {
  const reference = job.maskImage === undefined ? undefined : pictureReference("mask", job.maskImage);
  if (reference?.kind !== "data") return job;
  const { width, height, rgb } = await readPicture(reference.bytes, { name: "mask" });
  const png = await encodePng({ width, height, rgb: rgb.map((value) => 255 - value) });
  return { ...job, maskImage: dataUrlOf("image/png", png) };
}

async function pictureInfo(image: unknown): Promise<JsonObject> {
  const reference = pictureReference("image", dataUrl("image", image));
  if (reference.kind !== "data") {
    throw new Refusal(422, {
      code: "E_REQUEST",
      subject: "image",
      problem: "base64 is wanted",
      next: "send the picture itself",
    });
  }
  const { texts } = await readPictureTexts(memorySource("image", reference.bytes));
  const items = Object.fromEntries(texts.map(({ keyword, text }) => [keyword, text]));
  const info = items[A1111_KEYWORD] ?? items.UserComment ?? "";
  return { info, items, parameters: parametersOf(info) };
}

/** The infotext's entries by their names, its prompts beside them. */
function parametersOf(info: string): JsonObject {
  const { prompt, negativePrompt, entries } = parseInfotext(info);
  return { Prompt: prompt, "Negative prompt": negativePrompt, ...Object.fromEntries(entries) };
}
