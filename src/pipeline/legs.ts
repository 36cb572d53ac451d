/**
 * @file The steps of a job, leg by leg: what each begins with (noise, a picture's latent under noise, the enlarged latent or picture of the leg
 * before), and the states between. Every latent can be made again from the job, so a state needs only what samplers keep.
 */
import { interpolate } from "../image/interpolate.ts";
import { imageFromDecoded } from "../image/pixels.ts";
import { resample } from "../image/resample.ts";
import type { FullJob, PictureSize } from "../job/job.ts";
import type { Guide } from "../models/conditioning.ts";
import type { DescribedStage } from "../models/family.ts";
import { requireFiniteValues } from "../models/finite.ts";
import type { ImagePrompt } from "../models/image-prompt.ts";
import type { RgbPicture } from "../models/upscaling.ts";
import { noiseOf } from "../sampler/noise-source.ts";
import type { NoiseSource, SamplerState } from "../sampler/sampler.ts";
import type { PhaseRun } from "../stream/phase.ts";
import { elementCount } from "../tensor/dtype.ts";
import { type Course, denoise } from "./denoising.ts";
import { besideLatent, noisyLatent, type Spared, sparing } from "./inpainting.ts";
import { type JobAdapters, strengthsOf } from "./job-adapters.ts";
import { type ControlPictures, controlInputs, type JobControl } from "./job-controls.ts";
import { imagePromptInputs, type JobImagePrompt } from "./job-image-prompt.ts";
import { decodedFromImage, type JobPictures } from "./job-pictures.ts";
import { hiresUpscaler, strengthOf } from "./job-settings.ts";
import { type Looked, latentsOf, lookAtPictures } from "./looking.ts";
import { type Leg, type Route, stepsUpTo } from "./route.ts";
import type { PhaseHost, PlannedJob } from "./runtime.ts";

export type LegPhase = "encode" | "look" | "denoise" | "decode" | "enlarge";

export type LegEvent =
  /** `title`: the plan's. */
  | { readonly type: "phase"; readonly phase: LegPhase; readonly title: string }
  | { readonly type: "step"; readonly steps: number; readonly state: SamplerState };

/** Gets the clean latent that a step came to, in the phase that denoises. It keeps no copy. */
export type OnClean = (
  clean: Float32Array,
  at: { readonly stage: DescribedStage; readonly phase: PhaseRun; readonly step: number; readonly steps: number },
) => Promise<void> | undefined;

