/** @file What routes work with. */
import type { OpenRequest } from "../job/checked.ts";
import type { Engine, EngineInfo, GenerateJob, UpscaleJob } from "../job/types.ts";
import type { LibraryHost } from "../library/host.ts";
import type { AdapterFiles } from "../node/adapter-files.ts";
import { upscalerNamed, upscalerNames } from "../node/upscaler-files.ts";
import type { ModelHashes } from "../terminal/remake-parts.ts";
import { patiently } from "./away.ts";
import type { FullQueue } from "./full-queue.ts";
import { notFound, notReady, Refusal } from "./http/failures.ts";
import type { Metrics } from "./http/metrics.ts";
import type { OfferedModels } from "./models.ts";
import type { Asset, Assets } from "./pictures/assets.ts";
import type { Thumbnails } from "./pictures/thumbnails.ts";
import type { Database } from "./queue/database.ts";
import type { EventLog } from "./queue/event-log.ts";
import type { JobQueue, Asking as QueueAsking } from "./queue/job-queue.ts";
import { isOver, type JobRecord } from "./queue/job-record.ts";
import type { WorkerEntries } from "./queue/workers.ts";
import type { Imports } from "./work/imports.ts";
import type { LiveView } from "./work/live-view.ts";
import type { Previews } from "./work/previews.ts";
import { newJobs } from "./work/served-job.ts";
import { newUpscale } from "./work/served-upscale.ts";

export interface FoundFiles {
  readonly adapters: AdapterFiles;
  /** Says where the Hugging Face cache is. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface Services {
  readonly database: Database;
  readonly queue: JobQueue;
  readonly fullQueue: FullQueue;
  readonly log: EventLog;
  readonly assets: Assets;
  readonly thumbnails: Thumbnails;
  readonly previews: Previews;
  readonly live: LiveView;
  readonly metrics: Metrics;
  /** The models of this machine. */
  readonly library: LibraryHost;
  /** Of models' files, where they are known. */
  readonly hashes: ModelHashes;
  readonly models: OfferedModels;
  /** What lies on this machine beside them. */
  readonly found: FoundFiles;
  readonly imports: Imports;
  /** What the engine of the standing model is asked to open. */
  readonly model: OpenRequest;
  readonly entries: WorkerEntries;
  /** This process draws too; else its jobs are for workers alone. */
  readonly worker: boolean;
  /** Undefined: it isn't open yet, it is opened again, or this process has none. */
  readonly engine: () => Engine | undefined;
  /** The server stops: clients that wait lose their connection, and no job is cancelled for that. */
  readonly closing: AbortSignal;
  /** What failed here is told in the log. */
  readonly onFailure: (error: unknown) => void;
}

/** The engine. Throws Refusal while there is none. */
export function openEngineOf({ engine, worker }: Services): Engine {
  const open = engine();
  if (open) return open;
  if (worker) throw notReady("the model is being opened");
  const problem = "this server was started with --no-worker: it has no engine that could tell";
  const next = "ask a server that draws, or give the same to solvay on a worker's machine";
  throw new Refusal(503, { code: "E_NO_ENGINE", problem, next });
}

/** What draws here, or where this process has no engine of its own, what a worker has said of its own; undefined where none has. Throws Refusal while it is opened. */
export async function drawingInfo(services: Services): Promise<EngineInfo | undefined> {
  if (services.worker) return openEngineOf(services).info;
  return await services.models.announced();
}

/** Whose jobs, and which model draws them: the standing one where none is named. */
export interface Asking extends QueueAsking {
  readonly model?: string | undefined;
}

/** Puts `count` jobs into the queue, with seeds counting up. Rejects with UsageError, ArtifactError, or Refusal `E_MODEL`. */
export async function ask(
  { queue, fullQueue, assets, models }: Services,
  job: GenerateJob,
  count: number,
  { model = models.standing, ...asking }: Asking,
): Promise<readonly JobRecord[]> {
  // What was taken before is given back by its key, however full the queue is.
  if (asking.idempotencyKey === undefined) fullQueue.requireRoom(count);
  const meant = await models.meant(model);
  try {
    return await queue.submit(await newJobs(job, count, { assets, ...meant }), asking);
  } catch (error) {
    fullQueue.refused(count, error);
    throw error;
  }
}

