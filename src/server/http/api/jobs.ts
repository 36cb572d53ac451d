/** @file Our own routes for jobs: asked for, looked at, cancelled, asked for again; and what happens to them, as it happens. */

import * as z from "zod";
import { schemaOf } from "../../../job/field-schema.ts";
import { JOB_FIELDS } from "../../../job/fields.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import type { EventLog, JobEvent } from "../../queue/event-log.ts";
import type { Asking } from "../../queue/job-queue.ts";
import { isJobId, JOB_STATES, type JobRecord } from "../../queue/job-record.ts";
import { ask, type Services } from "../../services.ts";
import { previewPng } from "../../work/previews.ts";
import { checkServed, MAX_COUNT, SERVED_LIMITS } from "../../work/served-job.ts";
import { JOB, JOBS, WORKERS } from "../answers.ts";
import { jsonOf, MAX_JSON_BYTES, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { notFound, Refusal, requireNoOthers, requireOnly } from "../failures.ts";
import { type Parameter, type Route, type RouteContext, wholeOf } from "../route.ts";
import { eventStream, type SentEvent } from "../sse.ts";

const MAX_PRIORITY = 100;
const MAX_KEY_CHARS = 200;
const PREVIEW_SCALE = 4;

/** A job's fields as JSON Schema, with a server's limits. */
export function jobSchema(): JsonObject {
  const { $schema: _, ...schema } = z.toJSONSchema(schemaOf(JOB_FIELDS), { io: "input" });
  for (const [name, { min, max }] of Object.entries(SERVED_LIMITS)) {
    const property = schema.properties?.[name];
    if (typeof property !== "object") continue;
    if (property.type === "string") property.maxLength = max;
    else Object.assign(property, { minimum: min, maximum: max });
  }
  return { ...schema };
}

/** A job as clients see it. */
export function jobView({ asset, ...record }: JobRecord): JsonObject {
  return { ...record, ...(asset !== undefined && { asset, url: `/api/assets/${asset}` }) };
}

export const PRIORITY = { type: "integer", minimum: -MAX_PRIORITY, maximum: MAX_PRIORITY, default: 0 };
export const IDEMPOTENCY_KEY: Parameter = {
  ...{ name: "Idempotency-Key", in: "header", description: "the same again gives the same jobs" },
  schema: { type: "string", maxLength: MAX_KEY_CHARS },
};

/** Who asks, and how a request of jobs is put into the queue. Throws Refusal. */
export function askingOf(context: RouteContext, priority: unknown = 0): Asking {
  const idempotencyKey = context.req.header("idempotency-key");
  if (idempotencyKey !== undefined && !/^[\x20-\x7e]{1,200}$/.test(idempotencyKey)) {
    const problem = `1 to ${MAX_KEY_CHARS} characters of ASCII are wanted`;
    throw new Refusal(400, { code: "E_IDEMPOTENCY", problem, next: "send a shorter key" });
  }
  const owner = context.get("owner");
  return { owner, priority: within("priority", priority, -MAX_PRIORITY, MAX_PRIORITY), idempotencyKey };
}

export function jobRoutes(services: Services): readonly Route[] {
  const { queue, log, previews, entries } = services;
  const found = async (context: RouteContext, what: (id: string) => Promise<JobRecord | undefined>) => {
    const id = context.req.param("id") ?? "";
    const record = await what(id);
    if (!record) throw notFound(id);
    return context.json(view(record));
  };
  // What it looked like last, where it has no picture.
  const view = (record: JobRecord): JsonObject => ({
    ...jobView(record),
    ...(previews.get(record.id) && { preview: `/api/jobs/${record.id}/preview` }),
  });
  return [
    {
      ...{ method: "post", path: "/api/jobs", summary: "Ask for pictures: a job each, with seeds counting up" },
      ...{ answer: JOBS, status: 201 },
      parameters: [IDEMPOTENCY_KEY],
      body: {
        schema: {
          type: "object",
          properties: {
            job: jobSchema(),
            count: { type: "integer", minimum: 1, maximum: MAX_COUNT, default: 1 },
            priority: PRIORITY,
            model: { type: "string", description: "one of /api/models; the standing one where it is left out" },
          },
          required: ["job"],
          additionalProperties: false,
        },
      },
      async handle(context) {
        const { job, count = 1, priority, model, ...others } = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
        requireNoOthers(others, "job", ["job", "count", "priority", "model"]);
        const asking = { ...askingOf(context, priority), ...(model !== undefined && { model: String(model) }) };
        const jobs = await ask(services, checkServed(job), within("count", count, 1, MAX_COUNT), asking);
        return context.json({ jobs: jobs.map(jobView) }, 201);
      },
    },
    {
      ...{ method: "get", path: "/api/jobs", summary: "The jobs, the newest first", answer: JOBS },
      parameters: [
        { name: "state", in: "query", description: "only those", schema: { type: "string", enum: [...JOB_STATES] } },
        {
          name: "limit",
          in: "query",
          description: "how many",
          schema: { type: "integer", minimum: 1, maximum: 500, default: 50 },
        },
      ],
      async handle(context) {
        const text = context.req.query("state");
        const state = JOB_STATES.find((name) => name === text);
        if (text !== undefined && state === undefined) {
          const problem = `there is no such state (allowed ${JOB_STATES.join(", ")})`;
          throw new Refusal(400, { code: "E_QUERY", subject: "state", problem, next: "name one of those" });
        }
        const jobs = await queue.list(wholeOf(context, "limit", { min: 1, max: 500, standing: 50 }), state);
        return context.json({ jobs: jobs.map(view) });
      },
    },
    {
      ...{ method: "get", path: "/api/workers", summary: "The workers that live, and the models that each can open" },
      answer: WORKERS,
      handle: async (context) => context.json({ workers: await entries.living() }),
    },
    {
      ...{ method: "get", path: "/api/jobs/:id", summary: "One job", answer: JOB },
      handle: (context) => found(context, (id) => queue.get(id)),
    },
    {
      ...{
        method: "get",
        path: "/api/jobs/:id/preview",
        summary: "What a running job looks like, or one that was stopped looked like last",
        answers: "image/png",
      },
      async handle(context) {
        const id = context.req.param("id") ?? "";
        const preview = isJobId(id) ? await previews.find(id) : undefined;
        if (!preview) throw notFound(id);
        const { png } = await previewPng(preview, PREVIEW_SCALE);
        return new Response(png, {
          headers: { "content-type": "image/png", "cache-control": "no-store" },
        });
      },
    },
    {
      ...{
        method: "post",
        path: "/api/jobs/:id/cancel",
        summary: "Take a job out of the queue, or stop it within a step",
        answer: JOB,
      },
      handle: (context) => found(context, (id) => queue.cancel(id)),
    },
    {
      ...{ method: "post", path: "/api/jobs/:id/retry", summary: "Put a failed or cancelled job into the queue again" },
      answer: JOB,
      handle: (context) => found(context, (id) => queue.retry(id)),
    },
    {
      ...{ method: "post", path: "/api/jobs/:id/priority", summary: "Put a waiting job before or behind others" },
      answer: JOB,
      body: {
        schema: {
          type: "object",
          properties: { priority: PRIORITY },
          required: ["priority"],
          additionalProperties: false,
        },
      },
      async handle(context) {
        const body = await jsonOf(context, MAX_JSON_BYTES);
        requireOnly(body, ["priority"]);
        const { priority } = body;
        const number = within("priority", priority, -MAX_PRIORITY, MAX_PRIORITY);
        return await found(context, (id) => queue.prioritise(id, number));
      },
    },
    {
      ...{ method: "post", path: "/api/jobs/:id/move", summary: "Put a waiting job right before another one" },
      answer: JOB,
      body: {
        schema: {
          type: "object",
          properties: { before: { type: ["string", "null"], format: "uuid", description: "null: behind all others" } },
          required: ["before"],
          additionalProperties: false,
        },
      },
      async handle(context) {
        const body = await jsonOf(context, MAX_JSON_BYTES);
        requireOnly(body, ["before"]);
        const { before } = body;
        if (before !== null && typeof before !== "string") {
          const problem = "a job's id is wanted, or null";
          throw new Refusal(400, { code: "E_JOB", subject: "before", problem, next: "name the job that comes next" });
        }
        return await found(context, (id) => queue.move(id, before ?? undefined));
      },
    },
    {
      ...{
        method: "get",
        path: "/api/events",
        summary: "What happens to jobs, as it happens",
        answers: "text/event-stream",
      },
      parameters: [
        {
          name: "Last-Event-ID",
          in: "header",
          description: "number of the last event that was seen (default: the latest)",
          schema: { type: "integer" },
        },
        { name: "job", in: "query", description: "only this job's", schema: { type: "string", format: "uuid" } },
      ],
      handle(context) {
        const last = context.req.header("last-event-id");
        const after = last !== undefined && /^\d{1,15}$/.test(last) ? Number(last) : log.last;
        const job = context.req.query("job");
        return eventStream((signal) => sentEvents(log, after, job, signal));
      },
    },
  ];
}

async function* sentEvents(
  log: EventLog,
  after: number,
  job: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<SentEvent, void, undefined> {
  for await (const event of log.since(after, signal)) {
    if (job === undefined || event.job === job) yield { event: event.type, data: eventView(event), id: event.seq };
  }
}

function eventView({ job, at, data }: JobEvent): JsonObject {
  return { job, at, ...data };
}

function within(subject: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  const problem = `a whole number from ${min} to ${max} is wanted`;
  throw new Refusal(400, { code: "E_JOB", subject, problem, next: `give ${subject} such a value` });
}
