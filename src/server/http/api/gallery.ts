/** @file Our own routes for the gallery: found, listed by day, marked, deleted and brought back; small pictures of it. */

import type { JsonObject } from "../../../source/json-fields.ts";
import {
  assetOf,
  deletePictures,
  type GalleryFilter,
  galleryIndex,
  KEPT_DAYS,
  markFavourite,
  restorePictures,
  searchGallery,
} from "../../pictures/gallery.ts";
import type { Services } from "../../services.ts";
import { CHANGED, GALLERY, GALLERY_INDEX } from "../answers.ts";
import { jsonOf, MAX_JSON_BYTES } from "../bodies.ts";
import { notFound, Refusal, requireOnly } from "../failures.ts";
import { type Parameter, type Route, type RouteContext, wholeOf } from "../route.ts";

const MAX_ID = 1e15;
/** Pictures of one request. */
const MAX_IDS = 1000;
/** Of any clock's distance from UTC. */
const MAX_OFFSET_MINUTES = 840;
const IDS: JsonObject = {
  ...{ type: "array", minItems: 1, maxItems: MAX_IDS },
  items: { type: "integer", minimum: 1, maximum: MAX_ID },
};

const FILTER: readonly Parameter[] = [
  {
    ...{ name: "q", in: "query", schema: { type: "string" } },
    description: 'words of the infotext and settings: lake "at dawn" -boat steps:30 guidance:>6',
  },
  { name: "favourite", in: "query", description: "only favourites", schema: { type: "integer", enum: [0, 1] } },
  {
    ...{ name: "deleted", in: "query", schema: { type: "integer", enum: [0, 1] } },
    description: `what was deleted in the last ${KEPT_DAYS} days instead`,
  },
];

export function galleryRoutes(services: Services): readonly Route[] {
  const { database, thumbnails } = services;
  const change = (
    name: string,
    summary: string,
    more: JsonObject,
    what: (ids: readonly number[], body: JsonObject) => Promise<JsonObject>,
  ) => {
    const properties: JsonObject = { ids: IDS, ...more };
    const names = Object.keys(properties);
    return {
      ...({ method: "post", path: `/api/gallery/${name}`, summary, answer: CHANGED } as const),
      body: { schema: { type: "object", properties, required: names, additionalProperties: false } },
      async handle(context: RouteContext) {
        const body = await jsonOf(context, MAX_JSON_BYTES);
        requireOnly(body, names);
        return context.json(await what(idsOf(body.ids), body));
      },
    };
  };
  return [
    {
      ...{ method: "get", path: "/api/gallery", summary: "The pictures that were drawn, the newest first" },
      answer: GALLERY,
      parameters: [
        ...FILTER,
        { name: "ids", in: "query", description: "only these, with commas between", schema: { type: "string" } },
        { name: "before", in: "query", description: "only those before this number", schema: { type: "integer" } },
        {
          ...{ name: "limit", in: "query", description: "how many" },
          schema: { type: "integer", minimum: 1, maximum: 200, default: 50 },
        },
      ],
      async handle(context) {
        const text = context.req.query("ids");
        const before = wholeOf(context, "before", { min: 1, max: MAX_ID, standing: MAX_ID });
        const limit = wholeOf(context, "limit", { min: 1, max: 200, standing: 50 });
        const ids = text === undefined ? undefined : idsOf(text.split(",").map(Number));
        const pictures = await searchGallery(database, { ...filterOf(context), ids, before, limit });
        return context.json({ pictures: pictures.map((each) => ({ ...each, url: `/api/assets/${each.asset}` })) });
      },
    },
    {
      ...{ method: "get", path: "/api/gallery/index", summary: "The numbers of all pictures that match, by day" },
      answer: GALLERY_INDEX,
      parameters: [
        ...FILTER,
        {
          ...{ name: "offset", in: "query", description: "minutes of the reader's clock before UTC's" },
          schema: { type: "integer", minimum: -MAX_OFFSET_MINUTES, maximum: MAX_OFFSET_MINUTES, default: 0 },
        },
      ],
      async handle(context) {
        const offset = Number(context.req.query("offset") ?? 0);
        if (!Number.isInteger(offset) || Math.abs(offset) > MAX_OFFSET_MINUTES) {
          const problem = `whole minutes from -${MAX_OFFSET_MINUTES} to ${MAX_OFFSET_MINUTES} are wanted`;
          throw new Refusal(400, { code: "E_QUERY", subject: "offset", problem, next: "give such a value" });
        }
        const days = await galleryIndex(database, filterOf(context), offset);
        const total = days.reduce((sum, { ids }) => sum + ids.length, 0);
        return context.json({ days, total });
      },
    },
    {
      ...{ method: "get", path: "/api/gallery/:id/thumbnail", summary: "A small picture", answers: "image/webp" },
      async handle(context) {
        const id = context.req.param("id") ?? "";
        const sha256 = /^\d{1,15}$/.test(id) ? await assetOf(database, Number(id)) : undefined;
        if (sha256 === undefined) throw notFound(id.slice(0, 40));
        // A number stays its picture's.
        const headers = {
          "content-type": "image/webp",
          "cache-control": "private, max-age=31536000, immutable",
          etag: `"${sha256}"`,
        };
        if (context.req.header("if-none-match") === headers.etag) return new Response(null, { status: 304, headers });
        const bytes = await thumbnails.of(sha256);
        if (!bytes) throw notFound(id);
        return new Response(bytes, { headers });
      },
    },
    change(
      "favourite",
      "Mark pictures as favourites, or not any more",
      { favourite: { type: "boolean" } },
      async (ids, { favourite }) => {
        if (typeof favourite !== "boolean") throw wrong("favourite", "true or false is wanted");
        return { changed: await markFavourite(database, ids, favourite) };
      },
    ),
    change("delete", `Delete pictures, which can be brought back for ${KEPT_DAYS} days`, {}, async (ids) => {
      return { changed: await deletePictures(database, ids), keptDays: KEPT_DAYS };
    }),
    change("restore", "Bring deleted pictures back", {}, async (ids) => {
      return { changed: await restorePictures(database, ids) };
    }),
  ];
}

function filterOf(context: RouteContext): GalleryFilter {
  const is = (name: string) => wholeOf(context, name, { min: 0, max: 1, standing: 0 }) === 1;
  return { words: context.req.query("q"), favourite: is("favourite"), deleted: is("deleted") };
}

/** Throws Refusal. */
function idsOf(value: unknown): readonly number[] {
  const isId = (id: unknown): id is number => Number.isInteger(id) && Number(id) >= 1 && Number(id) <= MAX_ID;
  if (Array.isArray(value) && value.length > 0 && value.length <= MAX_IDS && value.every(isId)) return value;
  throw wrong("ids", `1 to ${MAX_IDS} numbers of pictures are wanted`);
}

function wrong(subject: string, problem: string): Refusal {
  return new Refusal(400, { code: "E_QUERY", subject, problem, next: "see /openapi.json" });
}
