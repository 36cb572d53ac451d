/** @file How an error is told to whoever asks: in the shape that clients of each family of routes know, with the JSON Schema of that shape. */
import type { JsonObject } from "../../source/json-fields.ts";
import type { HttpFailure } from "./failures.ts";

export interface Dialect {
  readonly body: (failure: HttpFailure) => JsonObject;
  readonly schema: JsonObject;
}

/** OpenAI's kinds of errors; others are the request's fault. */
const OPENAI_TYPES: Readonly<Record<number, string>> = {
  ...{ 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error" },
  ...{ 500: "server_error", 503: "server_error" },
};

const TEXT = { type: "string" };
const TEXT_OR_NULL = { type: ["string", "null"] };

const OURS: Dialect = {
  body: ({ code, message }) => ({ error: { code, message } }),
  schema: objectOf({ error: objectOf({ code: TEXT, message: TEXT }) }),
};

/** By the beginning of a route's path. */
const DIALECTS: Readonly<Record<string, Dialect>> = {
  "/v1/": {
    body: ({ status, code, message, subject = null }) => ({
      error: {
        message,
        type: OPENAI_TYPES[status] ?? "invalid_request_error",
        param: status === 400 ? subject : null,
        code,
      },
    }),
    schema: objectOf({ error: objectOf({ message: TEXT, type: TEXT, param: TEXT_OR_NULL, code: TEXT }) }),
  },
  "/mcp": {
    body: ({ status, code, message }) => ({
      ...{ jsonrpc: "2.0", id: null },
      error: { code: status >= 500 ? -32603 : -32600, message, data: { code } },
    }),
    schema: objectOf({
      ...{ jsonrpc: { const: "2.0" }, id: { type: ["string", "integer", "null"] } },
      error: {
        ...objectOf({ code: { type: "integer" }, message: TEXT }),
        properties: { code: { type: "integer" }, message: TEXT, data: {} },
      },
    }),
  },
  "/sdapi/": {
    body: ({ code, message }) => ({ error: code, detail: message, body: "", errors: message }),
    schema: objectOf({ error: TEXT, detail: TEXT, body: TEXT, errors: TEXT }),
  },
};

export function dialectOf(path: string): Dialect {
  return Object.entries(DIALECTS).find(([start]) => path.startsWith(start))?.[1] ?? OURS;
}

function objectOf(properties: JsonObject): JsonObject {
  return { type: "object", properties, required: Object.keys(properties) };
}
