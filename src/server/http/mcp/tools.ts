/** @file The tools that agents have over the Model Context Protocol: what is served, pictures, jobs, plans. */

import { fieldMeant } from "../../../job/field-type.ts";
import { JOB_FIELDS } from "../../../job/fields.ts";
import { checkPlanJob } from "../../../job/schema.ts";
import { modelNamed } from "../../../library/model-name.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import { planText } from "../../../terminal/plan-text.ts";
import { isOver, type JobRecord } from "../../queue/job-record.ts";
import { ask, followed, openEngineOf, pictureOf, type Services } from "../../services.ts";
import { checkServed, withPictures } from "../../work/served-job.ts";
import { jobSchema } from "../api/jobs.ts";
import { notFound, Refusal } from "../failures.ts";
import { pictureContent } from "./pictures.ts";

export interface ToolCaller {
  readonly services: Services;
  /** The name of the key that asks. */
  readonly owner: string;
  /** Of this server, as the client calls it. */
  readonly origin: string;
}

interface Calling extends ToolCaller {
  /** The client has gone, or wants it no more. */
  readonly signal: AbortSignal;
  /** How far it is, for those who want to hear it. */
  readonly tell: (progress: number, total: number, text: string) => Promise<void>;
}

type Content =
  | { type: "text"; text: string }
  | { type: "image"; data: string; mimeType: string }
  | { type: "resource_link"; uri: string; name: string; mimeType: string };

interface ToolAnswer {
  [key: string]: unknown;
  content: Content[];
}

interface Tool {
  readonly description: string;
  /** JSON Schema of what it takes. */
  readonly input: () => JsonObject;
  readonly readOnly: boolean;
  readonly call: (given: JsonObject, calling: Calling) => Promise<ToolAnswer>;
}

/** Pictures of one call: each is an image in the answer. */
const MAX_PICTURES = 4;
/** Clients of the SDK give a call up after 60 s. */
const WAIT_S = { standing: 45, max: 600 };
const WAIT = {
  wait_s: {
    ...{ type: "integer", minimum: 0, maximum: WAIT_S.max, default: WAIT_S.standing },
    description: "seconds to wait; what is not done then is given as a job",
  },
};
const ID = { id: { type: "string", description: "the job's, as generate gave it" } };
const onlyId = { properties: ID, required: ["id"], additionalProperties: false };

export const TOOLS: Readonly<Record<string, Tool>> = {
  list_models: {
    description: "The models that draw; of the one that is open, its usual size in pixels and what it computes with.",
    input: () => ({ properties: {}, additionalProperties: false }),
    readOnly: true,
    async call(_, { services }) {
      const { standing } = services.models;
      const open = services.engine()?.info;
      const models = (await services.models.names()).map((name) => {
        const isOpen = open !== undefined && modelNamed(open.model).model === name;
        return { model: name, standing: name === standing, ...(isOpen && { ...open, model: name, open: true }) };
      });
      return json({ models });
    },
  },
  generate: {
    description: `Draws 1 to ${MAX_PICTURES} pictures from a prompt.`,
    input: () => ({
      properties: {
        ...(jobSchema().properties as JsonObject),
        count: { type: "integer", minimum: 1, maximum: MAX_PICTURES, default: 1, description: "seeds count up" },
        model: { type: "string", description: "one of list_models (default: the standing one)" },
        ...WAIT,
      },
      required: ["prompt"],
    }),
    readOnly: false,
    async call({ count = 1, wait_s = WAIT_S.standing, model, ...job }, calling) {
      const waitS = whole("wait_s", wait_s, 0, WAIT_S.max);
      const { services, owner } = calling;
      const asking = { owner, model: typeof model === "string" && model !== "" ? model : undefined };
      const jobs = await ask(services, checkServed(ownNames(job)), whole("count", count, 1, MAX_PICTURES), asking);
      const now = await within(waitS, jobs, calling);
      // Nobody would ever ask for them: their numbers were not told.
      if (calling.signal.aborted)
        for (const { id } of services.closing.aborted ? [] : jobs) await services.queue.cancel(id);
      return await described(now, calling);
    },
  },
  get_job: {
    description: "How far a job is; its picture, once it is done.",
    input: () => ({ properties: { ...ID, ...WAIT }, required: ["id"], additionalProperties: false }),
    readOnly: true,
    async call({ id, wait_s = 0 }, calling) {
      const job = await jobOf(id, calling);
      return await described(await within(whole("wait_s", wait_s, 0, WAIT_S.max), [job], calling), calling);
    },
  },
  cancel_job: {
    description: "Takes a job out of the queue, or stops it within a step.",
    input: () => onlyId,
    readOnly: false,
    async call({ id }, calling) {
      const { services } = calling;
      const cancelled = await services.queue.cancel((await jobOf(id, calling)).id);
      return await described(cancelled ? [cancelled] : [], calling);
    },
  },
  plan: {
    description: "What a picture would take: memory by tier, time, what stays and what streams. Nothing is drawn.",
    input: () => ({ properties: jobSchema().properties as JsonObject }),
    readOnly: true,
    async call(given, { services }) {
      const checked = checkPlanJob(ownNames(given));
      const job = checkServed({ ...checked, prompt: checked.prompt ?? "" });
      const plan = await openEngineOf(services).plan(await withPictures(job, services.assets));
      return { content: [{ type: "text", text: planText(plan) }] };
    },
  },
};

