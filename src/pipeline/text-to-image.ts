/**
 * @file Text to image with SDXL (diffusers pipelines/stable_diffusion_xl): encode, denoise, decode. An async generator of
 * progress that ends in pixels; abort by signal, or by leaving the loop. It can go on from the latent of any step, to the same
 * pixels.
 */
import type { SdxlCheckpoint } from "../checkpoint/sdxl-folder.ts";
import { imageFromDecoded } from "../image/pixels.ts";
import type { Graph } from "../ir/graph.ts";
import { vaeScaleFactor } from "../model/config.ts";
import { timeEmbeddingDim } from "../model/unet.ts";
import { timestepEmbedding } from "../sampler/embedding.ts";
import { combineGuidance, eulerStep, scaleModelInput } from "../sampler/euler.ts";
import { torchRandn } from "../sampler/noise.ts";
import { eulerSchedule } from "../sampler/schedule.ts";
import { firstNotFinite, notFinite, onlyColour, requireFiniteValues } from "./guard.ts";
import type { JobShape } from "./job-plan.ts";
import type { OpenPhase } from "./open-phase.ts";
import { encodePrompts, type PromptEmbedding, zeroEmbedding } from "./prompt-embedding.ts";
import type { PlannedJob, SdxlRuntime } from "./runtime.ts";

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

/** The latent after `step` steps, [1, Cin, H, W]. Nobody writes to it. */
export interface SavedLatent {
  readonly step: number;
  readonly latent: Float32Array;
}

export type TextToImageEvent =
  | { readonly type: "phase"; readonly phase: "encode" | "denoise" | "decode" }
  | { readonly type: "step"; readonly step: number; readonly steps: number; readonly saved: SavedLatent }
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "pixels"; readonly rgb: Uint8Array };

/** What the plan of a job depends on. */
export function jobShape(
  checkpoint: SdxlCheckpoint,
  job: Pick<TextToImageJob, "guidance" | "steps" | "width" | "height">,
): JobShape {
  const { width, height, steps } = job;
  return { batch: job.guidance > 1 ? 2 : 1, width, height, steps, textTokens: checkpoint.tokenizer.encode("").length };
}

/** `planned` is the runtime's plan for the job's shape; `from` a latent of the same job. */
export async function* textToImage(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  planned: PlannedJob,
  job: TextToImageJob,
  { signal, from }: { readonly signal?: AbortSignal | undefined; readonly from?: SavedLatent | undefined } = {},
): AsyncGenerator<TextToImageEvent, void, undefined> {
  let denoised = from?.latent;
  if (!from || from.step < job.steps) {
    yield { type: "phase", phase: "encode" };
    const embeddings = await embedPrompts(checkpoint, runtime, planned, job, signal);
    yield { type: "phase", phase: "denoise" };
    denoised = yield* denoise(checkpoint, runtime, planned, job, embeddings, { signal, from });
  }

  yield { type: "phase", phase: "decode" };
  const { vae } = checkpoint;
  const scale = vaeScaleFactor(vae.config);
  const [height, width] = [Math.floor(job.height / scale), Math.floor(job.width / scale)];
  const latent = unscaledLatent(denoised!, vae.config);
  const image = await decode(runtime, planned, latent, signal); // [1, 3, H, W]
  requireFiniteValues(image, "the decoded picture");
  const rgb = imageFromDecoded(image, width * scale, height * scale);
  const colour = onlyColour(rgb);
  if (colour !== undefined) {
    const text = `E_FLAT all of the picture is ${colour}: check the weights with solvay verify, or try another seed`;
    yield { type: "note", text };
  }
  yield { type: "pixels", rgb };
}

/** Guided: of the negative prompt, then of the prompt. */
async function embedPrompts(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  planned: PlannedJob,
  job: TextToImageJob,
  signal: AbortSignal | undefined,
): Promise<PromptEmbedding[]> {
  const { prompt, negativePrompt } = job;
  if (planned.shape.batch === 1) return await encodePrompts(checkpoint, runtime, planned, [prompt], signal);
  if (negativePrompt === undefined && checkpoint.forceZerosForEmptyPrompt) {
    const [positive] = await encodePrompts(checkpoint, runtime, planned, [prompt], signal);
    return [zeroEmbedding(positive!), positive!];
  }
  return await encodePrompts(checkpoint, runtime, planned, [negativePrompt ?? "", prompt], signal);
}

async function decode(
  runtime: SdxlRuntime,
  planned: PlannedJob,
  latent: Float32Array,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  await using phase = await runtime.openPhase(planned, "decode", signal);
  const decoded = await phase.runBands(planned.graphs, new Map([["latent", latent]]), signal);
  return decoded.get("image")!;
}

