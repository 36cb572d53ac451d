/**
 * @file Text to image: encode, denoise, decode. An async generator of progress that ends in pixels; abort by signal, or by
 * leaving the loop. It can go on from the state of any step, to the same pixels.
 */
import { onlyColour } from "../image/flat-picture.ts";
import { imageFromDecoded } from "../image/pixels.ts";
import type { FullJob } from "../job/job.ts";
import type { Checkpoint, Conditioning, Guide, JobShape, Prompt } from "../models/family.ts";
import { requireFiniteValues } from "../models/finite.ts";
import { noiseOf } from "../sampler/noise-source.ts";
import type { SamplerState } from "../sampler/sampler.ts";
import { courseOf, type DenoisingOptions, denoise } from "./denoising.ts";
import type { PlannedJob, Runtime } from "./runtime.ts";

/** `negativePrompt`: undefined and "" differ; only undefined takes what the model has for a prompt that was not given. */
export type TextToImageJob = FullJob;

/** What each phase of the task is for; the plan has their ids. */
export type TaskPhase = "encode" | "denoise" | "decode";

export type TextToImageEvent =
  | { readonly type: "phase"; readonly phase: TaskPhase }
  | { readonly type: "step"; readonly steps: number; readonly state: SamplerState }
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "pixels"; readonly rgb: Uint8Array; readonly width: number; readonly height: number };

/** What a job's plan depends on. Throws UsageError `E_STEPS`. */
export function jobShape(
  checkpoint: Checkpoint,
  job: Omit<TextToImageJob, "prompt" | "negativePrompt" | "seed">,
): JobShape {
  const { guidance, width, height } = job;
  const { calls, sampler } = courseOf(checkpoint, job);
  const { historyLength } = sampler;
  return {
    batch: checkpoint.isGuided(guidance) ? 2 : 1,
    width,
    height,
    modelCalls: calls.length,
    historyLength,
    fp32: false,
  };
}

export interface TextToImageOptions extends Pick<DenoisingOptions, "onClean"> {
  readonly signal?: AbortSignal | undefined;
  readonly from?: SamplerState | undefined;
}

/** `planned` is the runtime's plan for the job's shape; `from` a state of the same job. */
export async function* textToImage(
  runtime: Runtime,
  planned: PlannedJob,
  job: TextToImageJob,
  { signal, from, onClean }: TextToImageOptions = {},
): AsyncGenerator<TextToImageEvent, void, undefined> {
  const { described } = planned;
  const course = courseOf(runtime.checkpoint, job);
  let state = from;
  if (!state || state.step < course.steps) {
    yield { type: "phase", phase: "encode" };
    const guide = await guideOf(runtime, planned, job, signal);
    yield { type: "phase", phase: "denoise" };
    await using phase = await runtime.openPhase(planned, described.phaseOf.denoise, signal);
    for await (state of denoise(described, phase, course, { guide, noise: noiseOf(job), from, onClean, signal })) {
      yield { type: "step", steps: course.steps, state };
    }
  }

  yield { type: "phase", phase: "decode" };
  const { width, height } = described;
  const image = await decode(runtime, planned, state!.x, signal); // [1, 3, H, W]
  requireFiniteValues(image, "the decoded picture");
  const rgb = imageFromDecoded(image, width, height);
  const colour = onlyColour(rgb);
  if (colour !== undefined) {
    const text = `E_FLAT all of the picture is ${colour}: check the weights with solvay verify, or try another seed`;
    yield { type: "note", text };
  }
  yield { type: "pixels", rgb, width, height };
}

async function guideOf(
  runtime: Runtime,
  planned: PlannedJob,
  { prompt, negativePrompt, guidance: scale, guidanceRescale: rescale = 0 }: TextToImageJob,
  signal: AbortSignal | undefined,
): Promise<Guide> {
  if (planned.shape.batch === 1) {
    const [positive] = await encodePrompts(runtime, planned, [{ text: prompt }], signal);
    return { positive: positive!, scale, rescale };
  }
  if (negativePrompt === undefined && runtime.checkpoint.zerosForAbsentPrompt) {
    const [positive] = await encodePrompts(runtime, planned, [{ text: prompt }], signal);
    return { positive: positive!, negative: zeroConditioning(positive!), scale, rescale };
  }
  const prompts = [{ text: negativePrompt ?? "" }, { text: prompt }];
  const [negative, positive] = await encodePrompts(runtime, planned, prompts, signal);
  return { positive: positive!, negative, scale, rescale };
}

function zeroConditioning(like: Conditioning): Conditioning {
  const zeros = (rows: ReadonlyMap<string, Float32Array>) =>
    new Map([...rows].map(([name, { length }]) => [name, new Float32Array(length)]));
  return { sequences: zeros(like.sequences), vectors: zeros(like.vectors) };
}

/** In their order; the phase is opened only if one of them is not known yet. */
async function encodePrompts(
  runtime: Runtime,
  planned: PlannedJob,
  prompts: readonly Prompt[],
  signal: AbortSignal | undefined,
): Promise<Conditioning[]> {
  const { described, shape } = planned;
  const { promptCache } = runtime;
  // Arithmetic is part of what was computed.
  const keyOf = (prompt: Prompt) => JSON.stringify([shape.fp32, prompt]);
  const known = prompts.map((prompt) => promptCache.get(keyOf(prompt)));
  if (known.every((conditioning) => conditioning !== undefined)) return known;
  await using phase = await runtime.openPhase(planned, described.phaseOf.encode, signal);
  const conditionings: Conditioning[] = [];
  for (const [i, prompt] of prompts.entries()) {
    const conditioning = known[i] ?? promptCache.get(keyOf(prompt)) ?? (await described.encode(phase, prompt, signal));
    for (const values of [...conditioning.sequences.values(), ...conditioning.vectors.values()]) {
      // Before it is remembered.
      requireFiniteValues(values, "the prompt's embedding");
    }
    promptCache.set(keyOf(prompt), conditioning);
    conditionings.push(conditioning);
  }
  return conditionings;
}

async function decode(
  runtime: Runtime,
  planned: PlannedJob,
  latent: Float32Array,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const { described } = planned;
  await using phase = await runtime.openPhase(planned, described.phaseOf.decode, signal);
  return await described.decode(phase, latent, signal);
}
