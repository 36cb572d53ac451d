/**
 * @file A picture from a prompt, and from a picture where the job names one: encode, the legs of its steps (legs.ts), decode. An async generator
 * of progress that ends in pixels; abort by signal, or by leaving the loop. It can go on from the state of any step, to the same pixels.
 */
import { onlyColour } from "../image/flat-picture.ts";
import type { FullJob } from "../job/job.ts";
import type { Conditioning, Guide, Prompt } from "../models/family.ts";
import { requireFiniteValues } from "../models/finite.ts";
import type { SamplerState } from "../sampler/sampler.ts";
import type { DenoisingOptions } from "./denoising.ts";
import type { JobPictures } from "./job-pictures.ts";
import { decodedPicture, drawLegs, type LegEvent, type LegPhase } from "./legs.ts";
import { routeOf } from "./route.ts";
import type { PlannedJob, Runtime } from "./runtime.ts";

/** `negativePrompt`: undefined and "" differ; only undefined takes what the model has for a prompt that was not given. */
export type TextToImageJob = FullJob & {
  /** What it begins with, where it names a picture. */
  readonly pictures?: JobPictures | undefined;
};

/** What each phase of the task is for; the plan has their ids. */
export type TaskPhase = LegPhase;

export type TextToImageEvent =
  | LegEvent
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "pixels"; readonly rgb: Uint8Array; readonly width: number; readonly height: number };

export interface TaskOptions extends Pick<DenoisingOptions, "onClean"> {
  /** A state of the same job. */
  readonly from?: SamplerState | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** `planned` is the runtime's plan for the job's shape. */
export async function* textToImage(
  runtime: Runtime,
  planned: PlannedJob,
  job: TextToImageJob,
  { from, onClean, signal }: TaskOptions = {},
): AsyncGenerator<TextToImageEvent, void, undefined> {
  const { described } = planned;
  const route = routeOf(runtime.checkpoint, job);
  let state = from;
  if (!state || state.step < route.steps) {
    yield { type: "phase", phase: "encode", title: "encode" };
    const guide = await guideOf(runtime, planned, job, signal);
    const refinerGuide = () => guideOf(runtime, planned, job, signal, true);
    const { pictures } = job;
    state = yield* drawLegs({ runtime, planned, job, route, pictures, guide, refinerGuide, onClean, signal }, from);
  }
  const last = described.hires ?? described;
  yield { type: "phase", phase: "decode", title: "decode" };
  const { width, height } = last;
  const rgb = await decodedPicture(runtime, planned, last, state.x, signal);
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
  refined = false,
): Promise<Guide> {
  const { zerosForAbsentPrompt } = refined ? runtime.checkpoint.refiner! : runtime.checkpoint;
  if (planned.shape.batch === 1) {
    const [positive] = await encodePrompts(runtime, planned, [{ text: prompt }], signal, refined);
    return { positive: positive!, scale, rescale };
  }
  if (negativePrompt === undefined && zerosForAbsentPrompt) {
    const [positive] = await encodePrompts(runtime, planned, [{ text: prompt }], signal, refined);
    return { positive: positive!, negative: zeroConditioning(positive!), scale, rescale };
  }
  const prompts = [{ text: negativePrompt ?? "" }, { text: prompt }];
  const [negative, positive] = await encodePrompts(runtime, planned, prompts, signal, refined);
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
  refined: boolean,
): Promise<Conditioning[]> {
  const { shape } = planned;
  const described = refined ? planned.described.refined! : planned.described;
  const { promptCache } = runtime;
  // Arithmetic is part of what was computed.
  const keyOf = (prompt: Prompt) => JSON.stringify([shape.fp32, refined, prompt]);
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
