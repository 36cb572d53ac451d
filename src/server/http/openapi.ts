/** @file The OpenAPI 3.1 document of the routes, for clients that are made from it. */
import * as z from "zod";
import type { JsonObject } from "../../source/json-fields.ts";
import { SOLVAY_VERSION } from "../../version.ts";
import { dialectOf } from "./dialects.ts";
import type { Route } from "./route.ts";

export function openApiDocument(routes: readonly Route[]): JsonObject {
  const paths: Record<string, Record<string, JsonObject>> = {};
  for (const route of routes) {
    const { method, path, summary, parameters = [], body, answers = "application/json", answer, status = 200 } = route;
    const names = [...path.matchAll(/:(\w+)/g)].map(([, name]) => name!);
    const inPath = names.map((name) => ({ name, in: "path", required: true, schema: { type: "string" } }));
    const operation = {
      summary,
      parameters: [...inPath, ...parameters],
      ...(body && { requestBody: { required: true, content: contentOf(body) } }),
      responses: {
        [status]: { description: "done", content: { [answers]: answer ? { schema: schemaOf(answer) } : {} } },
        default: {
          description: "refused, or failed",
          content: { "application/json": { schema: dialectOf(path).schema } },
        },
      },
    };
    const openPath = path.replace(/:(\w+)/g, "{$1}");
    paths[openPath] = { ...paths[openPath], [method]: operation };
  }
  return { openapi: "3.1.0", info: { title: "Solvay", version: SOLVAY_VERSION }, paths };
}

function schemaOf(answer: z.ZodType): JsonObject {
  const { $schema: _, ...schema } = z.toJSONSchema(answer);
  return { ...schema };
}

function contentOf(body: NonNullable<Route["body"]>): JsonObject {
  if ("schema" in body) return { "application/json": { schema: body.schema } };
  return Object.fromEntries(body.mediaTypes.map((type) => [type, {}]));
}
