/** @file A route: one row from which both the server and its OpenAPI document are made. */
import type { Context } from "hono";
import type * as z from "zod";
import type { JsonObject } from "../../source/json-fields.ts";
import { Refusal } from "./failures.ts";

export interface RouteEnv {
  readonly Variables: {
    /** The name of the key that asks; "" where there are no keys. */
    readonly owner: string;
  };
}

export type RouteContext = Context<RouteEnv>;

export interface Parameter {
  readonly name: string;
  readonly in: "query" | "header" | "path";
  readonly description: string;
  readonly schema: JsonObject;
}

export interface Route {
  readonly method: "get" | "post" | "delete";
  /** As Hono writes it: "/api/jobs/:id". */
  readonly path: string;
  readonly summary: string;
  readonly parameters?: readonly Parameter[];
  /** JSON Schema of the body, or the media types of a body of bytes. */
  readonly body?: { readonly schema: JsonObject } | { readonly mediaTypes: readonly string[] };
  /** What an answer is: "application/json" unless it says otherwise. */
  readonly answers?: string;
  /** What it holds, where it is JSON. */
  readonly answer?: z.ZodType;
  /** Of an answer: 200 unless it says otherwise. */
  readonly status?: 201 | 202;
  readonly handle: (context: RouteContext) => Response | Promise<Response>;
}

/** A whole number of a query. Throws Refusal. */
export function wholeOf(
  { req }: RouteContext,
  name: string,
  { min, max, standing }: { readonly min: number; readonly max: number; readonly standing: number },
): number {
  const text = req.query(name);
  if (text === undefined) return standing;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  const problem = `out of range (found ${JSON.stringify(text.slice(0, 30))}, allowed ${min} to ${max})`;
  throw new Refusal(400, { code: "E_QUERY", subject: name, problem, next: "give a value in that range" });
}
