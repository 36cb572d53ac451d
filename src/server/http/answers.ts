/**
 * @file What the routes of /api and /v1 answer, for the document that clients are made from. Each schema is held to the type of what is sent, and
 * lets more fields in than it names.
 */
import * as z from "zod";
import type { EngineInfo } from "../../job/types.ts";
import type { ListedUpscaler } from "../../node/upscaler-files.ts";
import type { Asset } from "../pictures/assets.ts";
import type { GalleryDay, GalleryPicture } from "../pictures/gallery.ts";
import { JOB_STATES, type JobError } from "../queue/job-record.ts";
import type { WorkerEntry } from "../queue/workers.ts";
import type { ImportState } from "../work/imports.ts";

const text = z.string();
const whole = z.int();
const moment = z.iso.datetime();
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const anything = z.record(z.string(), z.unknown());

const ERROR = z.looseObject({ code: text, message: text }) satisfies z.ZodType<JobError>;

export const JOB = z.looseObject({
  id: z.uuid(),
  number: whole.meta({ description: "in the order of asking" }),
  hash: text.meta({ description: "jobs of the same one draw the same picture" }),
  job: anything.meta({ description: "what is drawn; nothing is left to chance in it" }),
  upscale: anything.optional().meta({ description: "of a picture that is enlarged by itself" }),
  model: text,
  owner: text.meta({ description: "the name of the key that asked" }),
  request: z.uuid().meta({ description: "shared by jobs that were asked for at once" }),
  state: z.enum(JOB_STATES),
  priority: whole,
  step: whole,
  steps: whole.optional(),
  preview: text
    .optional()
    .meta({ description: "address of what it looks like so far, or looked like when it was stopped" }),
  error: ERROR.optional(),
  asset: sha256.optional(),
  url: text.optional().meta({ description: "of its picture" }),
  createdAt: moment,
  startedAt: moment.optional(),
  finishedAt: moment.optional(),
});
export const JOBS = z.looseObject({ jobs: z.array(JOB) });
export const UPSCALE = z.looseObject({ job: JOB });
const UPSCALER = z.looseObject({ name: text, file: text, scale: whole }) satisfies z.ZodType<ListedUpscaler>;
export const UPSCALERS = z.looseObject({ upscalers: z.array(UPSCALER) });
export const GRID = z.looseObject({
  axes: z.array(z.looseObject({ name: text, texts: z.array(text) })),
  jobs: z
    .array(JOB.nullable())
    .meta({ description: "a cell each, the first axis counting fastest; null: not asked for in this part" }),
  next: whole.nullable().optional().meta({ description: "where from says to go on; null: nothing is left" }),
});

export const ASSET = z.looseObject({
  ...{ sha256, mediaType: text, bytes: whole, width: whole, height: whole },
}) satisfies z.ZodType<Asset>;

const GALLERY_PICTURE = z.looseObject({
  id: whole.meta({ description: "counts up" }),
  ...{ job: z.uuid(), asset: sha256, url: text, width: whole, height: whole, bytes: whole, mediaType: text },
  ...{ prompt: text, infotext: text, favourite: z.boolean(), createdAt: moment },
}) satisfies z.ZodType<GalleryPicture>;
export const GALLERY = z.looseObject({ pictures: z.array(GALLERY_PICTURE) });

const DAY = z.looseObject({
  ...{ day: text, ids: z.array(whole), favourites: z.array(whole) },
}) satisfies z.ZodType<GalleryDay>;
export const GALLERY_INDEX = z.looseObject({ days: z.array(DAY), total: whole });
export const CHANGED = z.looseObject({ changed: whole.meta({ description: "pictures" }) });

const ENGINE = z.looseObject({
  ...{ model: text, demo: z.boolean(), artifact: text.optional(), refiner: text.optional() },
  ...{ backend: z.enum(["cpu", "webgpu", "reference"]), adapter: text.optional(), precision: text },
  ...{ defaultWidth: whole, defaultHeight: whole },
}) satisfies z.ZodType<EngineInfo>;
const WORKER = z.looseObject({
  ...{ id: z.uuid(), name: text, models: z.array(text), contents: z.record(z.string(), text), info: ENGINE.optional() },
  ...{ startedAt: moment, seenAt: moment },
}) satisfies z.ZodType<WorkerEntry>;
export const WORKERS = z.looseObject({ workers: z.array(WORKER) });
/** Of the one that is open here more is told than its name. */
export const MODELS = z.looseObject({ models: z.array(z.looseObject({ name: text, ...ENGINE.partial().shape })) });
export const TELEMETRY = z.looseObject({ info: ENGINE });

export const IMPORT = z.looseObject({
  ...{ id: z.uuid(), model: text, state: z.enum(["waiting", "running", "done", "failed", "cancelled"]) },
  ...{ doneBytes: whole, totalBytes: whole, error: ERROR.optional(), result: text.optional() },
}) satisfies z.ZodType<ImportState>;
export const LIBRARY = z.looseObject({
  models: z.array(
    z.looseObject({ name: text, served: z.boolean(), importable: z.boolean(), problem: text.optional() }),
  ),
  adapters: z.array(z.looseObject({ id: text, kind: text, name: text, problem: text.optional() })),
  imports: z.array(IMPORT),
});

export const RECALLED = z.looseObject({
  ...{ format: text, width: whole.optional(), height: whole.optional(), notes: z.array(text) },
  source: text.optional().meta({ description: "the kind of text that it was read from" }),
  tool: text.optional().meta({ description: "the program that made it" }),
  job: anything.optional(),
  templates: z.record(z.string(), text).optional().meta({ description: "what prompts were drawn from, by field" }),
  model: text.optional(),
  remake: z
    .looseObject({ exact: z.boolean(), reasons: z.array(text) })
    .optional()
    .meta({ description: "whether it would be remade here byte for byte, and why not" }),
});

export const PLAN = z.looseObject({
  ...{ machine: text, basis: text, lanes: whole, predictedMs: z.number(), loadedBytes: whole, weightBytes: whole },
  phases: z.array(z.looseObject({ id: text, title: text, deviceBytes: whole, ramBytes: whole })),
});
export const PLANNED = z.union([
  PLAN,
  z.looseObject({ plans: z.array(z.union([PLAN, z.looseObject({ error: ERROR })])) }),
]);

export const SETTINGS = z.looseObject({ settings: anything });

export const OPENAI_MODELS = z.looseObject({
  object: z.literal("list"),
  data: z.array(z.looseObject({ id: text, object: z.literal("model"), created: whole, owned_by: text })),
});
export const OPENAI_PICTURES = z.looseObject({
  created: whole,
  data: z.array(z.looseObject({ b64_json: text.optional(), url: text.optional() })),
});
