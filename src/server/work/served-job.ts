/** @file What a server takes for a job: the check of job/schema.ts, tighter limits, no file of this machine's, and nothing left to chance. */
import { sha256Hex } from "#hash";
import { UsageError } from "../../errors.ts";
import type { OpenRequest } from "../../job/checked.ts";
import { JOB_FIELDS } from "../../job/fields.ts";
import { namedPictures, withNamedPictures } from "../../job/named-pictures.ts";
import { requireEncodingFits } from "../../job/output-fields.ts";
import { pictureReference } from "../../job/picture.ts";
import { checkJob } from "../../job/schema.ts";
import { seriesOf } from "../../job/series.ts";
import type { GenerateJob } from "../../job/types.ts";
import { dataUrlOf } from "../../node/base64.ts";
import { hiresUpscaler, requireAdaptersFit } from "../../pipeline/job-settings.ts";
import { SOLVAY_VERSION } from "../../version.ts";
import type { MeantModel } from "../models.ts";
import type { Asset, Assets } from "../pictures/assets.ts";
import type { NewJob } from "../queue/job-queue.ts";
import { isStorable } from "../storable-text.ts";

/** Bounds of one request where they are tighter than the job's own (fields.ts); inclusive. Texts: characters. */
export const SERVED_LIMITS = {
  prompt: { min: 0, max: 8192 },
  negativePrompt: { min: 0, max: 8192 },
  prompt2: { min: 0, max: 8192 },
  negativePrompt2: { min: 0, max: 8192 },
  hiresPrompt: { min: 0, max: 8192 },
  hiresNegativePrompt: { min: 0, max: 8192 },
  steps: { min: 1, max: 150 },
  hiresSteps: { min: 1, max: 150 },
  guidance: { min: 0, max: 30 },
  width: { min: 64, max: 2048 },
  height: { min: 64, max: 2048 },
  hiresScale: { min: 1, max: 4 },
} as const satisfies Partial<Record<keyof GenerateJob, { readonly min: number; readonly max: number }>>;

/** A file's name without any folder. */
export function isFileName(text: string): boolean {
  return /^[^/\\:.\0][^/\\:\0]*$/.test(text);
}

/** Pictures that one request may ask for. */
export const MAX_COUNT = 10;

/** Throws UsageError `E_JOB` or `E_PICTURE` naming the field that is wrong. */
export function checkServed(value: unknown): GenerateJob {
  const job = checkJob(value);
  for (const [name, each] of Object.entries(job)) {
    if (isStorable(each)) continue;
    const problem = "a text has a character of code 0, or half of one of two UTF-16 codes";
    throw new UsageError({ code: "E_JOB", subject: name, problem, next: "leave that character out" });
  }
  for (const [name, { min, max }] of Object.entries(SERVED_LIMITS)) {
    const found = job[name as keyof typeof SERVED_LIMITS];
    if (found === undefined) continue;
    const size = typeof found === "string" ? found.length : found;
    if (size >= min && size <= max) continue;
    const unit = typeof found === "string" ? " characters" : "";
    const problem = `out of range (found ${size}${unit}, allowed ${min} to ${max} of a server)`;
    throw new UsageError({ code: "E_JOB", subject: name, problem, next: `give ${name} a value in that range` });
  }
  requireEncodingFits(job);
  // Refused before it waits in the queue.
  if (job.hiresUpscaler !== undefined) hiresUpscaler(job);
  requireAdaptersFit(job);
  for (const { name: field, reference } of namedPictures(job)) {
    if (pictureReference(field, reference).kind === "file") {
      const problem = "a server reads no files by their names";
      const next = "give a data: URL, or upload the picture and give sha256: and its hash";
      throw new UsageError({ code: "E_PICTURE", subject: field, problem, next });
    }
  }
  const filesOf = (files: readonly { readonly file: string }[] | undefined) => files?.map(({ file }) => file);
  const named = {
    loras: filesOf(job.loras),
    hiresLoras: filesOf(job.hiresLoras),
    controls: filesOf(job.controls),
    ipAdapters: job.ipAdapters?.flatMap(({ file, encoder }) => (encoder === undefined ? [file] : [file, encoder])),
    embeddings: job.embeddings,
    // What enlarges without a file has such a name too.
    hiresUpscaler: job.hiresUpscaler === undefined ? undefined : [job.hiresUpscaler],
  };
  for (const [field, files] of Object.entries(named)) {
    if (!files || files.every(isFileName)) continue;
    const problem = "a server takes such files by their names alone, from the folder that it was started with";
    throw new UsageError({ code: "E_JOB", subject: field, problem, next: "give the file's name without its folder" });
  }
  return job;
}

/**
 * A checked job as the queue takes it, `count` times with seeds counting up: pictures in it become assets, and nothing is left to chance.
 * Rejects with UsageError or ArtifactError.
 */
export async function newJobs(
  job: GenerateJob,
  count: number,
  { assets, model, request, content }: MeantModel & { readonly assets: Assets },
): Promise<readonly NewJob[]> {
  const pictures = new Map<string, string>();
  for (const { name: field, reference: text } of namedPictures(job)) {
    const reference = pictureReference(field, text);
    const asset =
      reference.kind === "data"
        ? await assets.add(reference.bytes, field)
        : await assets.find(reference.kind === "asset" ? reference.sha256 : "");
    if (!asset) {
      const problem = `there is no asset of the name ${text.slice(0, 80)}`;
      throw new UsageError({ code: "E_PICTURE", subject: field, problem, next: "upload it first" });
    }
    if (field === "initImage") requireSide(job, asset);
    pictures.set(field, `sha256:${asset.sha256}`);
  }
  const asked = withNamedPictures(job, pictures);
  const askedHash = hashOf(asked, request);
  return seriesOf(asked, count).map((each) => ({ job: each, model, content, hash: hashOf(each, request), askedHash }));
}

/** Without a size of its own the job has the picture's. */
function requireSide({ width, height }: GenerateJob, asset: Asset): void {
  const { max } = SERVED_LIMITS.width;
  const side = Math.max(width ?? asset.width, height ?? asset.height);
  if (side <= max) return;
  const problem = `the picture is too large to be drawn at its own size (found ${side} pixels, allowed ${max})`;
  throw new UsageError({ code: "E_PICTURE", subject: "initImage", problem, next: "give width and height" });
}

/** Equal for jobs that draw the same picture: their fields in the table's order, and the model. */
function hashOf(job: GenerateJob, request: OpenRequest): string {
  const given: Readonly<Record<string, unknown>> = { ...job };
  const fields = Object.keys(JOB_FIELDS).map((name) => [name, given[name]]);
  const { budgets: _, ...opened } = request;
  const text = JSON.stringify([
    SOLVAY_VERSION,
    fields,
    Object.entries(opened).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  ]);
  return sha256Hex(new TextEncoder().encode(text));
}

/** The job as the engine takes it, its assets as data: URLs. Rejects with UsageError where one is gone. */
export async function withPictures(job: GenerateJob, assets: Assets): Promise<GenerateJob> {
  const pictures = new Map<string, string>();
  for (const { name: field, reference: text } of namedPictures(job)) {
    const reference = pictureReference(field, text);
    if (reference.kind !== "asset") continue;
    const read = await assets.read(reference.sha256);
    if (!read) {
      const problem = `the asset ${reference.sha256} is gone`;
      throw new UsageError({ code: "E_PICTURE", subject: field, problem, next: "upload it again" });
    }
    pictures.set(field, dataUrlOf(read.asset.mediaType, read.bytes));
  }
  return withNamedPictures(job, pictures);
}
