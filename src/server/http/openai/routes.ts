/** @file OpenAI's image routes (openai-node 6.49, resources/images.ts), for the clients that speak it. */

import { base64 } from "../../../node/base64.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import type { JobRecord } from "../../queue/job-record.ts";
import { allOver, ask, pictureOf, type Services } from "../../services.ts";
import { previewPng } from "../../work/previews.ts";
import { OPENAI_MODELS, OPENAI_PICTURES } from "../answers.ts";
import { jsonOf, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { CANCELLED, JobFailure, Refusal } from "../failures.ts";
import type { Route, RouteContext } from "../route.ts";
import { eventStream, type SentEvent } from "../sse.ts";
import { formBody } from "./forms.ts";
import { type ImageRequest, imageRequest } from "./request.ts";

/** Names by which clients ask any server of this dialect. */
const ANY_MODEL = /^(dall-e-[23]|gpt-image-[\w.-]+|chatgpt-image-latest)$/;
/** One pixel a cell of the latent: about the picture's own size. */
const PARTIAL_SCALE = 8;

export function openAiRoutes(services: Services): readonly Route[] {
  const model = (id: string) => ({ id, object: "model", created: 0, owned_by: "solvay" });
  return [
    {
      ...{ method: "get", path: "/v1/models", summary: "The models that are served, as OpenAI lists models" },
      answer: OPENAI_MODELS,
      handle: async (context) =>
        context.json({ object: "list", data: (await services.models.names()).map((name) => model(name)) }),
    },
    {
      ...{ method: "post", path: "/v1/images/generations", summary: "Pictures from a prompt, as OpenAI's API has it" },
      answer: OPENAI_PICTURES,
      body: {
        schema: {
          type: "object",
          properties: {
            ...{
              prompt: { type: "string" },
              model: { type: "string" },
              n: { type: "integer", minimum: 1, maximum: 10 },
            },
            size: { type: "string", description: "auto, or pixels: 1024x1024" },
            ...{ response_format: { enum: ["b64_json", "url"] }, output_format: { enum: ["png", "jpeg", "webp"] } },
            ...{ stream: { type: "boolean" }, partial_images: { type: "integer", minimum: 0, maximum: 3 } },
          },
          required: ["prompt"],
          description:
            "and a job's fields, by any name that people give them: seed, steps, negative_prompt, cfg_scale, sampler ...",
        },
      },
      async handle(context) {
        const body = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
        return await generated(services, context, body, "image_generation");
      },
    },
    {
      ...{ method: "post", path: "/v1/images/edits", summary: "Pictures from a picture, with a mask or without" },
      answer: OPENAI_PICTURES,
      body: { mediaTypes: ["multipart/form-data"] },
      async handle(context) {
        const body = await formBody(context);
        return await generated(services, context, body, "image_edit");
      },
    },
    {
      ...{ method: "post", path: "/v1/images/variations", summary: "Other pictures like a picture" },
      answer: OPENAI_PICTURES,
      body: { mediaTypes: ["multipart/form-data"] },
      async handle(context) {
        const body = await formBody(context);
        return await generated(services, context, { prompt: "", ...body }, "image_edit");
      },
    },
  ];
}

/** Undefined: the standing one. Rejects with Refusal for one that is not served. */
async function modelAsked(asked: unknown, { models }: Services): Promise<string | undefined> {
  if (asked === undefined || asked === null || asked === "") return undefined;
  const names = await models.names();
  if (typeof asked === "string" && names.includes(asked)) return asked;
  if (typeof asked === "string" && ANY_MODEL.test(asked)) return undefined;
  const allowed = names.slice(0, 20).map((name) => JSON.stringify(name));
  const problem = `it is not served here (found ${JSON.stringify(String(asked).slice(0, 60))}, allowed ${allowed.join(", ")})`;
  throw new Refusal(404, { code: "model_not_found", subject: "model", problem, next: "leave it out" });
}

/** What the events of a stream begin with. */
type StreamName = "image_generation" | "image_edit";

async function generated(
  services: Services,
  context: RouteContext,
  body: JsonObject,
  name: StreamName,
): Promise<Response> {
  const model = await modelAsked(body.model, services);
  const request = imageRequest(body);
  const jobs = await ask(services, request.job, request.count, { owner: context.get("owner"), model });
  if (request.stream) return eventStream((signal) => streamed(services, jobs, { ...request, name }, signal));
  const over = await allOver(services, jobs, context.req.raw.signal);
  const data: JsonObject[] = [];
  for (const job of over) data.push(await pictureData(services, job, request, context));
  return context.json({ created: seconds(), ...(await described(services, over)), data });
}

async function pictureData(
  services: Services,
  job: JobRecord,
  { asUrl }: ImageRequest,
  context: RouteContext,
): Promise<JsonObject> {
  requireDone(job);
  if (asUrl) return { url: `${new URL(context.req.url).origin}/api/assets/${job.asset}` };
  return { b64_json: base64((await pictureOf(services, job)).bytes) };
}

/** Partial pictures where the steps come past their share, and each picture when it is done. */
async function* streamed(
  services: Services,
  jobs: readonly JobRecord[],
  { partialImages, name }: ImageRequest & { readonly name: StreamName },
  signal: AbortSignal,
): AsyncGenerator<SentEvent, void, undefined> {
  const waiting: SentEvent[] = [];
  let news = Promise.withResolvers<void>();
  const tell = (event: SentEvent) => {
    waiting.push(event);
    news.resolve();
  };
  const sent = new Map<string, number>();
  const onStep = async ({ id }: JobRecord, step: number, steps: number) => {
    const due = Math.floor((step / steps) * (partialImages + 1));
    const before = sent.get(id) ?? 0;
    if (due <= before || before >= partialImages) return;
    const preview = await services.previews.find(id);
    if (!preview) return;
    sent.set(id, before + 1);
    const { png, width, height } = await previewPng(preview, PARTIAL_SCALE);
    const b64_json = base64(png);
    const type = `${name}.partial_image`;
    const size = `${width}x${height}`;
    tell({
      event: type,
      data: { type, b64_json, partial_image_index: before, created_at: seconds(), size, ...look("image/png") },
    });
  };
  const each = jobs.map(async (job) => {
    const [over] = await allOver(services, [job], signal, onStep);
    if (signal.aborted || !over) return;
    if (over.state === "done") {
      const { asset, bytes } = await pictureOf(services, over);
      const type = `${name}.completed`;
      const size = `${asset.width}x${asset.height}`;
      tell({
        event: type,
        data: {
          type,
          b64_json: base64(bytes),
          created_at: seconds(),
          size,
          ...look(asset.mediaType),
          usage: NO_TOKENS,
        },
      });
    } else {
      const { code, message } = over.error ?? CANCELLED;
      tell({ event: "error", data: { type: "error", error: { type: "server_error", code, message, param: null } } });
    }
  });
  let done = false;
  const all = Promise.all(each).then(() => {
    done = true;
    news.resolve();
  });
  while (!done || waiting.length > 0) {
    await news.promise;
    news = Promise.withResolvers();
    if (done) news.resolve();
    for (let event = waiting.shift(); event; event = waiting.shift()) yield event;
  }
  await all;
}

function look(mediaType: string): JsonObject {
  return { quality: "high", background: "opaque", output_format: mediaType.replace("image/", "") };
}

/** Nobody pays for them here. */
const NO_TOKENS = {
  ...{ input_tokens: 0, output_tokens: 0, total_tokens: 0 },
  input_tokens_details: { image_tokens: 0, text_tokens: 0 },
};

async function described(services: Services, [first]: readonly JobRecord[]): Promise<JsonObject> {
  if (first?.state !== "done") return {};
  const { width, height, mediaType } = (await pictureOf(services, first)).asset;
  return { ...look(mediaType), size: `${width}x${height}`, usage: NO_TOKENS };
}

function requireDone({ state, error }: JobRecord): void {
  if (state !== "done") throw new JobFailure(error ?? CANCELLED);
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
