/** @file One job of the engine: from the pipeline's events to published ones, the last of which is the image. */
import { UsageError } from "../errors.ts";
import { latentPreview } from "../image/latent-preview.ts";
import { encoderBytesPerPixel, type OpenPictureWriter, type PictureWriter } from "../image/picture-writer.ts";
import type { PngText, RgbImage } from "../image/png.ts";
import { cutNote } from "../job/cut-text.ts";
import type { EngineInfo, GenerateOptions } from "../job/engine.ts";
import type { GenerateEvent } from "../job/events.ts";
import type { FullJob, GenerateJob } from "../job/job.ts";
import type { JobShape } from "../models/job-shape.ts";
import { type Recovery, recoveredTextToImage } from "../pipeline/recovery.ts";
import { jobShape } from "../pipeline/route.ts";
import type { PlannedJob, Runtime } from "../pipeline/runtime.ts";
import { SlowdownWatch } from "../pipeline/slowdown.ts";
import { type MachineRates, measuredRates, workSize } from "../plan/rates.ts";
import { reportPlan } from "../plan/report.ts";
import type { HiresUpscalers } from "./hires-upscalers.ts";
import { recordOf, recordTexts } from "./picture-record.ts";
import { type JobReaders, readJob, shownPictures } from "./read-job.ts";
import { StepClock } from "./step-times.ts";

export interface ImageContext extends JobReaders {
  readonly openPictureWriter: OpenPictureWriter;
  readonly info: EngineInfo;
  readonly recovery: Recovery;
  /** What the image's steps say of the machine. */
  readonly onRates: (size: string, rates: MachineRates) => Promise<void>;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  readonly upscalers: HiresUpscalers;
  /** Brings what not every picture needs, such as the VAE's encoder, where the model is. */
  readonly provide: (shape: JobShape, signal?: AbortSignal) => Promise<void>;
  /** Resident and peak memory of this process. */
  readonly memory: () => { readonly rssBytes: number; readonly peakRssBytes: number };
}

/** Events of one job, whose last is the image. Rejects with a SolvayError, or the signal's reason. */
export async function* generateImage(
  context: ImageContext,
  job: GenerateJob,
  {
    signal,
    telemetry: asksTelemetry = false,
    states: asksStates = false,
    from,
    previews = false,
  }: GenerateOptions = {},
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { runtime, info, recovery, onRates, now, memory, readPicture, readWildcard, upscalers, provide } = context;
  const { checkpoint, telemetry } = runtime;
  const { full, pictures, notes } = await readJob({ runtime, readPicture, readWildcard }, job, signal);
  const upscaler = await upscalers.ofJob(full, signal);
  await provide(jobShape(checkpoint, { ...full, upscaler }), signal);
  telemetry.clear();
  runtime.ledger.restartPeaks();
  const clock = new StepClock(() => ({
    nowMs: now(),
    readBytes: runtime.readBytes,
    waitMs: telemetry.waitMs,
  }));
  const shown = { ...full, ...shownPictures(full) };
  const { format = "png", quality, lossless } = full;
  const writer = await context.openPictureWriter({ format, quality, lossless });
  requireTextsFit(writer, recordTexts(recordOf(shown, full, info, checkpoint, writer.encoder)));
  yield { type: "start", ...shown, negativePrompt: full.negativePrompt ?? "", backend: info.backend };
  for (const text of notes) yield { type: "note", text };
  const prompts = [
    ["prompt", full.prompt],
    ["negative prompt", checkpoint.isGuided(full.guidance) ? full.negativePrompt : undefined],
  ] as const;
  // A1111's prompts are as long as they are: nothing is cut.
  for (const [what, prompt] of full.promptSyntax === "a1111" ? [] : prompts) {
    const text = cutNote(what, checkpoint.cutText(prompt ?? ""));
    if (text !== undefined) yield { type: "note", text };
  }
  let planned: PlannedJob | undefined;
  const slowdown = new SlowdownWatch();
  let loaded = telemetry.loaded;
  // Who asks for previews pays for them.
  const colours = previews ? checkpoint.latentColours : undefined;
  let preview: RgbImage | undefined;
  const onClean = (latent: Float32Array, shape: readonly number[]) => {
    const [height, width] = shape.slice(2);
    preview = latentPreview(latent, colours!, { width: width!, height: height! });
  };
  for await (const event of recoveredTextToImage(runtime, { ...full, pictures, upscaler }, recovery, signal, {
    from,
    onClean: colours && onClean,
  })) {
    switch (event.type) {
      case "plan":
        planned = event.planned;
        clock.attempt(event.fromStep);
        yield { type: "plan", plan: reportPlan(planned.plan, planned.input.phases) };
        break;
      case "note":
        yield event;
        break;
      case "phase":
        clock.phase();
        yield event;
        break;
      case "step": {
        const { steps, retry } = event;
        const state = retry === undefined ? event.state : { ...event.state, retry };
        const times = clock.step(state.step, steps);
        yield { type: "step", step: state.step, steps, ...times, ...(asksStates ? { state } : {}) };
        if (preview) yield { type: "preview", step: state.step, steps, ...preview };
        const before = loaded;
        loaded = telemetry.loaded;
        const text = slowdown.observe(loaded.bytes - before.bytes, loaded.ms - before.ms);
        if (text !== undefined && !runtime.device.sharesHostMemory) yield { type: "note", text };
        clock.stepShown(state.step);
        break;
      }
      case "pixels": {
        const record = recordOf(shown, event, info, checkpoint, writer.encoder);
        const bytes = await encoded(runtime, writer, full, event, recordTexts(record));
        const { elapsedMs } = clock;
        const { peakRssBytes } = memory();
        const passes = telemetry.totals();
        // A picture that was begun twice says nothing of what one takes.
        if (planned && event.retry === undefined && !from) {
          const { phases } = planned.input;
          const rates = measuredRates(planned.plan, phases, passes);
          if (rates) await onRates(workSize(phases), rates);
        }
        if (asksTelemetry) {
          yield { type: "telemetry", segments: telemetry.segmentTotals(), residency: telemetry.residency() };
        }
        yield {
          type: "image",
          bytes,
          format,
          width: event.width,
          height: event.height,
          seed: full.seed,
          precision: record.precision ?? "fp32",
          elapsedMs,
          peakRssBytes,
          peakDeviceBytes: runtime.ledger.state("device").peakBytes,
          peakRamBytes: runtime.ledger.state("ram").peakBytes,
          passes,
        };
      }
    }
  }
}

/** Within the memory that the plan of the phase before had for it. */
async function encoded(
  { ledger }: Runtime,
  writer: PictureWriter,
  { format = "png", lossless }: FullJob,
  { rgb, width, height }: RgbImage,
  text: readonly PngText[],
): Promise<Uint8Array> {
  const bytes = width * height * (3 + encoderBytesPerPixel({ format, lossless }));
  using _ = ledger.reserve("ram", bytes, "the picture's file");
  return await writer.write({ rgb, width, height, text });
}

/** Before the work: what is said of a picture shall not be lost behind it. Throws UsageError `E_JOB`. */
function requireTextsFit(writer: PictureWriter, texts: readonly PngText[]): void {
  const [problem] = writer.lost(texts);
  if (problem === undefined) return;
  throw new UsageError({
    code: "E_JOB",
    subject: "format",
    problem,
    next: "write PNG, whose texts are as long as they are",
  });
}
