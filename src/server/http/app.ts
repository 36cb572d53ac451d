/** @file All routes as one Hono app: who asks, errors in the caller's dialect, what is counted and logged. */
import { Hono } from "hono";
import type { Logger } from "pino";
import type { Services } from "../services.ts";
import type { Studio } from "../studio/studio.ts";
import { webUiRoutes } from "./a1111/routes.ts";
import { galleryRoutes } from "./api/gallery.ts";
import { gridRoutes } from "./api/grids.ts";
import { jobRoutes } from "./api/jobs.ts";
import { libraryRoutes } from "./api/library.ts";
import { pictureRoutes } from "./api/pictures.ts";
import { planningRoutes } from "./api/planning.ts";
import { recallRoutes } from "./api/recall.ts";
import { schemaRoutes } from "./api/schema.ts";
import { settingRoutes } from "./api/settings.ts";
import { upscaleRoutes } from "./api/upscales.ts";
import { dialectOf } from "./dialects.ts";
import { failureOf, notFound, Refusal, wrongMethod } from "./failures.ts";
import type { Keys } from "./keys.ts";
import { mcpRoutes } from "./mcp/routes.ts";
import { openAiRoutes } from "./openai/routes.ts";
import { openApiDocument } from "./openapi.ts";
import type { Route, RouteEnv } from "./route.ts";

export interface AppOptions {
  readonly services: Services;
  /** Undefined: anybody who can reach it may ask. */
  readonly keys: Keys | undefined;
  readonly logger: Logger;
  readonly studio: Studio;
}

export function serverApp({ services, keys, logger, studio }: AppOptions): Hono<RouteEnv> {
  const app = new Hono<RouteEnv>();
  const { metrics, engine, worker } = services;
  app.use(async (context, next) => {
    const beganMs = performance.now();
    await next();
    const { method, path } = context.req;
    const { status } = context.res;
    metrics.request(method, status);
    logger.info({ method, path, status, ms: Math.round(performance.now() - beganMs) }, "answered");
  });
  const ready = () => !worker || engine() !== undefined;
  app.get("/readyz", (context) => context.json({ ready: ready() }, ready() ? 200 : 503));
  app.use(async (context, next) => {
    const owner = keys ? keys.nameOf(context.req.header("authorization")) : "";
    if (owner === undefined) {
      throw new Refusal(401, {
        code: "E_API_KEY",
        problem: "an API key of this server is wanted",
        next: "send Authorization: Bearer KEY",
      });
    }
    context.set("owner", owner);
    await next();
  });
  app.get("/metrics", () => metrics.answer());
  const routes = [
    ...jobRoutes(services),
    ...pictureRoutes(services),
    ...recallRoutes(services),
    ...galleryRoutes(services),
    ...schemaRoutes(services),
    ...gridRoutes(services),
    ...upscaleRoutes(services),
    ...planningRoutes(services),
    ...libraryRoutes(services),
    ...settingRoutes(services),
    ...openAiRoutes(services),
    ...webUiRoutes(services),
    ...mcpRoutes(services),
  ];
  for (const { method, path, handle } of routes) app.on(method, path, handle);
  for (const [path, allowed] of methodsByPath(routes)) {
    app.all(path, ({ req }) => {
      throw wrongMethod(req.method, allowed);
    });
  }
  const document = openApiDocument(routes);
  app.get("/openapi.json", (context) => context.json(document));
  app.use(async (context, next) => (await studio.answer(context.req.raw)) ?? (await next()));
  app.notFound((context) => failed(context.req.path, notFound(context.req.path.slice(0, 80))));
  app.onError((error, context) => {
    const answer = failed(context.req.path, error);
    // Others know why they are refused.
    if (answer.status === 500) services.onFailure(error);
    return answer;
  });
  return app;
}

function methodsByPath(routes: readonly Route[]): ReadonlyMap<string, readonly string[]> {
  const methods = new Map<string, readonly string[]>();
  for (const { method, path } of routes) {
    // A route that is read answers HEAD as well.
    const more = method === "get" ? ["GET", "HEAD"] : [method.toUpperCase()];
    methods.set(path, [...(methods.get(path) ?? []), ...more]);
  }
  return methods;
}

/** The answer to a request that failed. */
export function failed(path: string, error: unknown): Response {
  const failure = failureOf(error);
  const headers: Record<string, string> = {};
  if (failure.retryAfterS !== undefined) headers["retry-after"] = String(failure.retryAfterS);
  if (failure.status === 401) headers["www-authenticate"] = 'Basic realm="Solvay"';
  if (failure.allowed) headers.allow = failure.allowed.join(", ");
  return Response.json(dialectOf(path).body(failure), { status: failure.status, headers });
}