async function* denoise(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  planned: PlannedJob,
  job: TextToImageJob,
  embeddings: readonly PromptEmbedding[],
  { signal, from }: { readonly signal: AbortSignal | undefined; readonly from: SavedLatent | undefined },
): AsyncGenerator<TextToImageEvent, Float32Array, undefined> {
  const { config } = checkpoint.unet;
  const { graphs } = planned;
  const { batch } = planned.shape;
  const scale = vaeScaleFactor(checkpoint.vae.config);
  const { scheduler } = checkpoint;
  const { sigmas, timesteps, initNoiseSigma } = eulerSchedule(scheduler, job.steps);
  const stopping = signal ? { signal } : {};

  await using phase = await runtime.openPhase(planned, "denoise", signal);
  const context = joinRows(embeddings.map((embedding) => embedding.hidden)); // [B, S, D]
  await phase.run(graphs.text, new Map([["context", context]]), { ...stopping, upcoming: [graphs.time] });

  const count = config.inChannels * Math.floor(job.height / scale) * Math.floor(job.width / scale);
  let sample = from?.latent ?? torchRandn(job.seed, count).map((value) => value * initNoiseSigma); // [1, Cin, H, W]
  const addition = joinRows(embeddings.map((embedding) => additionRow(checkpoint, embedding, job))); // [B, A]
  const { stepsAtOnce } = graphs;
  let timeInputs = new Map<string, Float32Array<ArrayBuffer>>();

  const firstStep = from?.step ?? 0;
  for (let step = firstStep; step < timesteps.length; step++) {
    if (step % stepsAtOnce === 0 || step === firstStep) {
      // The last group is filled up with repeats: one graph serves all groups.
      const start = step - (step % stepsAtOnce);
      const group = Array.from(
        { length: stepsAtOnce },
        (_, i) => timesteps[Math.min(start + i, timesteps.length - 1)]!,
      );
      timeInputs = await timeEmbeddings(checkpoint, planned, phase, group, addition, signal);
    }
    const input = scaleModelInput(sample, sigmas[step]!);
    const latent = batch === 1 ? input : joinRows([input, input]); // [B, Cin, H, W]
    const inputs = new Map<string, Float32Array>([["latent", latent]]);
    for (const [name, rows] of timeInputs) {
      const stride = rows.length / stepsAtOnce;
      const start = (step % stepsAtOnce) * stride;
      inputs.set(name, rows.subarray(start, start + stride));
    }
    const last = step + 1 === timesteps.length;
    const outputs = await phase.run(graphs.step, inputs, { ...stopping, upcoming: last ? [] : [graphs.step] });
    const prediction = outputs.get("prediction")!; // [B, Cout, H, W]
    const bad = firstNotFinite(prediction);
    if (bad !== undefined) {
      const segment = await firstBadSegment(phase, graphs.step, inputs, stopping);
      throw notFinite(`the UNet's prediction in step ${step + 1}`, prediction, bad, segment);
    }
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
    const saved = { step: step + 1, latent: sample };
    yield { type: "step", step: step + 1, steps: timesteps.length, saved };
  }
  return sample;
}

/** The first segment that computes what is not finite, by a second run; undefined where that can't be seen. */
async function firstBadSegment(
  phase: OpenPhase,
  graph: Graph,
  inputs: ReadonlyMap<string, Float32Array>,
  stopping: { readonly signal?: AbortSignal },
): Promise<string | undefined> {
  let found: string | undefined;
  const onSegment = (segment: string, values: Float32Array) => {
    if (firstNotFinite(values) === undefined) return;
    found = segment;
    throw new Error("found");
  };
  try {
    await phase.run(graph, inputs, { ...stopping, onSegment });
  } catch {
    // Also where RAM is too short to look, or the device breaks now: the numbers are what is told.
    stopping.signal?.throwIfAborted();
  }
  return found;
}

/** Runs the time graph for some steps: per ResNet block [steps B, C], step-major. */
async function timeEmbeddings(
  checkpoint: SdxlCheckpoint,
  { graphs, shape }: PlannedJob,
  phase: OpenPhase,
  timesteps: readonly number[],
  addition: Float32Array,
  signal: AbortSignal | undefined,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const { config } = checkpoint.unet;
  const rows = timesteps.flatMap((timestep) => new Array<number>(shape.batch).fill(timestep));
  const sinusoid = timestepEmbedding(rows, timeEmbeddingDim(config), config);
  const inputs = new Map([
    ["sinusoid", sinusoid],
    ["addition", joinRows(timesteps.map(() => addition))],
  ]);
  return await phase.run(graphs.time, inputs, { ...(signal ? { signal } : {}), upcoming: [graphs.step] });
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

function unscaledLatent(latent: Float32Array, config: SdxlCheckpoint["vae"]["config"]): Float32Array {
  const { latentChannels, latentsMean, latentsStd, scalingFactor } = config;
  const plane = latent.length / latentChannels;
  return latent.map((value, i) => {
    const channel = Math.floor(i / plane);
    const std = latentsStd?.[channel] ?? 1;
    const mean = latentsMean?.[channel] ?? 0;
    return Math.fround(value * std) / scalingFactor + mean;
  });
}
