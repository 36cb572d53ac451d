/** @file Our own routes for pictures and models: assets by their hash, and what is served. */

import { modelNamed } from "../../../library/model-name.ts";
import { drawingInfo, type Services } from "../../services.ts";
import { ASSET, MODELS } from "../answers.ts";
import { bytesOf, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { notFound } from "../failures.ts";
import type { Route } from "../route.ts";
import { MEDIA_TYPES, requireMediaType } from "./recall.ts";

export function pictureRoutes(services: Services): readonly Route[] {
  const { assets } = services;
  return [
    {
      ...{ method: "post", path: "/api/assets", summary: "Upload a picture; jobs name it by sha256: and its hash" },
      ...{ answer: ASSET, status: 201 },
      body: { mediaTypes: MEDIA_TYPES },
      async handle(context) {
        requireMediaType(context.req.header("content-type"));
        return context.json(await assets.add(await bytesOf(context, MAX_PICTURE_BODY_BYTES), "the body"), 201);
      },
    },
    {
      ...{ method: "get", path: "/api/assets/:sha256", summary: "A picture by its hash", answers: "image/*" },
      async handle(context) {
        const sha256 = context.req.param("sha256") ?? "";
        const read = /^[0-9a-f]{64}$/.test(sha256) ? await assets.read(sha256) : undefined;
        if (!read) throw notFound(sha256.slice(0, 64));
        // What a hash names never changes.
        const headers = {
          "content-type": read.asset.mediaType,
          "cache-control": "private, max-age=31536000, immutable",
          etag: `"${sha256}"`,
        };
        if (context.req.header("if-none-match") === headers.etag) return new Response(null, { status: 304, headers });
        return new Response(read.bytes, { headers });
      },
    },
    {
      ...{ method: "get", path: "/api/models", summary: "What is served", answer: MODELS },
      async handle(context) {
        // Of the one that is open here more is known than its name.
        const info = await drawingInfo(services);
        const names = await services.models.names();
        const open = info && modelNamed(info.model).model;
        return context.json({ models: names.map((name) => ({ name, ...(name === open && info) })) });
      },
    },
  ];
}
