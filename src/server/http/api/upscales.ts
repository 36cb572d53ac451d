/** @file Our own routes for pictures that a network enlarges by themselves: jobs of the same queue, within the same budgets. */
import * as z from "zod";
import { schemaOf } from "../../../job/field-schema.ts";
import { UPSCALE_FIELDS } from "../../../job/upscale.ts";
import { upscalerNamed, upscalerNames, upscalersIn } from "../../../node/upscaler-files.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import { askUpscale, openEngineOf, type Services } from "../../services.ts";
import { checkServedUpscale, withPicture } from "../../work/served-upscale.ts";
import { PLAN, UPSCALE, UPSCALERS } from "../answers.ts";
import { jsonOf, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { requireNoOthers } from "../failures.ts";
import type { Route } from "../route.ts";
import { askingOf, IDEMPOTENCY_KEY, jobView, PRIORITY } from "./jobs.ts";

export function upscaleRoutes(services: Services): readonly Route[] {
  const { upscalerDir } = services.model;
  const body = (more: JsonObject) => ({
    schema: {
      ...{ type: "object", properties: { upscale: upscaleSchema(), ...more }, required: ["upscale"] },
      additionalProperties: false,
    },
  });
  return [
    {
      ...{ method: "get", path: "/api/upscalers", summary: "The networks of this machine that enlarge pictures" },
      answer: UPSCALERS,
      handle: async (context) => context.json({ upscalers: await upscalersIn(upscalerDir) }),
    },
    {
      ...{ method: "post", path: "/api/upscales", summary: "Ask for a picture to be enlarged: a job as others are" },
      ...{ answer: UPSCALE, status: 201 },
      parameters: [IDEMPOTENCY_KEY],
      body: body({ priority: PRIORITY }),
      async handle(context) {
        const { upscale, priority, ...others } = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
        requireNoOthers(others, "upscale", ["upscale", "priority"]);
        const job = await askUpscale(services, checkServedUpscale(upscale), askingOf(context, priority));
        return context.json({ job: jobView(job) }, 201);
      },
    },
    {
      ...{ method: "post", path: "/api/upscales/plan", summary: "What it would take, without doing it" },
      answer: PLAN,
      body: body({}),
      async handle(context) {
        const { upscale, ...others } = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
        requireNoOthers(others, "upscale", ["upscale"]);
        const job = checkServedUpscale(upscale);
        const upscaler = upscalerNamed(await upscalerNames(upscalerDir), job.upscaler) ?? job.upscaler;
        const full = job.image.startsWith("data:") ? job : await withPicture(job, services.assets);
        return context.json(await openEngineOf(services).planUpscale({ ...full, upscaler }));
      },
    },
  ];
}

function upscaleSchema(): JsonObject {
  const { $schema: _, ...schema } = z.toJSONSchema(schemaOf(UPSCALE_FIELDS), { io: "input" });
  return { ...schema };
}
