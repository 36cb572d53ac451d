/** @file What routes work with. */
import type { OpenRequest } from "../job/checked.ts";
import type { Engine, GenerateJob } from "../job/types.ts";
import type { LibraryHost } from "../library/host.ts";
import type { ModelHashes } from "../terminal/remake-parts.ts";
import { notFound, notReady } from "./http/failures.ts";
import type { Metrics } from "./http/metrics.ts";
import type { Asset, Assets } from "./pictures/assets.ts";
import type { Thumbnails } from "./pictures/thumbnails.ts";
import type { Database } from "./queue/database.ts";
import type { EventLog } from "./queue/event-log.ts";
import type { Asking, JobQueue } from "./queue/job-queue.ts";
import { isOver, type JobRecord } from "./queue/job-record.ts";
import type { LiveView } from "./work/live-view.ts";
import type { Previews } from "./work/previews.ts";
import { newJobs } from "./work/served-job.ts";

export interface Services {
  readonly database: Database;
  readonly queue: JobQueue;
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
  /** What the engine was asked to open. */
  readonly model: OpenRequest;
  /** Undefined: it isn't open yet, or it is opened again. */
  readonly engine: () => Engine | undefined;
  /** The server stops: clients that wait lose their connection, and no job is cancelled for that. */
  readonly closing: AbortSignal;
  /** What failed here is told in the log. */
  readonly onFailure: (error: unknown) => void;
}

/** The engine. Throws Refusal while there is none. */
export function openEngineOf({ engine }: Services): Engine {
  const open = engine();
  if (open) return open;
  throw notReady("the model is being opened");
}

/** Puts `count` jobs into the queue, with seeds counting up. Rejects with UsageError or ArtifactError. */
export async function ask(
  { queue, assets, model }: Services,
  job: GenerateJob,
  count: number,
  asking: Asking,
): Promise<readonly JobRecord[]> {
  return await queue.submit(await newJobs(job, count, { assets, model }), asking);
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
    const now = await queue.get(id);
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
