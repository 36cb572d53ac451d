/**
 * @file Jobs of the engine: from what was asked to published events, each image's last of which is the image. Neighbours whose graphs
 * agree are drawn side by side, as many at a time as the plan of the first says.
 */
import type { OpenPictureWriter, PictureWriter } from "../image/picture-writer.ts";
import type { GenerateRequest, SeriesEvent } from "../job/engine.ts";
import type { FullJob } from "../job/job.ts";
import { type DetailSizes, type JobShape, joinedShape, type PreviewerShape } from "../models/job-shape.ts";
import { attempt, settled } from "../pipeline/attempt.ts";
import type { ControlPictures } from "../pipeline/job-controls.ts";
import type { JobPictures } from "../pipeline/job-pictures.ts";
import { drawPictures, type PictureRequest, type Recovery } from "../pipeline/recovery.ts";
import { jobShape, type ShapedJob } from "../pipeline/route.ts";
import { MAX_LANES } from "../plan/side-by-side.ts";
import type { ControlFiles } from "./control-files.ts";
import { type EmbeddingFiles, learnedJob } from "./embedding-files.ts";
import type { HiresUpscalers } from "./hires-upscalers.ts";
import type { ImagePromptFiles } from "./image-prompt-files.ts";
import type { LoraFiles, OpenedLoras } from "./lora-files.ts";
import type { NetworkFile } from "./model-hashes.ts";
import { type PictureContext, PictureEvents } from "./picture-events.ts";
import { openWriter } from "./picture-file.ts";
import type { JobFileFacts } from "./picture-record.ts";
import { type JobReaders, readJob } from "./read-job.ts";

export interface ImageContext extends JobReaders, PictureContext {
  readonly recovery: Recovery;
  readonly upscalers: HiresUpscalers;
  /** The network that makes previews, if there is one. */
  readonly previewer: PreviewerShape | undefined;
  readonly loraFiles: LoraFiles;
  readonly controlFiles: ControlFiles;
  readonly imagePromptFiles: ImagePromptFiles;
  readonly embeddings?: EmbeddingFiles | undefined;
  readonly openPictureWriter: OpenPictureWriter;
  /** Brings what not every picture needs, such as the VAE's encoder, where the model is. */
  readonly provide: (shape: JobShape, signal?: AbortSignal) => Promise<void>;
  /** Work that goes on between series takes turns: resolves when it is this one's, and ends with the disposal. */
  readonly takeTurn: () => Promise<Disposable>;
}

/** A job as it was read. */
interface ReadRequest {
  readonly index: number;
  readonly request: GenerateRequest;
  readonly full: FullJob;
  readonly job: ShapedJob;
  readonly jobFiles: JobFileFacts;
  readonly networkFiles: readonly NetworkFile[];
  readonly loraEvents: OpenedLoras["events"];
  readonly pictures: JobPictures | undefined;
  readonly controlPictures: readonly ControlPictures[];
  readonly notes: readonly string[];
  readonly writer: PictureWriter;
  readonly shape: JobShape;
}