/** A job's fields under the names that agents give them. What is none is refused by the job's own check. */
function ownNames(given: JsonObject): JsonObject {
  const named = Object.entries(given).map(([name, value]) => [fieldMeant(JOB_FIELDS, name) ?? name, value] as const);
  return Object.fromEntries(named);
}

async function jobOf(id: unknown, { services }: Calling): Promise<JobRecord> {
  const job = typeof id === "string" ? await services.queue.get(id) : undefined;
  if (!job) throw notFound(String(id).slice(0, 60));
  return job;
}

/** The jobs as they are once they are over, or that time is. */
async function within(
  seconds: number,
  jobs: readonly JobRecord[],
  { services, signal, tell }: Calling,
): Promise<readonly JobRecord[]> {
  if (seconds > 0 && !jobs.every(isOver)) {
    const total = new Map(jobs.map(({ id }) => [id, 0]));
    const stop = AbortSignal.any([signal, services.closing, AbortSignal.timeout(seconds * 1000)]);
    await followed(services, jobs, stop, async ({ id }, step, steps) => {
      total.set(id, step / steps);
      const done = [...total.values()].reduce((sum, share) => sum + share, 0);
      await tell(done, jobs.length, `step ${step} of ${steps}`);
    });
  }
  const now: JobRecord[] = [];
  for (const job of jobs) now.push((await services.queue.get(job.id)) ?? job);
  return now;
}

async function described(jobs: readonly JobRecord[], { services, origin }: Calling): Promise<ToolAnswer> {
  const facts = jobs.map(({ id, state, step, steps, error, asset, job: { seed } }) => ({
    ...{ id, state, ...(seed !== undefined && { seed }), ...(state === "running" && { step, steps }) },
    ...(error && { error: error.message }),
    ...(asset !== undefined && { url: `${origin}/api/assets/${asset}` }),
  }));
  const content: Content[] = [{ type: "text", text: JSON.stringify({ jobs: facts }) }];
  for (const job of jobs) {
    if (job.state === "done") content.push(...(await pictureContent(await pictureOf(services, job))));
  }
  const failed = jobs.length > 0 && jobs.every(({ state }) => state === "failed");
  return { content, structuredContent: { jobs: facts }, ...(failed && { isError: true }) };
}

function json(value: JsonObject): ToolAnswer {
  return { content: [{ type: "text", text: JSON.stringify(value) }], structuredContent: value };
}

function whole(subject: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  const problem = `a whole number from ${min} to ${max} is wanted (found ${JSON.stringify(value)?.slice(0, 40)})`;
  throw new Refusal(400, { code: "E_JOB", subject, problem, next: `give ${subject} such a value` });
}
