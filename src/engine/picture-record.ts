/** @file What is written beside a picture in its file: how it was made. */
import type { PngText } from "../image/png.ts";
import type { EngineInfo } from "../job/engine.ts";
import { A1111_KEYWORD, a1111Parameters, type ImageRecord, SOLVAY_KEYWORD, solvayJson } from "../job/infotext.ts";
import type { FullJob } from "../job/job.ts";
import { modelNamed } from "../library/model-name.ts";
import type { Checkpoint } from "../models/family.ts";
import { SCHEDULE_TABLE } from "../sampler/names.ts";
import { SAMPLERS } from "../sampler/samplers.ts";
import { isModelsOwn } from "../sampler/schedule.ts";
import { SCHEDULES, type ScheduleName } from "../sampler/schedules.ts";
import { SOLVAY_VERSION } from "../version.ts";

interface Picture {
  /** Pixels, which may be fewer than the job asked for. */
  readonly width: number;
  readonly height: number;
  /** What went wrong in less than fp32, where fp32 made these pixels instead. */
  readonly retry?: string | undefined;
  readonly jobFiles?: JobFileFacts | undefined;
  readonly files?: FileFacts | undefined;
}

/** The files that the model, and networks beside it, are opened from. */
export type FileFacts = Pick<
  ImageRecord,
  "modelHash" | "vaeHash" | "vae" | "config" | "base" | "prediction" | "networkHashes"
>;

/** The files that a job names: hashes of its adapters, as A1111 records them, and of its pictures. */
export interface JobFileFacts {
  readonly loraHashes?: string | undefined;
  readonly pictureHashes?: string | undefined;
}

export function recordOf(
  job: FullJob,
  { width, height, retry, jobFiles, files }: Picture,
  info: EngineInfo,
  checkpoint: Checkpoint,
  encoder?: string,
): ImageRecord {
  return {
    ...job,
    negativePrompt: job.negativePrompt ?? "",
    emptyNegativePrompt: job.negativePrompt === "" ? true : undefined,
    // With a second pass the job's are the first's, as A1111 has them, and a part's are those that it is drawn at: from those the picture is made again.
    ...(job.hiresScale === undefined && job.detail === undefined && { width, height }),
    samplerName: SAMPLERS[job.sampler].title,
    scheduleType: job.schedule === undefined ? checkpoint.scheduleTitle : SCHEDULES[job.schedule].title,
    ...(job.schedule === undefined && !isTold(checkpoint, job) && { modelSchedule: true }),
    ...modelNamed(info.model),
    ...files,
    artifact: info.artifact,
    refiner: info.refiner === undefined ? undefined : modelNamed(info.refiner).model,
    ...jobFiles,
    backend: info.backend,
    adapter: info.adapter,
    precision: retry === undefined ? info.precision : "fp32",
    retry,
    encoder,
    version: SOLVAY_VERSION,
  };
}

/** Whether a schedule of the title that stands for the models' own would make the picture again: of the model and of its refiner. */
function isTold({ scheduleTitle, scheduler, refiner }: Checkpoint, { sampler }: FullJob): boolean {
  const schedule = SCHEDULE_TABLE.meaning(scheduleTitle) as ScheduleName | undefined;
  const { placement } = SAMPLERS[sampler];
  const models = refiner ? [scheduler, refiner.scheduler] : [scheduler];
  return schedule !== undefined && models.every((model) => isModelsOwn(model, schedule, placement));
}

export function recordTexts(record: ImageRecord): readonly PngText[] {
  return [
    { keyword: A1111_KEYWORD, text: a1111Parameters(record) },
    { keyword: SOLVAY_KEYWORD, text: solvayJson(record) },
  ];
}
