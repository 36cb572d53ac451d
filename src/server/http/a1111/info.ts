/** @file The answer to a request for pictures: A1111's `info`, which clients read as JSON text, complete. */

import { parseInfotext } from "../../../job/infotext-text.ts";
import { base64 } from "../../../node/base64.ts";
import { SAMPLERS } from "../../../sampler/samplers.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import { SOLVAY_VERSION } from "../../../version.ts";
import { infotextOf } from "../../pictures/infotexts.ts";
import type { JobRecord } from "../../queue/job-record.ts";
import { pictureOf, type Services } from "../../services.ts";
import type { WebUiRequest } from "./request.ts";

interface Drawn {
  readonly job: JobRecord;
  readonly base64: string;
  readonly infotext: string;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
}

/** Entries of the infotext that have a field of their own. */
const OWN_PLACE = [
  ...["Steps", "Sampler", "CFG scale", "Seed", "Size", "Model", "Model hash", "VAE", "VAE hash"],
  ...["Denoising strength", "Clip skip", "Variation seed", "Variation seed strength", "Version"],
];

/** @param jobs those that are done */
export async function webUiAnswer(
  services: Services,
  jobs: readonly JobRecord[],
  body: JsonObject,
  request: WebUiRequest,
  model: string,
): Promise<JsonObject> {
  const drawn: Drawn[] = [];
  for (const job of jobs) {
    const { asset, bytes } = await pictureOf(services, job);
    const infotext = (await infotextOf(bytes)) ?? "";
    const { width, height } = asset;
    drawn.push({ job, infotext, width, height, base64: base64(bytes) });
  }
  return {
    images: request.sendImages ? drawn.map(({ base64 }) => base64) : [],
    parameters: body,
    info: JSON.stringify(infoOf(drawn, body, request, model)),
  };
}

function infoOf(drawn: readonly Drawn[], body: JsonObject, { job, ignored }: WebUiRequest, model: string): JsonObject {
  const [first] = drawn;
  const { prompt, negativePrompt = "", steps, guidance, sampler, subseedStrength = 0, clipSkip = 0 } = job;
  const entries = first ? parseInfotext(first.infotext).entries : new Map<string, string>();
  const each = <T>(value: (job: JobRecord["job"]) => T) => drawn.map(({ job: record }) => value(record.job));
  return {
    prompt,
    all_prompts: each((one) => one.prompt),
    negative_prompt: negativePrompt,
    all_negative_prompts: each((one) => one.negativePrompt ?? ""),
    seed: first?.job.job.seed ?? -1,
    all_seeds: each(({ seed }) => seed),
    subseed: first?.job.job.subseed ?? -1,
    all_subseeds: each(({ subseed = -1 }) => subseed),
    subseed_strength: subseedStrength,
    ...{ width: first?.width ?? job.width, height: first?.height ?? job.height },
    sampler_name: Object.entries(SAMPLERS).find(([name]) => name === sampler)?.[1].title ?? sampler,
    ...{
      cfg_scale: guidance,
      steps,
      batch_size: body.batch_size ?? 1,
      restore_faces: false,
      face_restoration_model: null,
    },
    ...{ sd_model_name: model, sd_model_hash: entries.get("Model hash") ?? null },
    ...{ sd_vae_name: entries.get("VAE") ?? null, sd_vae_hash: entries.get("VAE hash") ?? null },
    ...{ seed_resize_from_w: -1, seed_resize_from_h: -1 },
    denoising_strength: job.strength ?? job.hiresStrength ?? 0,
    ...{
      extra_generation_params: Object.fromEntries([...entries].filter(([name]) => !OWN_PLACE.includes(name))),
      index_of_first_image: 0,
      infotexts: drawn.map(({ infotext }) => infotext),
      styles: [],
    },
    job_timestamp: timestamp(first?.job.createdAt),
    ...{
      clip_skip: clipSkip > 0 ? clipSkip + 2 : 1,
      is_using_inpainting_conditioning: false,
      version: `Solvay ${SOLVAY_VERSION}`,
      ignored,
    },
  };
}

/** As A1111 writes it: 20261126140000. */
export function timestamp(iso = new Date().toISOString()): string {
  return iso.replace(/\D/g, "").slice(0, 14);
}
