/** @file Our own routes for plans and what becomes of them: a job's plan, the same on other budgets and cards, and what the engine does right now. */

import { checkPlanJob, checkPlanOptions } from "../../../job/schema.ts";
import type { PlanJob, PlanOptions, PlanReport } from "../../../job/types.ts";
import { DESCRIBED_MACHINES, describedMachine } from "../../../plan/machine.ts";
import { isJsonObject, type JsonObject } from "../../../source/json-fields.ts";
import { drawingInfo, openEngineOf, type Services } from "../../services.ts";
import { checkServed, withPictures } from "../../work/served-job.ts";
import { PLANNED, TELEMETRY } from "../answers.ts";
import { jsonOf, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { failureOf, notReady, Refusal, requireNoOthers } from "../failures.ts";
import type { Route } from "../route.ts";
import { eventStream } from "../sse.ts";
import { jobSchema } from "./jobs.ts";

/** Plans of one request. */
const MAX_VARIANTS = 12;
const AMOUNT: JsonObject = { type: ["string", "integer"], description: "6G, 512M, -1G for all but 1 GiB, or bytes" };
const VARIANT: JsonObject = {
  type: "object",
  properties: {
    as: { type: "string", enum: [...DESCRIBED_MACHINES], description: "a described card in place of this machine" },
    vram: AMOUNT,
    ram: AMOUNT,
    count: { type: "integer", minimum: 1, description: "how many such pictures are wanted" },
  },
  additionalProperties: false,
};

export function planningRoutes(services: Services): readonly Route[] {
  const { assets, live } = services;
  return [
    {
      ...{
        method: "post",
        path: "/api/plan",
        summary: "What a job would take here and on other cards, without drawing it",
        answer: PLANNED,
      },
      body: {
        schema: {
          type: "object",
          properties: {
            job: jobSchema(),
            variants: { type: "array", maxItems: MAX_VARIANTS, items: VARIANT },
            brief: { type: "boolean", description: "without the maps of blocks" },
          },
          required: ["job"],
          additionalProperties: false,
        },
      },
      async handle(context) {
        const { job, variants, brief = false, ...others } = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
        requireNoOthers(others, "job", ["job", "variants", "brief"]);
        if (typeof brief !== "boolean") throw refusal("brief", "true or false is wanted");
        const checked = checkPlanJob(job);
        const served = await withPictures(checkServed({ ...checked, prompt: checked.prompt ?? "" }), assets);
        const engine = openEngineOf(services);
        const shown = (plan: PlanReport) => (brief ? withoutMaps(plan) : plan);
        if (variants === undefined) return context.json(shown(await engine.plan(served)));
        const plans: unknown[] = [];
        for (const options of optionsOf(variants))
          plans.push(await planned(() => engine.plan(served as PlanJob, options), shown));
        return context.json({ plans });
      },
    },
    {
      ...{ method: "get", path: "/api/machines", summary: "The cards that plans can be made for" },
      handle: (context) =>
        context.json({
          machines: DESCRIBED_MACHINES.map((name) => {
            const { hardware, deviceBytes, ramBytes, basis } = describedMachine(name)!;
            return { name, hardware, deviceBytes, ramBytes, basis };
          }),
        }),
    },
    {
      ...{
        method: "get",
        path: "/api/telemetry",
        summary: "The plan that is carried out, and what the last picture took",
        answer: TELEMETRY,
      },
      async handle(context) {
        const info = await drawingInfo(services);
        if (!info) throw notReady("no worker has said yet what it has open");
        return context.json({ info, ...live.latest });
      },
    },
    {
      ...{ method: "get", path: "/api/telemetry/live", summary: "What lies where, as it changes" },
      answers: "text/event-stream",
      handle: () =>
        eventStream(async function* (signal) {
          const ends = AbortSignal.any([signal, services.closing]);
          for await (const { type, data } of live.listen(ends)) yield { event: type, data };
        }),
    },
  ];
}

/** Throws Refusal. */
function optionsOf(variants: unknown): readonly PlanOptions[] {
  const isList = Array.isArray(variants) && variants.length <= MAX_VARIANTS && variants.every(isJsonObject);
  if (!isList) throw refusal("variants", `up to ${MAX_VARIANTS} objects are wanted`);
  return variants.map(({ as, vram, ram, count, ...others }) => {
    const [unknown] = Object.keys(others);
    if (unknown !== undefined)
      throw refusal(unknown.slice(0, 60), "there is no such option (there are as, vram, ram, count)");
    const budgets = { ...(vram !== undefined && { vram }), ...(ram !== undefined && { ram }) };
    const options = { ...(as !== undefined && { as }), budgets, ...(count !== undefined && { count }) };
    return checkPlanOptions(options as PlanOptions);
  });
}

/** One that doesn't fit says so in its place. */
async function planned(plan: () => Promise<PlanReport>, shown: (plan: PlanReport) => PlanReport): Promise<unknown> {
  try {
    return shown(await plan());
  } catch (error) {
    const { status, code, message } = failureOf(error);
    if (status >= 500) throw error;
    return { error: { code, message } };
  }
}

function withoutMaps(plan: PlanReport): PlanReport {
  const phases = plan.phases?.map((phase) => ({
    ...phase,
    passes: phase.passes.map((pass) => ({ ...pass, map: [] })),
  }));
  return { ...plan, phases };
}

function refusal(subject: string, problem: string): Refusal {
  return new Refusal(400, { code: "E_QUERY", subject, problem, next: "see /openapi.json" });
}
