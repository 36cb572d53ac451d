/**
 * @file The way of a job through its steps: one leg, or more where a larger picture or a refiner's steps follow; where each begins in its
 * schedule, and which draws of the one generator are whose, in diffusers' order. Steps count over all legs.
 */
import { UsageError } from "../errors.ts";
import { encoderBytesPerPixel } from "../image/picture-writer.ts";
import { steersPass } from "../job/control-use.ts";
import type { FullJob } from "../job/job.ts";
import type { LearnedWord } from "../models/conditioning.ts";
import type { Checkpoint } from "../models/family.ts";
import type { DetailSizes, JobShape, UpscalerShape } from "../models/job-shape.ts";
import { type Course, courseOf } from "./denoising.ts";
import { adaptersShape, type JobAdapters } from "./job-adapters.ts";
import { controlShapes, type JobControl } from "./job-controls.ts";
import { imagePromptShapes, type JobImagePrompt } from "./job-image-prompt.ts";
import { isMasked } from "./job-pictures.ts";
import { hiresSize, hiresUpscaler, REFINER_START, strengthOf } from "./job-settings.ts";
import { type PassScripts, type PromptScript, passScripts, textShapeOf } from "./prompt-script.ts";

/** Numbers of draws. */
export interface Places {
  /** The picture's own latent; undefined: it is not encoded. */
  readonly sample?: number | undefined;
  readonly noise: number;
  /** The masked picture's latent, for networks that read it. */
  readonly masked?: number | undefined;
  /** The sampler's first. */
  readonly sampler: number;
}

export interface Leg {
  readonly course: Course;
  /** Steps of the job before it. */
  readonly stepsBefore: number;
  readonly places: Places;
}

export interface Route {
  readonly first: Leg;
  readonly hires?: Leg | undefined;
  /** The refiner's. */
  readonly refined?: Leg | undefined;
  /** Of all legs. */
  readonly steps: number;
  /** Draws of the first leg; those after it have another size. */
  readonly firstDraws: number;
}

/** Throws UsageError `E_STEPS`, and `E_JOB` for a strength that leaves no step. */
export function routeOf(checkpoint: Checkpoint, job: FullJob): Route {
  const { initImage, steps } = job;
  const whole: Leg =
    initImage === undefined
      ? { course: courseOf(checkpoint, job), stepsBefore: 0, places: { noise: 0, sampler: 1 } }
      : {
          course: strengthCourse(checkpoint, job, steps, strengthOf(job), "strength"),
          stepsBefore: 0,
          places: picturePlaces(checkpoint, job),
        };
  const { refiner } = checkpoint;
  const hasHires = job.hiresScale !== undefined;
  // The refiner's steps are the last of all: of the second pass, where there is one (as A1111's "Hires fix: which pass to enable refiner for").
  const first = refiner && !hasHires ? { ...whole, course: untilRefined(checkpoint, job, whole.course) } : whole;
  const firstDraws = drawsUpTo(first);
  const hires = hasHires ? hiresLeg(checkpoint, job, first) : undefined;
  const before = hires ?? first;
  if (!refiner) return { first, hires, steps: stepsUpTo(before), firstDraws };
  const drawn = drawsUpTo(before);
  const refined = {
    course: refinedCourse(refiner, hires ? hiresJob(job) : job),
    stepsBefore: stepsUpTo(before),
    // A mask takes noise of its own to lay over what it spares, as StableDiffusionXLInpaintPipeline draws it.
    places: { noise: drawn, sampler: isMasked(job) ? drawn + 1 : drawn },
  };
  return { first, hires, refined, steps: stepsUpTo(refined), firstDraws };
}

