/** @file The engine as callers hold it, wherever it runs. */
import type { PlanReport } from "../plan/report.ts";
import type { PromptSyntax } from "../prompt/syntax.ts";
import type { CutTexts } from "../tokenizer/cut-text.ts";
import type { ComputeName } from "./backends.ts";
import type { DrawnState, GenerateEvent, ResidencyEvent } from "./events.ts";
import type { GenerateJob, PlanJob } from "./job.ts";
import type { BudgetOptions } from "./open.ts";
import type { UpscaledPicture, UpscaleJob, UpscaleOptions } from "./upscale.ts";

export interface EngineInfo {
  readonly model: string;
  readonly demo: boolean;
  readonly artifact?: string;
  /** Name of the refiner that draws the last steps. */
  readonly refiner?: string;
  readonly backend: ComputeName;
  /** The graphics card's name, where one computes. */
  readonly adapter?: string;
  /** What it computes in: "fp32", "fp16 (shader-f16)" ... */
  readonly precision: string;
  /** Default picture size in pixels. */
  readonly defaultWidth: number;
  readonly defaultHeight: number;
}

/** Beside a job, which is plain JSON. */
export interface GenerateOptions {
  /** Stops the work. */
  readonly signal?: AbortSignal;
  /** Asks for a "telemetry" event before the image. Default false. */
  readonly telemetry?: boolean;
  /** Asks for the sampler's state in each "step" event. Default false. */
  readonly states?: boolean;
  /** A state that a "step" event of the same job had: the image goes on after it, to the same pixels. Default: from the start. */
  readonly from?: DrawnState;
  /** Asks for a "preview" event after each "step" event. Default false. */
  readonly previews?: boolean;
}

/** One of several images. */
export interface GenerateRequest extends GenerateOptions {
  readonly job: GenerateJob;
}

/** Of the image of that place in the list, which ends with its "image" event or with a failure: what `generate` would throw. */
export type SeriesEvent =
  | { readonly index: number; readonly event: GenerateEvent }
  | { readonly index: number; readonly failure: unknown };

export interface SeriesOptions {
  /** Stops all of them; each request's own signal stops that one. */
  readonly signal?: AbortSignal;
}

export interface PlanOptions {
  /** A described machine to plan for: see `solvay plan --help`. Default: this one. */
  readonly as?: string;
  /** Default: the engine's own on this machine, all of a described one. */
  readonly budgets?: BudgetOptions;
  /** How many such images are wanted, 1..9999: the plan says how many of them are drawn side by side. Default 1. */
  readonly count?: number;
}

export interface WatchOptions {
  /** Milliseconds between events at least. Default 250. */
  readonly everyMs?: number;
  /** Ends the watching. */
  readonly signal?: AbortSignal;
}

/** Token ids, padded, of each of the model's tokenizers by name: SDXL's are "tokenizer" and "tokenizer_2". */
export type TokenIds = Readonly<Record<string, readonly number[]>>;

/** An opened model. Dispose it to free its memory. One image at a time; a second call waits. */
export interface Engine extends AsyncDisposable {
  readonly info: EngineInfo;
  /**
   * Events of one image; the last is "image". Leaving the loop, or the signal, stops the work. Throws UsageError for a job
   * with an unknown field or a value out of range.
   */
  generate(job: GenerateJob, options?: GenerateOptions): AsyncGenerator<GenerateEvent, void, undefined>;
  /**
   * Events of several images, as they come. Neighbours in the list whose plans agree (size, guidance or none, how long their prompts
   * are) are drawn side by side where that pays, so that weights pass once for all of them; each has the bytes that `generate` gives.
   * A step's times and reads are those of all that are drawn beside it, an image's `passes` its own part of them.
   * What goes wrong with one of them leaves the others as they are. Leaving the loop stops all. Throws UsageError as `generate` does.
   */
  generateMany(
    requests: readonly GenerateRequest[],
    options?: SeriesOptions,
  ): AsyncGenerator<SeriesEvent, void, undefined>;
  /** The plan for such a job. Nothing is computed. */
  plan(job: PlanJob, options?: PlanOptions): Promise<PlanReport>;
  /**
   * A picture enlarged by a network, in turn with images and within the same budgets. Rejects with UsageError, ArtifactError, BudgetError
   * or DeviceError, or the signal's reason.
   */
  upscale(job: UpscaleJob, options?: UpscaleOptions): Promise<UpscaledPicture>;
  /** The plan for such a job. Nothing is computed. */
  planUpscale(job: UpscaleJob): Promise<PlanReport>;
  /** What lies where, when it has changed, until the loop is left or the signal. Costs nothing while nobody watches. */
  watch(options?: WatchOptions): AsyncGenerator<ResidencyEvent, void, undefined>;
  /** Other budgets from the next image on. Rejects with UsageError; the old ones then stay. */
  setBudgets(budgets: BudgetOptions): Promise<void>;
  /** Token ids of each tokenizer; in "a1111" of all chunks of the prompt as it is in the first step, of one part joined by AND after the other. */
  tokens(prompt: string, syntax?: PromptSyntax): Promise<TokenIds>;
  /** In plain syntax, what each tokenizer leaves out of a prompt that is too long for it. A job's "note" event says the same. */
  cutText(prompt: string): Promise<CutTexts>;
}
