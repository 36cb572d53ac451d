/** @file What routes work with, without a database or an engine: jobs in memory, to which the test says what happens. */
import { setImmediate as turn } from "node:timers/promises";
import { Hono } from "hono";
import { encodePng } from "../../src/image/png.ts";
import { failed } from "../../src/server/http/app.ts";
import type { Route, RouteEnv } from "../../src/server/http/route.ts";
import type { JobEvent } from "../../src/server/queue/event-log.ts";
import type { Asking, NewJob } from "../../src/server/queue/job-queue.ts";
import type { JobRecord, JobState } from "../../src/server/queue/job-record.ts";
import type { Services } from "../../src/server/services.ts";
import { Previews } from "../../src/server/work/previews.ts";

/** What happens to the job of that place among those that were asked for. A step has a preview, whose pixels are its number. */
export type Happening =
  | readonly [at: number, what: "step", step: number, steps: number]
  | readonly [at: number, what: "started" | "done" | "failed" | "cancelled"];

export interface PretendedServices {
  readonly services: Services;
  /** What was asked for, one entry a request. */
  readonly asked: { readonly jobs: readonly NewJob[]; readonly asking: Asking }[];
  /** Numbers of the jobs that routes cancelled. */
  readonly cancelled: string[];
  readonly failures: unknown[];
  /** How lists of jobs were asked for. */
  readonly listed: readonly (readonly [limit: number, state: string | undefined])[];
  readonly close: () => void;
}

/** Models: "mill", which stands, and "lake". Job N of a request has the number "jobN"; its picture is 16x8, all of N. */
export function pretendingServices(happenings: readonly Happening[] = []): PretendedServices {
  const asked: { jobs: readonly NewJob[]; asking: Asking }[] = [];
  const cancelled: string[] = [];
  const failures: unknown[] = [];
  const listed: (readonly [limit: number, state: string | undefined])[] = [];
  const closing = new AbortController();
  const previews = new Previews();
  const records = new Map<string, JobRecord>();
  const events: JobEvent[] = [];
  /** Listeners that have not yet asked for what comes next. */
  const busy = new Set<AbortSignal>();
  let news = Promise.withResolvers<void>();
  const tell = (job: string, type: JobEvent["type"], data: JobEvent["data"] = {}) => {
    events.push({ seq: events.length + 1, job, type, data, at: "2026-11-26T14:05:09.000Z" });
    const { resolve } = news;
    news = Promise.withResolvers();
    resolve();
  };
  const set = (id: string, change: Partial<JobRecord>) => records.set(id, { ...records.get(id)!, ...change });
  const happen = async () => {
    for (const [at, what, step = 0, steps = 0] of happenings) {
      // Time to begin to listen; and whoever listens has done with what was before.
      for (let turns = 0; turns < 20; turns++) await turn();
      while (busy.size > 0) await turn();
      const id = `job${at}`;
      if (what === "step") {
        const rgb = new Uint8Array(2 * 1 * 3).fill(step);
        previews.set(id, { width: 2, height: 1, rgb, step, steps });
        set(id, { state: "running", step, steps });
        tell(id, "step", { step, steps });
        continue;
      }
      const state: JobState = what === "started" ? "running" : what;
      const error = { code: "E_TEST", message: "E_TEST: the test says so." };
      set(id, { state, ...(what === "done" && { asset: `${at}`.repeat(64) }), ...(what === "failed" && { error }) });
      tell(id, what);
    }
  };
  const services = {
    database: {},
    models: {
      standing: "mill",
      names: async () => ["mill", "lake"],
      meant: async (model: string) => ({ model, request: {}, content: undefined }),
    },
    model: {},
    found: {},
    metrics: { request() {}, answer: () => new Response("measured") },
    fullQueue: { requireRoom() {}, refused() {} },
    previews,
    engine: () => undefined,
    worker: true,
    closing: closing.signal,
    onFailure: (error: unknown) => failures.push(error),
    assets: {
      add: async () => ({ sha256: "f".repeat(64), mediaType: "image/png", bytes: 1, width: 64, height: 64 }),
      find: async () => undefined,
      read: async (sha256: string) => {
        const picture = { width: 16, height: 8, rgb: new Uint8Array(384).fill(Number(sha256[0])) };
        const bytes = await encodePng(picture);
        return { asset: { sha256, mediaType: "image/png", bytes: bytes.length, width: 16, height: 8 }, bytes };
      },
    },
    queue: {
      submit: async (jobs: readonly NewJob[], asking: Asking) => {
        asked.push({ jobs, asking });
        const made = jobs.map(({ job, model }, at) => ({
          ...{ id: `job${at}`, number: at + 1, hash: "", job, model, owner: asking.owner, request: "r" },
          ...{ state: "queued", priority: 0, step: 0, createdAt: "2026-11-26T14:05:09.000Z" },
        }));
        for (const record of made) records.set(record.id, record as unknown as JobRecord);
        void happen();
        return made;
      },
      get: async (id: string) => records.get(id),
      list: async (limit: number, state?: string) => {
        listed.push([limit, state]);
        return [];
      },
      cancel: async (id: string) => {
        cancelled.push(id);
        set(id, { state: "cancelled" });
        return records.get(id);
      },
    },
    log: {
      get last() {
        return events.length;
      },
      async *since(after: number, signal: AbortSignal) {
        const stopped = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        try {
          for (let at = after; !signal.aborted; ) {
            const waiting = news.promise;
            busy.add(signal);
            while (at < events.length && !signal.aborted) yield events[at++];
            busy.delete(signal);
            if (!signal.aborted) await Promise.race([waiting, stopped]);
          }
        } finally {
          busy.delete(signal);
        }
      },
    },
  };
  return {
    services: services as unknown as Services,
    asked,
    listed,
    cancelled,
    failures,
    close: () => closing.abort(),
  };
}

/** An app of these routes alone, asked by the key "ann". */
export function routed(routes: readonly Route[]): Hono<RouteEnv> {
  const app = new Hono<RouteEnv>();
  app.use(async (context, next) => {
    context.set("owner", "ann");
    await next();
  });
  for (const { method, path, handle } of routes) app.on(method, path, handle);
  app.onError((error, context) => failed(context.req.path, error));
  return app;
}

export const asJson = (body: object) => ({
  ...{ method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } },
});