export interface LegsContext {
  readonly runtime: PhaseHost;
  readonly planned: PlannedJob;
  readonly job: FullJob;
  readonly route: Route;
  readonly pictures?: JobPictures | undefined;
  readonly controls?:
    | { readonly steering: readonly JobControl[]; readonly pictures: readonly ControlPictures[] }
    | undefined;
  readonly images?:
    | { readonly adapters: readonly JobImagePrompt[]; readonly prompts: readonly ImagePrompt[] }
    | undefined;
  readonly adapters?: JobAdapters | undefined;
  readonly guide: Guide;
  /** The same of a second pass. */
  readonly hires: { readonly guide: Guide; readonly adapters?: JobAdapters | undefined };
  /** What the refiner is told, where there is one: asked when it is its turn. */
  readonly refinerGuide: () => Promise<Guide>;
  readonly onClean?: OnClean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Draws all steps that `from`, a state of the same job, leaves; gives the last state. */
export async function* drawLegs(
  context: LegsContext,
  from: SamplerState | undefined,
): AsyncGenerator<LegEvent, SamplerState, undefined> {
  const { route, job, planned, pictures } = context;
  const { described } = planned;
  const firstSize = elementCount(described.latentShape);
  const leading = route.hires ? new Array<number>(route.firstDraws).fill(firstSize) : [];
  const { noise: place } = route.first.places;
  const noise = noiseOf(job, leading, { place, shape: described.latentShape });
  let state = from;
  let looked: Looked | undefined;
  if (!state || state.step < stepsUpTo(route.first)) {
    // Without a mask, a state tells all that is left of the picture.
    if (pictures && (!state || pictures.mask)) looked = yield* look(context, pictures, noise);
    state = yield* firstLeg(context, noise, state, looked);
  }
  if (route.hires && state.step < stepsUpTo(route.hires)) state = yield* hiresLeg(context, noise, state);
  if (!route.refined || state.step >= route.steps) return state;
  if (pictures?.mask) looked ??= yield* look(context, pictures, noise);
  return yield* refinedLeg(context, noise, state, looked);
}

async function* look(
  context: LegsContext,
  pictures: JobPictures,
  noise: NoiseSource,
): AsyncGenerator<LegEvent, Looked, undefined> {
  yield phaseEvent(context, "look", context.planned.described);
  return await lookAtPictures(context, pictures, noise);
}

async function* firstLeg(
  context: LegsContext,
  noise: NoiseSource,
  from: SamplerState | undefined,
  looked: Looked | undefined,
) {
  const { planned, route, job } = context;
  const stage = planned.described;
  const leg = route.first;
  if (!looked && from) return yield* draw(context, stage, leg, noise, { from });
  const unit = unitNoise(stage, leg, noise);
  const { sigmas, initNoiseSigma } = leg.course.schedule;
  const pure = !looked?.own || (looked.mask && strengthOf(job) === 1);
  const start = pure
    ? unit.map((value) => value * initNoiseSigma)
    : noisyLatent(looked.own, unit, sigmas[leg.course.firstStep]!);
  if (!looked?.mask) return yield* draw(context, stage, leg, noise, { start, from });
  const { own, masked, mask } = looked;
  return yield* draw(context, stage, leg, noise, {
    start,
    from,
    ...(masked ? { beside: besideLatent(mask, masked) } : { spared: { latent: own!, noise: unit, mask } }),
  });
}

/** Enlarges what the first leg has made, and draws it over. */
async function* hiresLeg(first: LegsContext, noise: NoiseSource, state: SamplerState) {
  const context = { ...first, ...first.hires };
  const { planned, route, job } = context;
  const leg = route.hires!;
  const stage = planned.described.hires!;
  if (state.step > leg.stepsBefore) return yield* draw(context, stage, leg, noise, { from: state });
  const way = hiresUpscaler(job);
  const latent =
    way === "lanczos" || way === "network"
      ? yield* enlargedPicture(context, stage, noise, state.x)
      : enlargedLatent(planned.described, stage, state.x, way === "latent" ? "bilinear" : "nearest");
  const { course } = leg;
  const start = noisyLatent(latent, unitNoise(stage, leg, noise), course.schedule.sigmas[course.firstStep]!);
  return yield* draw(context, stage, leg, noise, { start });
}

/** Goes on from where the leg before stopped, as diffusers' denoising_start does: no noise is added, but over what a mask spares. */
async function* refinedLeg(context: LegsContext, noise: NoiseSource, state: SamplerState, looked: Looked | undefined) {
  const { planned, route, refinerGuide } = context;
  const stage = planned.described.refined!;
  const { title } = planned.plan.phases.find(({ id }) => id === stage.phaseOf.encode)!;
  yield { type: "phase", phase: "encode", title } as const;
  const guided = { ...context, guide: await refinerGuide() };
  const leg = route.refined!;
  const begun = state.step > leg.stepsBefore ? { from: state } : { start: state.x };
  // diffusers takes the latent that the base model leaves for the picture's own: the same, but where a mask is grey.
  const spared = looked?.mask &&
    looked.own && { latent: looked.own, noise: unitNoise(stage, leg, noise), mask: looked.mask };
  return yield* draw(guided, stage, leg, noise, { ...begun, spared });
}

function enlargedLatent(
  from: DescribedStage,
  to: DescribedStage,
  values: Float32Array,
  mode: "bilinear" | "nearest",
): Float32Array<ArrayBuffer> {
  const [, , height, width] = from.latentShape as [number, number, number, number];
  const [, , toHeight, toWidth] = to.latentShape as [number, number, number, number];
  return interpolate({ width, height, values }, { width: toWidth, height: toHeight }, mode);
}

async function* enlargedPicture(context: LegsContext, stage: DescribedStage, noise: NoiseSource, latent: Float32Array) {
  const { planned, route, runtime, signal } = context;
  const small = planned.described;
  yield phaseEvent(context, "decode", small);
  const rgb = await decodedPicture(runtime, planned, small, latent, signal);
  const { enlarging } = planned.described;
  if (enlarging) yield titled(planned, "enlarge", enlarging.phase);
  const { width, height } = stage;
  const picture = { width: small.width, height: small.height, rgb };
  const enlarged = enlarging ? await enlargedByNetwork(context, picture, stage) : undefined;
  yield phaseEvent(context, "look", stage);
  // The filter's memory is that phase's.
  const decoded = () => decodedFromImage({ width, height, rgb: enlarged ?? resizedTo(picture, stage) });
  const [encoded] = await latentsOf(context, stage, noise, [{ decoded, place: route.hires!.places.sample! }]);
  return encoded!;
}

/** Where the network gives another size than is wanted, the rest is Lanczos' filter's, as A1111 does. */
async function enlargedByNetwork(
  { runtime, planned, signal }: LegsContext,
  picture: RgbPicture,
  size: PictureSize,
): Promise<Uint8Array<ArrayBuffer>> {
  const { phase: id, upscaling } = planned.described.enlarging!;
  await using phase = await runtime.openPhase(planned, id, signal);
  return resizedTo(await upscaling.run(phase, picture, { signal }), size);
}

function resizedTo({ width, height, rgb }: RgbPicture, size: PictureSize): Uint8Array<ArrayBuffer> {
  if (width === size.width && height === size.height) return rgb;
  return resample({ width, height, channels: 3, bytes: rgb }, size, "lanczos");
}

/** From the latent to bytes, [height, width, 3]. */
export async function decodedPicture(
  runtime: PhaseHost,
  planned: PlannedJob,
  stage: DescribedStage,
  latent: Float32Array,
  signal: AbortSignal | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  await using phase = await runtime.openPhase(planned, stage.phaseOf.decode, signal);
  const decoded = await stage.decode(phase, latent, signal); // [1, 3, H, W]
  requireFiniteValues(decoded, "the decoded picture");
  return imageFromDecoded(decoded, stage.width, stage.height);
}

interface Draw {
  /** One of both. */
  readonly start?: Float32Array | undefined;
  readonly from?: SamplerState | undefined;
  readonly spared?: Spared | undefined;
  readonly beside?: Float32Array | undefined;
}

async function* draw(
  context: LegsContext,
  stage: DescribedStage,
  { course, stepsBefore, places }: Leg,
  noise: NoiseSource,
  { start, from, spared, beside }: Draw,
): AsyncGenerator<LegEvent, SamplerState, undefined> {
  const { runtime, planned, guide, route, adapters, onClean, signal } = context;
  yield phaseEvent(context, "denoise", stage);
  await using phase = await runtime.openPhase(planned, stage.phaseOf.denoise, signal);
  // Of the course: it counts the steps of its schedule.
  const skipped = course.firstStep - stepsBefore;
  const controls = controlsFor(context, stage, course);
  const imagePrompts = imagesFor(context, stage, course);
  const states = denoise(
    {
      latentShape: stage.latentShape,
      denoiser: (run, options) => stage.denoiser(run, { ...options, beside, controls, imagePrompts }),
    },
    phase,
    spared ? { ...course, sampler: sparing(course.sampler, spared, course.endStep) } : course,
    {
      guide,
      noise,
      start,
      firstPlace: places.sampler,
      strengths: strengthsOf(adapters, course),
      from: from && { ...from, step: from.step + skipped },
      onClean: onClean && ((clean, at) => onClean(clean, { stage, phase, step: at - skipped, steps: route.steps })),
      signal,
    },
  );
  let last = from;
  for await (const state of states) {
    last = { ...state, step: state.step - skipped };
    yield { type: "step", steps: route.steps, state: last };
  }
  return last!;
}

/** None of a refiner's steps. */
function controlsFor({ controls, planned: { described } }: LegsContext, stage: DescribedStage, course: Course) {
  if (!controls || stage === described.refined) return undefined;
  const { steering, pictures } = controls;
  const looked = steering.flatMap((control, i) => {
    const picture = pictures[i]![stage === described.hires ? "hires" : "first"];
    return picture ? [{ control, picture }] : [];
  });
  const own = looked.map(({ picture }) => picture);
  return controlInputs(
    looked.map(({ control }) => control),
    own,
    course,
  );
}

/** None of a refiner's steps. */
function imagesFor({ images, planned: { described } }: LegsContext, stage: DescribedStage, course: Course) {
  if (!images || stage === described.refined) return undefined;
  return imagePromptInputs(images.prompts, images.adapters, course, stage === described.hires ? "hires" : "first");
}

function unitNoise({ latentShape }: DescribedStage, { places }: Leg, noise: NoiseSource): Float32Array<ArrayBuffer> {
  return noise.normal(places.noise, elementCount(latentShape));
}

function phaseEvent({ planned }: LegsContext, phase: keyof DescribedStage["phaseOf"], stage: DescribedStage): LegEvent {
  return titled(planned, phase, stage.phaseOf[phase]);
}

function titled({ plan }: PlannedJob, phase: LegPhase, id: string): LegEvent {
  const { title } = plan.phases.find((other) => other.id === id)!;
  return { type: "phase", phase, title };
}
