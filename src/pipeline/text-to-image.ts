/**
 * @file A picture from a prompt, and from a picture where the job names one: encode, the legs of its steps (legs.ts), decode. An async generator
 * of progress that ends in pixels; abort by signal, or by leaving the loop. It can go on from the state of any step, to the same pixels.
 */
import { onlyColour } from "../image/flat-picture.ts";
import type { ImagePrompt } from "../models/image-prompt.ts";
import type { SamplerState } from "../sampler/sampler.ts";
import { withDetail } from "./detail.ts";
import type { JobAdapters } from "./job-adapters.ts";
import type { ControlPictures } from "./job-controls.ts";
import type { JobImagePrompt } from "./job-image-prompt.ts";
import type { JobPictures } from "./job-pictures.ts";
import { decodedPicture, drawLegs, type LegEvent, type LegPhase, type OnClean } from "./legs.ts";
import { type PromptScript, refinerScript, secondPrompts } from "./prompt-script.ts";
import { originOf, promptGuide } from "./prompts.ts";
import { routeOf, type ShapedJob, scriptsOf } from "./route.ts";
import type { PhaseHost, PlannedJob } from "./runtime.ts";

/** `negativePrompt`: undefined and "" differ; only undefined takes what the model has for a prompt that was not given. */
export type TextToImageJob = ShapedJob & {
  /** What it begins with, where it names a picture. */
  readonly pictures?: JobPictures | undefined;
  /** What its controls look at, in their order. */
  readonly controlPictures?: readonly ControlPictures[] | undefined;
};

/** What each phase of the task is for; the plan has their ids. */
export type TaskPhase = LegPhase;

export type TextToImageEvent =
  | LegEvent
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "pixels"; readonly rgb: Uint8Array; readonly width: number; readonly height: number };

export interface TaskOptions {
  readonly onClean?: OnClean | undefined;
  /** A state of the same job. */
  readonly from?: SamplerState | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** `planned` is the runtime's plan for the job's shape. */
export async function* textToImage(
  runtime: PhaseHost,
  planned: PlannedJob,
  job: TextToImageJob,
  { from, onClean, signal }: TaskOptions = {},
): AsyncGenerator<TextToImageEvent, void, undefined> {
  const { described } = planned;
  const route = routeOf(runtime.checkpoint, job);
  let state = from;
  if (!state || state.step < route.steps) {
    yield { type: "phase", phase: "encode", title: "encode" };
    const { checkpoint } = runtime;
    const { adapters, hiresAdapters = adapters } = job;
    const settings = { scale: job.guidance, rescale: job.guidanceRescale, origin: originOf(job) };
    const { first, second = first } = scriptsOf(checkpoint, job, route.hires);
    const guideOf = async (script: PromptScript, used: JobAdapters | undefined) => ({
      ...(await promptGuide(runtime, planned, script, signal, { adapters: used })),
      ...settings,
    });
    const guide = await guideOf(first, adapters);
    const isSame = second === first && hiresAdapters === adapters;
    const hires = { guide: isSame ? guide : await guideOf(second, hiresAdapters), adapters: hiresAdapters };
    const refinerGuide = async () => {
      const prompts = route.hires ? secondPrompts(job, route.hires.course.firstStep) : job;
      const script = refinerScript(checkpoint, prompts, planned.shape.refined?.text ?? planned.shape.text);
      return {
        ...(await promptGuide(runtime, planned, script, signal, { refined: planned.described.refined })),
        ...settings,
      };
    };
    const { pictures, steering, controlPictures } = job;
    const controls = steering && { steering, pictures: controlPictures! };
    const { imagePrompts: telling } = job;
    if (telling) yield { type: "phase", phase: "encode", title: "encode pictures" };
    const images = telling && { adapters: telling, prompts: await seenPrompts(runtime, planned, telling, signal) };
    state = yield* drawLegs(
      {
        runtime,
        planned,
        job,
        route,
        pictures,
        controls,
        images,
        adapters,
        guide,
        hires,
        refinerGuide,
        onClean,
        signal,
      },
      from,
    );
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
  const detail = job.pictures?.detail;
  yield { type: "pixels", ...(detail ? withDetail(detail, { rgb, width, height }) : { rgb, width, height }) };
}

/** What the model is told of a job's pictures. */
async function seenPrompts(
  runtime: PhaseHost,
  planned: PlannedJob,
  adapters: readonly JobImagePrompt[],
  signal: AbortSignal | undefined,
): Promise<readonly ImagePrompt[]> {
  const described = planned.described.imagePrompts!;
  await using phase = await runtime.openPhase(planned, described.phase, signal);
  return await described.encode(
    phase,
    adapters.map(({ pictures }) => pictures),
    signal,
  );
}
