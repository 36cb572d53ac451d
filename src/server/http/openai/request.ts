/** @file A request of OpenAI's image routes as a job of ours: its own fields, and the job's under any name that people give them. */

import { fieldMeant } from "../../../job/field-type.ts";
import { JOB_FIELDS } from "../../../job/fields.ts";
import type { GenerateJob } from "../../../job/types.ts";
import { isJsonObject, type JsonObject } from "../../../source/json-fields.ts";
import { checkServed, MAX_COUNT } from "../../work/served-job.ts";
import { Refusal } from "../failures.ts";

export interface ImageRequest {
  readonly job: GenerateJob;
  readonly count: number;
  /** In place of the bytes, where they can be fetched. */
  readonly asUrl: boolean;
  readonly stream: boolean;
  /** Previews on the way, of each picture. */
  readonly partialImages: number;
}

/** Of OpenAI's, which say nothing of how we draw: allowed, and passed over. */
const PASSED_OVER = ["user", "quality", "style", "moderation", "input_fidelity"];
/** Read below, by their own names. */
const OWN = ["prompt", "model", "n", "size", "response_format", "background", "stream", "partial_images"];
const EXTRA = { begin: "<sd_cpp_extra_args>", end: "</sd_cpp_extra_args>" };
const MAX_PARTIAL = 3;

/** Throws Refusal, or UsageError `E_JOB`. */
export function imageRequest(body: JsonObject): ImageRequest {
  const { prompt, size = "auto", n = 1, response_format: format = "b64_json", stream = false } = body;
  const { background = "auto", partial_images: partial = 0 } = body;
  if (typeof prompt !== "string") throw wrong("prompt", "text is wanted");
  choice("response_format", format, ["b64_json", "url"]);
  choice("background", background, ["auto", "opaque"]);
  if (typeof stream !== "boolean" && stream !== null) throw wrong("stream", "true or false is wanted");
  const { text, extra } = withoutExtra(prompt);
  const job = checkServed({
    ...sizeOf(size),
    ...jobFieldsOf(withoutCompression(body)),
    ...extraFields(extra),
    prompt: text.trim(),
  });
  return {
    job,
    count: whole("n", n, 1, MAX_COUNT),
    asUrl: format === "url",
    stream: stream === true,
    partialImages: whole("partial_images", partial, 0, MAX_PARTIAL),
  };
}

/** Which says nothing of a PNG, and is sent along all the same. */
function withoutCompression({ output_compression: quality, ...body }: JsonObject): JsonObject {
  const { output_format: format = "png" } = body;
  return format === "png" || format === null || quality === 0 ? body : { ...body, output_compression: quality };
}

/** What is a job's field by any of its names. Whatever else clients send is theirs. */
function jobFieldsOf(body: JsonObject): JsonObject {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(body)) {
    if (OWN.includes(name) || PASSED_OVER.includes(name) || value === null || value === undefined) continue;
    const field = fieldMeant(JOB_FIELDS, name);
    if (field !== undefined) fields[field] = value;
  }
  return fields;
}

/** A prompt, and what stands between the marks in it: found in one pass, however many marks somebody sends. */
function withoutExtra(prompt: string): { readonly text: string; readonly extra?: string } {
  const begin = prompt.indexOf(EXTRA.begin);
  const end = begin < 0 ? -1 : prompt.indexOf(EXTRA.end, begin);
  if (end < 0) return { text: prompt };
  const extra = prompt.slice(begin + EXTRA.begin.length, end);
  return { text: prompt.slice(0, begin) + prompt.slice(end + EXTRA.end.length), extra };
}

/** What stable-diffusion.cpp's server takes within the prompt. */
function extraFields(text: string | undefined): JsonObject {
  if (text === undefined) return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong("prompt", "between <sd_cpp_extra_args> there must be a JSON object");
  }
  if (!isJsonObject(value)) throw wrong("prompt", "between <sd_cpp_extra_args> there must be a JSON object");
  const sampling = isJsonObject(value.sample_params) ? value.sample_params : {};
  const guidance = isJsonObject(sampling.guidance) ? sampling.guidance : {};
  const renamed = { steps: sampling.sample_steps, sampler: sampling.sample_method, guidance: guidance.txt_cfg };
  return { ...jobFieldsOf(renamed), ...jobFieldsOf(value) };
}

function sizeOf(size: unknown): JsonObject {
  if (size === "auto" || size === null) return {};
  const [, width, height] = typeof size === "string" ? (/^(\d{1,5})x(\d{1,5})$/.exec(size) ?? []) : [];
  if (width === undefined) throw wrong("size", 'auto, or pixels such as "1024x1024" are wanted');
  return { width: Number(width), height: Number(height) };
}

function whole(name: string, value: unknown, min: number, max: number): number {
  if (value === null) return min;
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw wrong(name, `a whole number from ${min} to ${max} is wanted`);
}

function choice(name: string, value: unknown, allowed: readonly string[]): void {
  if (value !== null && !allowed.includes(String(value))) throw wrong(name, `one of ${allowed.join(", ")} is wanted`);
}

function wrong(subject: string, problem: string): Refusal {
  return new Refusal(400, { code: "E_REQUEST", subject, problem, next: `give ${subject} such a value` });
}
