/**
 * @file Text to image with SDXL (diffusers pipelines/stable_diffusion_xl): encode, denoise, decode. An async generator of
 * progress that ends in pixels; abort by signal, or by leaving the loop.
 */
import type { SdxlCheckpoint } from "../checkpoint/sdxl-folder.ts";
import { imageFromDecoded } from "../image/pixels.ts";
import { vaeScaleFactor } from "../model/config.ts";
import { timeEmbeddingDim } from "../model/unet.ts";
import { timestepEmbedding } from "../sampler/embedding.ts";
import { combineGuidance, eulerStep, scaleModelInput } from "../sampler/euler.ts";
import { torchRandn } from "../sampler/noise.ts";
import { eulerSchedule } from "../sampler/schedule.ts";
import { requireFiniteValues } from "./guard.ts";
import { encodePrompt, type PromptEmbedding, zeroEmbedding } from "./prompt-embedding.ts";
import type { SdxlRuntime } from "./runtime.ts";

export interface TextToImageJob {
  readonly prompt: string;
  /** undefined and "" differ: only undefined takes the model's zero embedding (`force_zeros_for_empty_prompt`). */
  readonly negativePrompt?: string;
  readonly seed: number;
  readonly steps: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
}

export type TextToImageEvent =
  | { readonly type: "phase"; readonly phase: "encode" | "denoise" | "decode" }
  | { readonly type: "step"; readonly step: number; readonly steps: number }
  | { readonly type: "pixels"; readonly rgb: Uint8Array };

/** Rows of time embeddings computed at once; bounds their memory for long schedules. */
const TIME_ROWS_AT_ONCE = 64;

export async function* textToImage(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  job: TextToImageJob,
): AsyncGenerator<TextToImageEvent, void, undefined> {
  const guided = job.guidance > 1;
  const batch = guided ? 2 : 1;

  yield { type: "phase", phase: "encode" };
  const positive = await encodePrompt(checkpoint, runtime, job.prompt);
  const embeddings = guided ? [await negativeEmbedding(checkpoint, runtime, job, positive), positive] : [positive];
  await runtime.endPhase("textEncoder", "textEncoder2");

  yield { type: "phase", phase: "denoise" };
  const latent = yield* denoise(checkpoint, runtime, job, embeddings, batch);
  await runtime.endPhase("unet");

  yield { type: "phase", phase: "decode" };
  const { vae } = checkpoint;
  const scale = vaeScaleFactor(vae.config);
  const [height, width] = [Math.floor(job.height / scale), Math.floor(job.width / scale)];
  unscaleLatent(latent, vae.config);
  const graph = runtime.graphs.vaeDecoder(1, height, width);
  const decoded = await runtime.run("vae", graph, new Map([["latent", latent]]));
  const image = decoded.get("image")!; // [1, 3, H, W]
  requireFiniteValues(image, "the decoded picture");
  await runtime.endPhase("vae");
  yield { type: "pixels", rgb: imageFromDecoded(image, width * scale, height * scale) };
}

async function negativeEmbedding(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  job: TextToImageJob,
  like: PromptEmbedding,
): Promise<PromptEmbedding> {
  if (job.negativePrompt === undefined && checkpoint.forceZerosForEmptyPrompt) return zeroEmbedding(like);
  return await encodePrompt(checkpoint, runtime, job.negativePrompt ?? "");
}

