/** @file The jobs that the server has, whoever asked for them: a list when the connection is there, and from then on what its events say. */
import { computed, signal } from "@preact/signals";
import { api } from "../api/client.ts";
import { onConnected, onServerEvent, type ServerEvent } from "../api/events.ts";
import type { Job } from "../api/types.ts";

/** Of those that are over; older ones are the gallery's. */
const MAX_JOBS = 200;

/** By id. */
export const jobs = signal<ReadonlyMap<string, Job>>(new Map());
/** Undefined: not known yet. */
export const jobsKnown = signal(false);

const all = computed(() => [...jobs.value.values()]);
/** In the order in which they will be drawn. */
export const waiting = computed(() =>
  all.value.filter(({ state }) => state === "queued").sort((a, b) => b.priority - a.priority || a.number - b.number),
);
export const running = computed(() =>
  all.value.filter(({ state }) => state === "running").sort((a, b) => a.number - b.number),
);
/** Those that ended last first. */
export const over = computed(() =>
  all.value
    .filter(({ state }) => state !== "queued" && state !== "running")
    .sort(
      (a, b) =>
        Date.parse(b.finishedAt ?? b.createdAt) - Date.parse(a.finishedAt ?? a.createdAt) || b.number - a.number,
    ),
);

/** Takes in what the server said of jobs. */
export function learnJobs(found: readonly Job[]): void {
  const next = new Map(jobs.peek());
  for (const job of found) {
    const { etaMs } = next.get(job.id) ?? {};
    next.set(job.id, { ...job, ...(etaMs !== undefined && job.state === "running" && { etaMs }) });
  }
  jobs.value = bounded(next);
}

function bounded(found: Map<string, Job>): ReadonlyMap<string, Job> {
  if (found.size <= MAX_JOBS) return found;
  const open = ({ state }: Job) => state === "queued" || state === "running";
  const newest = [...found.values()].sort((a, b) => Number(open(b)) - Number(open(a)) || b.number - a.number);
  return new Map(newest.slice(0, Math.max(MAX_JOBS, newest.filter(open).length)).map((job) => [job.id, job]));
}

/** Returns what ends it. */
export function followJobs(onFailure: (error: unknown) => void): () => void {
  // An event that comes while a list is on its way may be newer than it.
  let touched = new Set<string>();
  const refresh = async () => {
    touched = new Set();
    const found = await api.jobs(MAX_JOBS);
    const again = await Promise.all([...touched].map((id) => api.job(id)));
    jobs.value = new Map();
    learnJobs([...found, ...again]);
    jobsKnown.value = true;
  };
  const ends = [
    onServerEvent((event) => {
      touched.add(event.job);
      take(event, onFailure);
    }),
    onConnected(() => void refresh().catch(onFailure)),
  ];
  return () => {
    for (const end of ends) end();
  };
}

function take({ type, job: id, data }: ServerEvent, onFailure: (error: unknown) => void): void {
  const known = jobs.peek().get(id);
  const change = (fields: Partial<Job>) => {
    if (known) jobs.value = new Map(jobs.peek()).set(id, { ...known, ...fields });
  };
  if (known && type === "step") {
    const { step, steps, etaMs } = data as { readonly step: number; readonly steps: number; readonly etaMs?: number };
    change({ state: "running", step, steps, etaMs });
  } else if (known && type === "started") change({ state: "running", step: 0, etaMs: undefined });
  else if (known && type === "queued" && known.state === "queued") change({ priority: Number(data.priority) });
  else if (type !== "note") api.job(id).then((job) => learnJobs([job]), onFailure);
}
