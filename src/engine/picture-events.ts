/** @file One picture's way from the pipeline's events to published ones: times, previews, what it says of the machine, its record. */
import { latentPreview } from "../image/latent-preview.ts";
import type { PictureWriter } from "../image/picture-writer.ts";
import type { RgbImage } from "../image/png.ts";
import { cutNote, cutPrompts } from "../job/cut-text.ts";
import type { EngineInfo, GenerateOptions } from "../job/engine.ts";
import type { GenerateEvent } from "../job/events.ts";
import type { FullJob } from "../job/job.ts";
import type { LearnedWord } from "../models/conditioning.ts";
import type { OnClean } from "../pipeline/legs.ts";
import type { RecoveredEvent } from "../pipeline/recovery.ts";
import type { PlannedJob, Runtime } from "../pipeline/runtime.ts";
import { SlowdownWatch } from "../pipeline/slowdown.ts";
import { type MachineRates, measuredRates, workSize } from "../plan/rates.ts";
import { reportPlan } from "../plan/report.ts";
import type { NetworkFile } from "./model-hashes.ts";
import { encoded } from "./picture-file.ts";
import { type FileFacts, type JobFileFacts, recordOf, recordTexts } from "./picture-record.ts";
import { shownPictures } from "./read-job.ts";
import { StepClock } from "./step-times.ts";

export interface PictureContext {
  /** Takes seconds where they are not known yet: `tell` says so. */
  readonly fileFacts: (
    networks: readonly NetworkFile[],
    signal: AbortSignal | undefined,
  ) => AsyncGenerator<GenerateEvent, FileFacts, undefined>;
  readonly runtime: Runtime;
  readonly info: EngineInfo;
  /** What the image's steps say of the machine. */
  readonly onRates: (size: string, rates: MachineRates) => Promise<void>;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Resident and peak memory of this process. */
  readonly memory: () => { readonly rssBytes: number; readonly peakRssBytes: number };
}

interface Asked extends Pick<GenerateOptions, "telemetry" | "states" | "previews" | "from" | "signal"> {
  readonly jobFiles: JobFileFacts;
  readonly networkFiles: readonly NetworkFile[];
}
type StepEvent = Extract<RecoveredEvent, { type: "step" }>;
type PixelsEvent = Extract<RecoveredEvent, { type: "pixels" }>;

export class PictureEvents {
  readonly #context: PictureContext;
  readonly #full: FullJob;
  /** The job as events and records have it. */
  readonly #shown: FullJob;
  readonly #asked: Asked;
  readonly #picture: number;
  readonly #writer: PictureWriter;
  readonly #clock: StepClock;
  readonly #slowdown = new SlowdownWatch();
  #loaded: Runtime["telemetry"]["loaded"];
  #planned: PlannedJob | undefined;
  #preview: RgbImage | undefined;

