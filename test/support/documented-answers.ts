/** @file Whether what a server answers is what its OpenAPI document says, by zod's own reading of JSON Schema. */
import * as z from "zod";
import type { OpenApi } from "./request-generator.ts";

type JsonSchema = Parameters<typeof z.fromJSONSchema>[0];

interface Documented {
  readonly method: string;
  readonly path: RegExp;
  /** By status, or "default". */
  readonly answers: ReadonlyMap<string, z.ZodType>;
}

interface Responses {
  readonly responses?: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: JsonSchema }>> }>
  >;
}

export class DocumentedAnswers {
  readonly #operations: readonly Documented[];

  constructor({ paths }: OpenApi) {
    this.#operations = Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, operation]) => ({
        method: method.toUpperCase(),
        path: new RegExp(`^${path.replace(/\{\w+\}/g, "[^/]+")}$`),
        answers: answersOf(operation as Responses),
      })),
    );
  }

  /** What is wrong with an answer in JSON; undefined: nothing. `path`: with its query. */
  problem(method: string, path: string, status: number, body: unknown): string | undefined {
    const [plain = ""] = path.split("?");
    const fits = this.#operations.filter((each) => each.path.test(plain));
    const operation = fits.find((each) => each.method === method);
    // Of unknown paths and methods the document says nothing.
    if (!operation) return undefined;
    const schema = operation.answers.get(String(status)) ?? operation.answers.get("default");
    if (!schema) return `the document has no status ${status} of ${method} ${plain}`;
    const result = schema.safeParse(body);
    return result.success ? undefined : z.prettifyError(result.error);
  }
}

/** An answer of which the document doesn't say what it holds may hold anything. */
function answersOf({ responses = {} }: Responses): ReadonlyMap<string, z.ZodType> {
  const schemas = Object.entries(responses).map(([status, { content }]) => {
    const schema = content?.["application/json"]?.schema;
    return [status, schema ? z.fromJSONSchema(schema) : z.unknown()] as const;
  });
  return new Map(schemas);
}
