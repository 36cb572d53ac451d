/** @file Our own routes for what lies on this machine: models that are served and that could be, adapters with their pictures, imports. */

import { modelNamed } from "../../../library/model-name.ts";
import { type CachedModel, cachedModels } from "../../../node/hub/cached-models.ts";
import { smallPicture } from "../../pictures/thumbnails.ts";
import type { Services } from "../../services.ts";
import { IMPORT, LIBRARY } from "../answers.ts";
import { jsonOf, MAX_JSON_BYTES } from "../bodies.ts";
import { notFound, Refusal, requireOnly } from "../failures.ts";
import type { Route } from "../route.ts";

export function libraryRoutes(services: Services): readonly Route[] {
  const { found, imports } = services;
  const cached = async (): Promise<readonly CachedModel[]> => await cachedModels(found.env);
  // Of a model that lies in the store already, or comes with the program, there is nothing to import.
  const ownFiles = (name: string) => {
    const { model, vae, config, base, prediction } = services.models.ownRequest(name) ?? {};
    return model === undefined || model.startsWith("store:") ? undefined : { model, vae, config, base, prediction };
  };
  return [
    {
      ...{ method: "get", path: "/api/library", summary: "Models and adapters that lie on this machine" },
      answer: LIBRARY,
      async handle(context) {
        const { signal } = context.req.raw;
        const [names, hub, adapters] = await Promise.all([
          services.models.names(),
          cached(),
          found.adapters.list(signal),
        ]);
        const open = services.engine()?.info.model;
        const opened = open === undefined ? undefined : modelNamed(open).model;
        const served = names.map((name) => ({
          ...{ name, served: true, standing: name === services.models.standing, open: name === opened },
          importable: ownFiles(name) !== undefined,
        }));
        const others = hub
          .filter(({ id }) => !names.includes(id))
          .map(({ id, problem }) => ({
            ...{ name: id, served: false, importable: problem === undefined },
            ...(problem !== undefined && { problem }),
          }));
        return context.json({ models: [...served, ...others], adapters, imports: imports.all });
      },
    },
    {
      ...{ method: "get", path: "/api/library/:id/thumbnail", summary: "The picture beside an adapter's file" },
      answers: "image/webp",
      async handle(context) {
        const id = context.req.param("id") ?? "";
        const picture = /^[0-9a-f]{24}$/.test(id) ? await found.adapters.picture(id) : undefined;
        if (!picture) throw notFound(id.slice(0, 24));
        const headers = { "content-type": "image/webp", "cache-control": "private, max-age=3600" };
        return new Response(await smallPicture(picture), { headers });
      },
    },
    {
      ...{ method: "post", path: "/api/library/import", summary: "Put a model of /api/library into the block store" },
      ...{ answer: IMPORT, status: 202 },
      body: {
        schema: {
          ...{ type: "object", properties: { model: { type: "string" } }, required: ["model"] },
          additionalProperties: false,
        },
      },
      async handle(context) {
        const body = await jsonOf(context, MAX_JSON_BYTES);
        requireOnly(body, ["model"]);
        const { model } = body;
        const own = typeof model === "string" ? ownFiles(model) : undefined;
        if (own) return context.json(imports.begin(String(model), own), 202);
        const known = (await cached()).find(({ id }) => id === model);
        if (known && known.problem === undefined) return context.json(imports.begin(known.id), 202);
        // Paths are for who runs the server.
        const problem = known?.problem ?? "there is no such model to import";
        const subject = typeof model === "string" ? model.slice(0, 80) : "model";
        throw new Refusal(404, { code: "E_MODEL", subject, problem, next: "name one of /api/library" });
      },
    },
    {
      ...{ method: "post", path: "/api/library/imports/:id/cancel", summary: "Stop an import; it can go on later" },
      answer: IMPORT,
      handle(context) {
        const id = context.req.param("id") ?? "";
        const state = imports.cancel(id);
        if (!state) throw notFound(id.slice(0, 40));
        return context.json(state);
      },
    },
  ];
}