/** In their order. What ends one image is its failure: a SolvayError, or its signal's reason. */
export async function* generateImages(
  context: ImageContext,
  requests: readonly GenerateRequest[],
): AsyncGenerator<SeriesEvent, void, undefined> {
  const { runtime, recovery } = context;
  let next = 0;
  while (next < requests.length) {
    using _ = await context.takeTurn();
    const group: ReadRequest[] = [];
    let lanes = 1;
    while (next < requests.length && group.length < lanes) {
      const read = await settled(() => readRequest(context, requests[next]!, next));
      if (!read.ok) {
        yield { index: next++, failure: read.failure };
        continue;
      }
      const [first] = group;
      // Its pictures, which the plan doesn't count, are read again when it is its turn.
      if (first && !joinedShape([first.shape, read.value.shape])) break;
      group.push(read.value);
      next++;
      if (!first) lanes = lanesFor(context, read.value.shape, requests.length - next);
    }
    if (group.length === 0) continue;
    runtime.telemetry.clear();
    runtime.ledger.restartPeaks();
    const told = group.map(({ full, writer, request, jobFiles, networkFiles }, i) => {
      return new PictureEvents(context, full, writer, { ...request, jobFiles, networkFiles }, i);
    });
    for (const [i, { index, job, notes, loraEvents }] of group.entries()) {
      for (const event of told[i]!.begin(notes, job.words)) yield { index, event };
      for (const event of loraEvents) yield { index, event };
    }
    const drawn = group.map(({ job, pictures, controlPictures, request: { signal, from } }, i): PictureRequest => {
      return { job: { ...job, pictures, controlPictures }, signal, from, onClean: told[i]!.onClean };
    });
    for await (const come of drawPictures(runtime, drawn, recovery)) {
      const { index } = group[come.picture]!;
      if ("failure" in come) yield { index, failure: come.failure };
      else for await (const event of told[come.picture]!.of(come.event)) yield { index, event };
    }
  }
}

/** What a plan depends on of a part that is laid back. */
export function detailSizesOf(pictures: JobPictures | undefined): DetailSizes | undefined {
  if (!pictures?.detail) return undefined;
  const { whole, area } = pictures.detail;
  return {
    whole: { width: whole.width, height: whole.height },
    part: { width: area.width, height: area.height },
  };
}

const CONTROLS_REFINED = "ControlNets steer the base model: the refiner draws without them";

async function readRequest(context: ImageContext, request: GenerateRequest, index: number): Promise<ReadRequest> {
  const { runtime, info, upscalers, loraFiles, controlFiles, provide, openPictureWriter } = context;
  const { signal } = request;
  signal?.throwIfAborted();
  const { full: read, pictures, controlPictures, pictureHashes, notes } = await readJob(context, request.job, signal);
  const { full, words } = await learnedJob(runtime.checkpoint, read, context.embeddings, signal);
  const loras = await loraFiles.ofJob(full, signal);
  const { adapters, hiresAdapters, hashes: loraHashes, notes: told = [] } = loras ?? {};
  // Who asks for previews pays for them.
  const colours = runtime.checkpoint.latentColours && ("colours" as const);
  const preview = request.previews ? (context.previewer ?? colours) : undefined;
  const images = await context.imagePromptFiles.ofJob(full, context.readPicture, signal);
  const hashes = [...pictureHashes, ...(images?.hashes ?? [])];
  const jobFiles = { loraHashes, pictureHashes: hashes.length > 0 ? hashes.join(", ") : undefined };
  const steering = await controlFiles.ofJob(full, signal);
  const upscaler = await upscalers.ofJob(full, signal);
  const job = {
    ...full,
    upscaler,
    adapters,
    hiresAdapters,
    steering: steering?.controls,
    imagePrompts: images?.adapters,
    detailSizes: detailSizesOf(pictures),
    words,
    preview,
  };
  const shape = jobShape(runtime.checkpoint, job);
  await provide(shape, signal);
  const writer = await openWriter(openPictureWriter, full, info, runtime.checkpoint, jobFiles);
  return {
    index,
    request,
    full,
    job,
    jobFiles,
    networkFiles: [...(steering?.files ?? []), ...(images?.files ?? [])],
    loraEvents: loras?.events ?? [],
    pictures,
    controlPictures,
    notes: [
      ...notes,
      ...told,
      ...(images?.notes ?? []),
      ...(steering && runtime.checkpoint.refiner ? [CONTROLS_REFINED] : []),
    ],
    writer,
    shape,
  };
}

/** How many of such a shape it would pay to draw at a time, where so many more are wanted. */
function lanesFor({ runtime }: ImageContext, shape: JobShape, more: number): number {
  const shapes = Array.from({ length: Math.min(1 + more, MAX_LANES) }, () => shape);
  const planned = attempt(() => runtime.planSeries(shapes));
  // A failure is told when it is drawn.
  return planned.ok ? planned.value.plan.lanes : 1;
}