  /** `picture`: what telemetry calls it. */
  constructor(context: PictureContext, full: FullJob, writer: PictureWriter, asked: Asked, picture: number) {
    const { runtime, now } = context;
    this.#context = context;
    this.#full = full;
    this.#writer = writer;
    this.#shown = shownPictures(full);
    this.#asked = asked;
    this.#picture = picture;
    this.#loaded = runtime.telemetry.loaded;
    this.#clock = new StepClock(() => ({
      nowMs: now(),
      readBytes: runtime.readBytes,
      waitMs: runtime.telemetry.waitMs,
    }));
  }

  /** By a network after the steps that its previews follow, and the last; else by colours after each. */
  get onClean(): OnClean | undefined {
    if (!this.#asked.previews) return undefined;
    const { latentColours } = this.#context.runtime.checkpoint;
    const { signal } = this.#asked;
    return async (latent, { stage: { previewing, latentShape }, phase, step, steps }) => {
      const [height, width] = latentShape.slice(2);
      if (previewing) {
        const due = step % previewing.everySteps === 0 || step === steps;
        this.#preview = due ? await previewing.decode(phase, latent, signal) : undefined;
      } else if (latentColours) {
        this.#preview = latentPreview(latent, latentColours, { width: width!, height: height! });
      }
    };
  }

  /** `notes`: what was done to its pictures. `words`: what its prompts call learned vectors. */
  *begin(notes: readonly string[], words?: readonly LearnedWord[]): Generator<GenerateEvent, void, undefined> {
    const { runtime, info } = this.#context;
    const { checkpoint } = runtime;
    const full = this.#full;
    yield { type: "start", ...this.#shown, negativePrompt: full.negativePrompt ?? "", backend: info.backend };
    for (const text of notes) yield { type: "note", text };
    for (const { what, text, second } of cutPrompts(full, checkpoint.isGuided(full.guidance))) {
      const note = cutNote(what, checkpoint.cutText({ text, second, words }));
      if (note !== undefined) yield { type: "note", text: note };
    }
  }

  async *of(event: RecoveredEvent): AsyncGenerator<GenerateEvent, void, undefined> {
    switch (event.type) {
      case "plan": {
        const { plan, input, alone } = event.planned;
        this.#planned = event.planned;
        this.#clock.attempt(event.fromStep);
        yield { type: "plan", plan: reportPlan(plan, input.phases, alone) };
        break;
      }
      case "note":
        yield event;
        break;
      case "phase":
        this.#clock.phase();
        yield event;
        break;
      case "step":
        yield* this.#step(event);
        break;
      case "pixels":
        yield* this.#image(event);
    }
  }

  *#step({ state: drawn, steps, retry }: StepEvent): Generator<GenerateEvent, void, undefined> {
    const { runtime } = this.#context;
    const state = retry === undefined ? drawn : { ...drawn, retry };
    const times = this.#clock.step(state.step, steps);
    yield { type: "step", step: state.step, steps, ...times, ...(this.#asked.states ? { state } : {}) };
    if (this.#preview) yield { type: "preview", step: state.step, steps, ...this.#preview };
    const before = this.#loaded;
    this.#loaded = runtime.telemetry.loaded;
    const text = this.#slowdown.observe(this.#loaded.bytes - before.bytes, this.#loaded.ms - before.ms);
    if (text !== undefined && !runtime.device.sharesHostMemory) yield { type: "note", text };
    this.#clock.stepShown(state.step);
  }

  async *#image(event: PixelsEvent): AsyncGenerator<GenerateEvent, void, undefined> {
    const { runtime, info, onRates, memory } = this.#context;
    const { telemetry, ledger, checkpoint } = runtime;
    const { networkFiles, signal } = this.#asked;
    const files = yield* this.#context.fileFacts(networkFiles, signal);
    const record = recordOf(
      this.#shown,
      { ...event, jobFiles: this.#asked.jobFiles, files },
      info,
      checkpoint,
      this.#writer.encoder,
    );
    const bytes = await encoded(ledger, this.#writer, this.#full, event, recordTexts(record));
    const { elapsedMs } = this.#clock;
    const { peakRssBytes } = memory();
    const passes = telemetry.totals(this.#picture);
    // A picture that was begun twice says nothing of what one takes.
    if (this.#planned && event.retry === undefined && !this.#asked.from) {
      const { phases } = this.#planned.input;
      const rates = measuredRates(this.#planned.plan, phases, passes);
      if (rates) await onRates(workSize(phases), rates);
    }
    if (this.#asked.telemetry) {
      const segments = telemetry.segmentTotals(this.#picture);
      yield { type: "telemetry", segments, residency: telemetry.residency() };
    }
    yield {
      type: "image",
      bytes,
      format: this.#full.format ?? "png",
      width: event.width,
      height: event.height,
      seed: this.#full.seed,
      precision: record.precision ?? "fp32",
      elapsedMs,
      peakRssBytes,
      peakDeviceBytes: ledger.state("device").peakBytes,
      peakRamBytes: ledger.state("ram").peakBytes,
      passes,
    };
  }
}