/** Puts these jobs into the queue at once, in this order. Rejects with UsageError or ArtifactError. */
export async function askEach(
  { queue, assets, models }: Services,
  jobs: readonly GenerateJob[],
  { model = models.standing, ...asking }: Asking,
): Promise<readonly JobRecord[]> {
  const meant = await models.meant(model);
  const each = await Promise.all(jobs.map((job) => newJobs(job, 1, { assets, ...meant })));
  return await queue.submit(each.flat(), asking);
}

/** Puts an upscale into the queue. Rejects with UsageError, ArtifactError or Refusal. */
export async function askUpscale(
  { queue, fullQueue, assets, model: { upscalerDir } }: Services,
  upscale: UpscaleJob,
  asking: QueueAsking,
): Promise<JobRecord> {
  if (asking.idempotencyKey === undefined) fullQueue.requireRoom(1);
  // Workers may have others.
  const upscaler = upscalerNamed(await upscalerNames(upscalerDir), upscale.upscaler) ?? upscale.upscaler;
  try {
    const [record] = await queue.submit([await newUpscale({ ...upscale, upscaler }, assets)], asking);
    return record!;
  } catch (error) {
    fullQueue.refused(1, error);
    throw error;
  }
}

/** Called while jobs go on. */
export type OnStep = (job: JobRecord, step: number, steps: number) => Promise<void> | void;

/**
 * Waits until all of them are over, or for the signal.
 * @returns the records of those that are over, in the same order
 */
export async function followed(
  { queue, log }: Services,
  jobs: readonly JobRecord[],
  signal: AbortSignal,
  onStep?: OnStep,
): Promise<readonly JobRecord[]> {
  const open = new Map(jobs.map((job) => [job.id, job]));
  const over = new Map<string, JobRecord>();
  const look = async (id: string) => {
    const now = await patiently(() => queue.get(id), { patienceMs: Number.POSITIVE_INFINITY, signal });
    if (now && !isOver(now)) return;
    open.delete(id);
    if (now) over.set(id, now);
  };
  const after = log.last;
  for (const { id } of jobs) await look(id);
  const stop = new AbortController();
  if (open.size > 0) {
    for await (const { job: id, type, data } of log.since(after, AbortSignal.any([signal, stop.signal]))) {
      const job = open.get(id);
      if (!job) continue;
      if (type === "step") await onStep?.(job, Number(data.step), Number(data.steps));
      else await look(id);
      if (open.size === 0) stop.abort();
    }
  }
  return jobs.flatMap(({ id }) => over.get(id) ?? []);
}

/**
 * Waits until all of them are over. Where the signal comes first, because the client has gone, they are cancelled.
 * @returns their records, in the same order
 */
export async function allOver(
  services: Services,
  jobs: readonly JobRecord[],
  signal: AbortSignal,
  onStep?: OnStep,
): Promise<readonly JobRecord[]> {
  const { queue, closing } = services;
  const over = new Map((await followed(services, jobs, signal, onStep)).map((job) => [job.id, job]));
  for (const { id } of closing.aborted ? [] : jobs) {
    if (over.has(id)) continue;
    const cancelled = await queue.cancel(id);
    if (cancelled) over.set(id, cancelled);
  }
  return jobs.flatMap(({ id }) => over.get(id) ?? []);
}

/** A job's picture. Throws Refusal where it is gone. */
export async function pictureOf(
  { assets }: Services,
  { id, asset }: JobRecord,
): Promise<{ readonly asset: Asset; readonly bytes: Uint8Array<ArrayBuffer> }> {
  const read = asset === undefined ? undefined : await assets.read(asset);
  if (read) return read;
  throw notFound(asset ?? id);
}
