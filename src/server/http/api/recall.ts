/** @file Our own routes that read pictures back: any program's, sent or stored here, as the settings that made them; and texts that were in some. */
import { recallOf, recallOfText } from "../../pictures/recall.ts";
import { drawingInfo, type Services } from "../../services.ts";
import { RECALLED } from "../answers.ts";
import { bytesOf, jsonOf, MAX_JSON_BYTES, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { notFound, Refusal, requireOnly } from "../failures.ts";
import type { Route } from "../route.ts";

/** What pictures are sent as. */
export const MEDIA_TYPES = ["image/png", "image/jpeg", "image/webp"];

/** Throws Refusal for what is not said to be a picture. */
export function requireMediaType(type = "none"): void {
  if (MEDIA_TYPES.includes(type)) return;
  const problem = `a picture is wanted (allowed ${MEDIA_TYPES.join(", ")})`;
  throw new Refusal(415, { code: "E_BODY", subject: type.slice(0, 80), problem, next: "say what it is" });
}

export function recallRoutes(services: Services): readonly Route[] {
  const recalled = async (bytes: Uint8Array) => await recallOf(bytes, await drawingInfo(services), services);
  return [
    {
      ...{ method: "post", path: "/api/pictures/read", summary: "The settings that a picture of any program holds" },
      answer: RECALLED,
      body: { mediaTypes: MEDIA_TYPES },
      async handle(context) {
        requireMediaType(context.req.header("content-type"));
        return context.json(await recalled(await bytesOf(context, MAX_PICTURE_BODY_BYTES)));
      },
    },
    {
      ...{ method: "post", path: "/api/texts/read", summary: "The settings in an infotext or a graph that was copied" },
      answer: RECALLED,
      body: {
        schema: {
          ...{ type: "object", properties: { text: { type: "string" } }, required: ["text"] },
          additionalProperties: false,
        },
      },
      async handle(context) {
        const body = await jsonOf(context, MAX_JSON_BYTES);
        requireOnly(body, ["text"]);
        const { text } = body;
        if (typeof text !== "string") {
          const problem = "a text is wanted";
          throw new Refusal(400, { code: "E_BODY", subject: "text", problem, next: 'send {"text": "..."}' });
        }
        return context.json(await recallOfText(text, await drawingInfo(services), services));
      },
    },
    {
      ...{ method: "get", path: "/api/assets/:sha256/settings", summary: "The settings that a stored picture holds" },
      answer: RECALLED,
      async handle(context) {
        const sha256 = context.req.param("sha256") ?? "";
        const read = /^[0-9a-f]{64}$/.test(sha256) ? await services.assets.read(sha256) : undefined;
        if (!read) throw notFound(sha256.slice(0, 64));
        return context.json(await recalled(read.bytes));
      },
    },
  ];
}