async function* denoise(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  job: TextToImageJob,
  embeddings: readonly PromptEmbedding[],
  batch: number,
): AsyncGenerator<TextToImageEvent, Float32Array, undefined> {
  const { config } = checkpoint.unet;
  const scale = vaeScaleFactor(checkpoint.vae.config);
  const size = { batch, height: Math.floor(job.height / scale), width: Math.floor(job.width / scale) };
  const { scheduler } = checkpoint;
  const { sigmas, timesteps, initNoiseSigma } = eulerSchedule(scheduler, job.steps);

  const textTokens = embeddings[0]!.tokens;
  const context = joinRows(embeddings.map((embedding) => embedding.hidden)); // [B, S, D]
  const textGraph = runtime.graphs.unetText(batch, textTokens);
  const textInputs = await runtime.run("unet", textGraph, new Map([["context", context]]));

  const count = config.inChannels * size.height * size.width;
  let sample: Float32Array = torchRandn(job.seed, count); // [1, Cin, H, W]
  for (let i = 0; i < count; i++) sample[i] = sample[i]! * initNoiseSigma;
  const stepGraph = runtime.graphs.unetStep(size, textTokens);
  const addition = joinRows(embeddings.map((embedding) => additionRow(checkpoint, embedding, job))); // [B, A]
  const stepsAtOnce = Math.max(1, Math.min(timesteps.length, Math.floor(TIME_ROWS_AT_ONCE / batch)));
  let timeInputs = new Map<string, Float32Array<ArrayBuffer>>();

  for (let step = 0; step < timesteps.length; step++) {
    if (step % stepsAtOnce === 0) {
      // The last group is filled up with repeats: one graph serves all groups.
      const group = Array.from({ length: stepsAtOnce }, (_, i) => timesteps[Math.min(step + i, timesteps.length - 1)]!);
      timeInputs = await timeEmbeddings(checkpoint, runtime, group, addition, batch);
    }
    const input = scaleModelInput(sample, sigmas[step]!);
    const latent = batch === 1 ? input : joinRows([input, input]); // [B, Cin, H, W]
    const inputs = new Map<string, Float32Array>([["latent", latent], ...textInputs]);
    for (const [name, rows] of timeInputs) {
      const stride = rows.length / stepsAtOnce;
      const start = (step % stepsAtOnce) * stride;
      inputs.set(name, rows.subarray(start, start + stride));
    }
    const outputs = await runtime.run("unet", stepGraph, inputs);
    const prediction = outputs.get("prediction")!; // [B, Cout, H, W]
    requireFiniteValues(prediction, `the UNet's prediction in step ${step + 1}`);
    const half = prediction.length / batch;
    const guidedPrediction =
      batch === 1 ? prediction : combineGuidance(prediction.subarray(0, half), prediction.subarray(half), job.guidance);
    sample = eulerStep({
      prediction: guidedPrediction,
      sample,
      sigma: sigmas[step]!,
      sigmaNext: sigmas[step + 1]!,
      predictionType: scheduler.predictionType,
    });
    runtime.give(prediction);
    yield { type: "step", step: step + 1, steps: timesteps.length };
  }
  for (const buffer of textInputs.values()) runtime.give(buffer);
  return sample;
}

/** Runs the time graph for some steps: per ResNet block [steps B, C], step-major. */
async function timeEmbeddings(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  timesteps: readonly number[],
  addition: Float32Array,
  batch: number,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const { config } = checkpoint.unet;
  const rows = timesteps.flatMap((timestep) => new Array<number>(batch).fill(timestep));
  const sinusoid = timestepEmbedding(rows, timeEmbeddingDim(config), config);
  const graph = runtime.graphs.unetTime(rows.length);
  const inputs = new Map([
    ["sinusoid", sinusoid],
    ["addition", joinRows(timesteps.map(() => addition))],
  ]);
  return await runtime.run("unet", graph, inputs);
}

/** [pooled text, sinusoids of (height, width, 0, 0, height, width)]: SDXL's micro-conditioning. */
function additionRow(checkpoint: SdxlCheckpoint, embedding: PromptEmbedding, job: TextToImageJob): Float32Array {
  const { config } = checkpoint.unet;
  const timeIds = [job.height, job.width, 0, 0, job.height, job.width];
  return joinRows([embedding.pooled, timestepEmbedding(timeIds, config.additionTimeEmbedDim, config)]);
}

function joinRows(rows: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const joined = new Float32Array(rows.reduce((sum, row) => sum + row.length, 0));
  let offset = 0;
  for (const row of rows) {
    joined.set(row, offset);
    offset += row.length;
  }
  return joined;
}

function unscaleLatent(latent: Float32Array, config: SdxlCheckpoint["vae"]["config"]): void {
  const { latentChannels, latentsMean, latentsStd, scalingFactor } = config;
  const plane = latent.length / latentChannels;
  for (let i = 0; i < latent.length; i++) {
    const channel = Math.floor(i / plane);
    const std = latentsStd?.[channel] ?? 1;
    const mean = latentsMean?.[channel] ?? 0;
    latent[i] = Math.fround(latent[i]! * std) / scalingFactor + mean;
  }
}