function hiresLeg(checkpoint: Checkpoint, job: FullJob, first: Leg): Leg {
  const drawn = drawsUpTo(first);
  const again = hiresJob(job);
  const whole = strengthCourse(checkpoint, again, again.steps, job.hiresStrength!, "hiresStrength");
  return {
    course: checkpoint.refiner ? untilRefined(checkpoint, again, whole) : whole,
    stepsBefore: stepsUpTo(first),
    places: ["lanczos", "network"].includes(hiresUpscaler(job))
      ? { sample: drawn, noise: drawn + 1, sampler: drawn + 2 }
      : { noise: drawn, sampler: drawn + 1 },
  };
}

/** The job with the steps of its second pass. */
function hiresJob(job: FullJob): FullJob {
  return { ...job, steps: job.hiresSteps ?? job.steps };
}

/** Draws of all legs up to and with this one. */
function drawsUpTo({ places, course }: Leg): number {
  return places.sampler + course.drawCount;
}

/** So with steps of the job. */
export function stepsUpTo({ stepsBefore, course }: Leg): number {
  return stepsBefore + course.endStep - course.firstStep;
}

/** A job with the network that its `hiresUpscaler` names, its adapters, the words that its prompts may have, and the way of its previews. */
export type ShapedJob = FullJob & {
  readonly upscaler?: UpscalerShape | undefined;
  readonly adapters?: JobAdapters | undefined;
  /** What its `ipAdapters` name; absent: none. */
  readonly imagePrompts?: readonly JobImagePrompt[] | undefined;
  /** Sizes of what a part is laid back over, and of that part in it. */
  readonly detailSizes?: DetailSizes | undefined;
  /** What its `controls` name. */
  readonly steering?: readonly JobControl[] | undefined;
  /** Of a second pass that has others. */
  readonly hiresAdapters?: JobAdapters | undefined;
  readonly words?: readonly LearnedWord[] | undefined;
  /** Absent: none are asked for. */
  readonly preview?: JobShape["preview"];
};

/** What a job's plan depends on. Throws UsageError, see routeOf and promptScript. */
export function jobShape(checkpoint: Checkpoint, job: ShapedJob): JobShape {
  const { first, hires, refined } = routeOf(checkpoint, job);
  const { sample, masked } = first.places;
  const { sampler } = first.course;
  const encoded = [sample, masked].filter((place) => place !== undefined).length;
  const { first: script, second } = scriptsOf(checkpoint, job, hires);
  const { format = "png", lossless, adapters, hiresAdapters = adapters, steering } = job;
  const told = second && { text: textShapeOf(second, script), batch: batchOf(second) };
  const controlsOf = ({ course }: Leg, prompts: PromptScript, pass: "first" | "second") => {
    const own = steering?.filter(({ use }) => steersPass(use, pass, Boolean(job.hiresScale)));
    if (!own || own.length === 0) return undefined;
    return { controls: controlShapes(own, course, { batch: batchOf(prompts), negatives: negativesOf(prompts) }) };
  };
  return {
    batch: batchOf(script),
    ...controlsOf(first, script, "first"),
    ...(job.imagePrompts && { imagePrompts: imagePromptShapes(job.imagePrompts, negativesOf(script)) }),
    width: job.width,
    height: job.height,
    modelCalls: first.course.calls.length,
    historyLength: sampler.historyLength + sampler.heldLength,
    fp32: false,
    text: textShapeOf(script, second),
    ...(job.preview !== undefined && { preview: job.preview }),
    ...(format !== "png" && { encoderBytesPerPixel: encoderBytesPerPixel({ format, lossless }) }),
    ...(adapters && { adapters: adaptersShape(adapters, first.course) }),
    ...(adapters?.encoders && { encoderAdapters: adapters.encoders.set }),
    ...(job.initImage !== undefined && {
      pictures: { encoded, masked: isMasked(job), ...(job.detailSizes && { detail: job.detailSizes }) },
    }),
    ...(refined && {
      refined: {
        ...(hires && hiresSize(checkpoint, job)),
        modelCalls: refined.course.calls.length,
        historyLength: refined.course.sampler.historyLength,
        ...told,
      },
    }),
    ...(hires && {
      hires: {
        ...hiresSize(checkpoint, job),
        modelCalls: hires.course.calls.length,
        ...(hiresAdapters && { adapters: adaptersShape(hiresAdapters, hires.course) }),
        ...told,
        ...controlsOf(hires, second ?? script, "second"),
        enlarges: hires.places.sample === undefined ? "latent" : "picture",
        ...(job.upscaler && { upscaler: job.upscaler }),
      },
    }),
  };
}

