/** @file What a server takes for an upscale: a picture that it has, a network by its name alone, and a result that is not too large. */
import { sha256Hex } from "#hash";
import { UsageError } from "../../errors.ts";
import { parseInfotext } from "../../job/infotext-text.ts";
import { requireEncodingFits } from "../../job/output-fields.ts";
import { pictureReference } from "../../job/picture.ts";
import { checkUpscale } from "../../job/schema.ts";
import { requireOneSize, type UpscaleJob } from "../../job/upscale.ts";
import { dataUrlOf } from "../../node/base64.ts";
import { SOLVAY_VERSION } from "../../version.ts";
import type { Assets } from "../pictures/assets.ts";
import { infotextOf } from "../pictures/infotexts.ts";
import type { NewJob } from "../queue/job-queue.ts";
import { isStorable } from "../storable-text.ts";
import { isFileName, SERVED_LIMITS } from "./served-job.ts";

/** Pixels a side of what may come out; networks enlarge 8 times at most, and the budget bounds the rest. */
const MAX_SIDE = 8192;
/** For the hash, in one order. */
const FIELDS = ["image", "upscaler", "scale", "width", "height", "format", "quality", "lossless"] as const;

/** Throws UsageError `E_JOB` or `E_PICTURE` naming the field that is wrong. */
export function checkServedUpscale(value: unknown): UpscaleJob {
  const job = checkUpscale(value);
  requireEncodingFits(job);
  requireOneSize(job);
  const { upscaler, image } = job;
  if (!isFileName(upscaler) || !isStorable(upscaler)) {
    const problem = "a server takes upscalers by their names alone, from the folder that it was started with";
    throw new UsageError({ code: "E_JOB", subject: "upscaler", problem, next: "name one of /api/upscalers" });
  }
  if (pictureReference("image", image).kind === "file") {
    const problem = "a server reads no files by their names";
    const next = "give a data: URL, or upload the picture and give sha256: and its hash";
    throw new UsageError({ code: "E_PICTURE", subject: "image", problem, next });
  }
  return job;
}

/** A checked upscale as the queue takes it; its picture becomes an asset. Rejects with UsageError or ArtifactError. */
export async function newUpscale(upscale: UpscaleJob, assets: Assets): Promise<NewJob> {
  const reference = pictureReference("image", upscale.image);
  const sent = reference.kind === "data" ? await assets.add(reference.bytes, "image") : undefined;
  const sha256 = sent?.sha256 ?? (reference.kind === "asset" ? reference.sha256 : "");
  const read = await assets.read(sha256);
  if (!read) {
    const problem = `there is no asset of the name ${upscale.image.slice(0, 80)}`;
    throw new UsageError({ code: "E_PICTURE", subject: "image", problem, next: "upload it first" });
  }
  requireSide(upscale, read.asset);
  const asked = { ...upscale, image: `sha256:${sha256}` };
  const hash = hashOf(asked);
  const job = { prompt: await promptOf(read.bytes), initImage: asked.image };
  return { job, upscale: asked, model: "", hash, askedHash: hash };
}

/** The upscale as the engine takes it. Rejects with UsageError where its picture is gone. */
export async function withPicture(upscale: UpscaleJob, assets: Assets): Promise<UpscaleJob> {
  const read = await assets.read(upscale.image.replace("sha256:", ""));
  if (read) return { ...upscale, image: dataUrlOf(read.asset.mediaType, read.bytes) };
  const problem = `the asset ${upscale.image} is gone`;
  throw new UsageError({ code: "E_PICTURE", subject: "image", problem, next: "upload it again" });
}

/** By the scale that is asked for; a network's own is known where its file is. */
function requireSide(
  { width, height, scale = 1 }: UpscaleJob,
  asset: { readonly width: number; readonly height: number },
): void {
  const side = Math.max(width ?? asset.width * scale, height ?? asset.height * scale);
  if (side <= MAX_SIDE) return;
  const problem = `the result would be too large (found ${Math.round(side)} pixels a side, allowed ${MAX_SIDE})`;
  throw new UsageError({ code: "E_JOB", subject: width === undefined ? "scale" : "width", problem, next: "give less" });
}

/** What tells the picture to people, where its own texts do. */
async function promptOf(bytes: Uint8Array): Promise<string> {
  // Damaged texts keep no picture from being enlarged.
  const infotext = await infotextOf(bytes).catch(() => undefined);
  const prompt = infotext === undefined ? "" : parseInfotext(infotext).prompt.slice(0, SERVED_LIMITS.prompt.max);
  return isStorable(prompt) ? prompt : "";
}

function hashOf(upscale: UpscaleJob): string {
  const text = JSON.stringify([SOLVAY_VERSION, "upscale", FIELDS.map((name) => upscale[name] ?? null)]);
  return sha256Hex(new TextEncoder().encode(text));
}
