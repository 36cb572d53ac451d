/** @file One job of the engine: pixels to a PNG with its parameters, progress with its times. */
import type { SdxlCheckpoint } from "./checkpoint/sdxl-folder.ts";
import { completeJob, requireLatent } from "./engine-job.ts";
import type { EngineInfo, GenerateEvent, GenerateJob } from "./engine-types.ts";
import { A1111_KEYWORD, a1111Parameters, type ImageRecord, SOLVAY_KEYWORD, solvayJson } from "./image/parameters.ts";
import { encodePng } from "./image/png.ts";
import { vaeScaleFactor } from "./model/config.ts";
import { type Recovery, recoveredTextToImage } from "./pipeline/recovery.ts";
import type { PlannedJob, SdxlRuntime } from "./pipeline/runtime.ts";
import { SlowdownWatch } from "./pipeline/slowdown.ts";
import { type MachineRates, measuredRates, workSize } from "./plan/rates.ts";
import { reportPlan } from "./plan/report.ts";
import { scheduleTypeName } from "./sampler/schedule.ts";
import { SOLVAY_VERSION } from "./version.ts";

export interface ImageContext {
  readonly checkpoint: SdxlCheckpoint;
  readonly runtime: SdxlRuntime;
  readonly info: EngineInfo;
  readonly recovery: Recovery;
  /** What the image's steps say of the machine. */
  readonly onRates: (size: string, rates: MachineRates) => Promise<void>;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Resident and peak memory of this process. */
  readonly memory: () => { readonly rssBytes: number; readonly peakRssBytes: number };
}

/** Events of one job, whose last is the image. Rejects with a SolvayError, or the job's signal's reason. */
export async function* generateImage(
  { checkpoint, runtime, info, recovery, onRates, now, memory }: ImageContext,
  job: GenerateJob,
): AsyncGenerator<GenerateEvent, void, undefined> {
  const full = completeJob(job, info);
  requireLatent(full, vaeScaleFactor(checkpoint.vae.config));
  const startedMs = now();
  let stepStartedMs = startedMs;
  let denoiseStartedMs = startedMs;
  let stepStartBytes = 0;
  runtime.telemetry.clear();
  runtime.ledger.restartPeaks();
  yield { type: "start", ...full, negativePrompt: full.negativePrompt ?? "", backend: info.backend };
  let planned: PlannedJob | undefined;
  let waitedMs = 0;
  let stepsBefore = 0;
  let stepsDone = 0;
  const slowdown = new SlowdownWatch();
  let loaded = runtime.telemetry.loaded;
  for await (const event of recoveredTextToImage(checkpoint, runtime, full, recovery, job.signal)) {
    if (event.type === "plan") {
      planned = event.planned;
      stepsDone = event.fromStep;
      const { plan, description } = planned;
      yield { type: "plan", plan: reportPlan(plan, description.phases) };
    } else if (event.type === "note") {
      yield event;
    } else if (event.type === "phase") {
      stepsBefore = stepsDone;
      stepStartedMs = denoiseStartedMs = now();
      stepStartBytes = runtime.readBytes;
      waitedMs = runtime.telemetry.waitMs;
      yield event;
    } else if (event.type === "step") {
      const stepMs = now() - stepStartedMs;
      const stepBytes = runtime.readBytes - stepStartBytes;
      const waitMs = runtime.telemetry.waitMs - waitedMs;
      const meanMs = (now() - denoiseStartedMs) / (event.step - stepsBefore);
      yield {
        ...event,
        elapsedMs: now() - startedMs,
        stepMs,
        etaMs: meanMs * (event.steps - event.step),
        readBytes: stepBytes,
        bytesPerSecond: stepMs > 0 ? (stepBytes / stepMs) * 1000 : 0,
        waitMs,
      };
      const before = loaded;
      loaded = runtime.telemetry.loaded;
      const text = slowdown.observe(loaded.bytes - before.bytes, loaded.ms - before.ms);
      if (text !== undefined && !runtime.device.sharesHostMemory) yield { type: "note", text };
      stepsDone = event.step;
      waitedMs += waitMs;
      stepStartedMs = now();
      stepStartBytes = runtime.readBytes;
    } else {
      const scale = vaeScaleFactor(checkpoint.vae.config);
      const [width, height] = [full.width, full.height].map((side) => Math.floor(side / scale) * scale);
      const record = {
        ...full,
        negativePrompt: full.negativePrompt ?? "",
        width: width!,
        height: height!,
        scheduleType: scheduleTypeName(checkpoint.scheduler),
        model: modelLabel(info.model),
        ...(info.artifact ? { artifact: info.artifact } : {}),
        backend: info.backend,
        precision: event.retry === undefined ? info.precision : "fp32",
        ...(event.retry === undefined ? {} : { retry: event.retry }),
        version: SOLVAY_VERSION,
      } satisfies ImageRecord;
      const text = [
        { keyword: A1111_KEYWORD, text: a1111Parameters(record) },
        { keyword: SOLVAY_KEYWORD, text: solvayJson(record) },
      ];
      const png = await encodePng({ width: width!, height: height!, rgb: event.rgb, text });
      const elapsedMs = now() - startedMs;
      const { peakRssBytes } = memory();
      const { telemetry } = runtime;
      const passes = telemetry.totals();
      // A picture that was begun twice says nothing of what one takes.
      if (planned && event.retry === undefined) {
        const { phases } = planned.description;
        const rates = measuredRates(planned.plan, phases, passes);
        if (rates) await onRates(workSize(phases), rates);
      }
      if (job.telemetry)
        yield { type: "telemetry", segments: telemetry.segmentTotals(), residency: telemetry.residency() };
      yield {
        type: "image",
        png,
        width: width!,
        height: height!,
        seed: full.seed,
        precision: record.precision,
        elapsedMs,
        peakRssBytes,
        peakDeviceBytes: runtime.ledger.state("device").peakBytes,
        peakRamBytes: runtime.ledger.state("ram").peakBytes,
        passes,
      };
    }
  }
}

function modelLabel(model: string): string {
  return model.split(/[\\/]/).filter(Boolean).at(-1) ?? model;
}