/** `hires`: the job's second leg. Throws as promptScript. */
export function scriptsOf(checkpoint: Checkpoint, job: ShapedJob, hires: Leg | undefined): PassScripts {
  return passScripts(checkpoint, job, hires?.course.firstStep);
}

function batchOf(script: PromptScript): number {
  return script.parts.length + negativesOf(script);
}

function negativesOf({ negative }: PromptScript): number {
  return negative === undefined ? 0 : 1;
}

/** diffusers' denoising_end and denoising_start: by training timesteps, of which every model has so many. */
const TRAINING_STEPS = 1000;

/** The timestep below which steps are the refiner's. */
function cutoffOf({ refinerStart = REFINER_START }: FullJob): number {
  return Math.round(TRAINING_STEPS - refinerStart * TRAINING_STEPS);
}

function untilRefined(checkpoint: Checkpoint, job: FullJob, course: Course): Course {
  const { timesteps } = course.schedule;
  const cutoff = cutoffOf(job);
  const endStep = timesteps.reduce((end, timestep, step) => (timestep >= cutoff ? step + 1 : end), 0);
  if (endStep <= course.firstStep) throw noStepFor("the model", job);
  return courseOf(checkpoint, job, { firstStep: course.firstStep, endStep });
}

function refinedCourse(checkpoint: Pick<Checkpoint, "scheduler">, job: FullJob): Course {
  const whole = courseOf(checkpoint, job);
  const firstStep = whole.schedule.timesteps.findIndex((timestep) => timestep < cutoffOf(job));
  if (firstStep < 0) throw noStepFor("the refiner", job);
  return courseOf(checkpoint, job, { firstStep });
}

function noStepFor(whom: string, { refinerStart = REFINER_START, steps }: FullJob): UsageError {
  return new UsageError({
    code: "E_JOB",
    subject: "refinerStart",
    problem: `${refinerStart} of ${steps} steps leaves none for ${whom}`,
    next: "give refinerStart another value, or more steps",
  });
}

/** diffusers get_timesteps: int(steps * strength) steps, the last ones. */
function strengthCourse(
  checkpoint: Checkpoint,
  job: FullJob,
  steps: number,
  strength: number,
  field: "strength" | "hiresStrength",
): Course {
  const made = Math.min(Math.trunc(steps * strength), steps);
  if (made < 1) {
    throw new UsageError({
      code: "E_JOB",
      subject: field,
      problem: `${strength} of ${steps} steps leaves none (allowed: at least one)`,
      next: `give ${field} ${Math.ceil(100 / steps) / 100} or more, or more steps`,
    });
  }
  const whole = courseOf(checkpoint, { ...job, steps });
  return courseOf(checkpoint, { ...job, steps }, { firstStep: Math.min(steps - made, whole.steps - 1) });
}

/**
 * The order of StableDiffusionXLImg2ImgPipeline and StableDiffusionXLInpaintPipeline. The latter draws for the masked picture also where the
 * network doesn't read it; where all is painted anew, a network that reads it is not shown the picture itself.
 */
function picturePlaces(checkpoint: Checkpoint, job: FullJob): Places {
  if (!isMasked(job)) return { sample: 0, noise: 1, sampler: 2 };
  if (!checkpoint.inpaints) return { sample: 0, noise: 1, sampler: 3 };
  return strengthOf(job) === 1 ? { noise: 0, masked: 1, sampler: 2 } : { sample: 0, noise: 1, masked: 2, sampler: 3 };
}
