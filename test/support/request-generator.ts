/** @file Requests made from an OpenAPI document: such as its schemas ask for, and such with something wrong in them. */
import fc from "fast-check";

type Json = Readonly<Record<string, unknown>>;

interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: Json }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: Json }>> };
}

export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export interface MadeRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** What has broken other servers. */
const EVIL = fc.constantFrom<unknown>(
  ...[
    "../../etc/passwd",
    "..%2f..%2fetc",
    "C:\\windows\\win.ini",
    "\\\\?\\C:\\x",
    "CON.png",
    "a\0b",
    "\ud800",
    "\u202e",
    "%00",
  ],
  ...[
    "http://169.254.169.254/",
    "http://127.1/a.png",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "data:,",
    "javascript:1",
  ],
  ...[
    "__proto__",
    "constructor",
    "toString",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "'; drop table x; --",
    "\r\nX-A: b",
  ],
  ...["sha256:../x", `sha256:${"0".repeat(64)}`, "(".repeat(300), "a".repeat(9000), "<sd_cpp_extra_args>".repeat(50)],
  ...[
    -1,
    0,
    1e308,
    -1e-300,
    2 ** 53,
    1.5,
    Number.MAX_SAFE_INTEGER,
    "NaN",
    "Infinity",
    "1e9",
    "0x10",
    true,
    null,
    [],
    {},
    [[[]]],
  ],
  ...["iVBORw0KGgo=", "iVBORw0KGgoAAAANSUhEUgAAT/8AAE//CAIAAAA=", "/9j/4AAQ", "UklGRgAAAABXRUJQ"],
);

/** Jobs stay small, whatever a schema allows. */
const LARGEST = { whole: 3, chars: 12, items: 2, pixels: 64 };

function arbitraryOf(schema: Json): fc.Arbitrary<unknown> {
  const anyOf = (schema.anyOf ?? schema.oneOf) as readonly Json[] | undefined;
  if (anyOf) return fc.oneof(...anyOf.map((each) => arbitraryOf(each)));
  if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as unknown[]));
  if ("const" in schema) return fc.constant(schema.const);
  const { minimum = 0 } = schema as { readonly minimum?: number };
  switch (schema.type) {
    case "object":
      return objectOf((schema.properties ?? {}) as Readonly<Record<string, Json>>, (schema.required ?? []) as string[]);
    case "array":
      return fc.array(arbitraryOf((schema.items ?? {}) as Json), { maxLength: LARGEST.items });
    case "integer":
      if (schema.multipleOf !== undefined) return fc.constant(LARGEST.pixels);
      return fc.integer({ min: minimum, max: minimum + LARGEST.whole });
    case "number":
      return fc.double({ min: minimum, max: minimum + 1, noNaN: true });
    case "boolean":
      return fc.boolean();
    case "string":
      return fc.string({ unit: "binary", maxLength: LARGEST.chars });
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function objectOf(properties: Readonly<Record<string, Json>>, required: readonly string[]): fc.Arbitrary<unknown> {
  const fields = Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, arbitraryOf(schema)]));
  // Few of them: with all at once some check always comes first.
  const all = Object.keys(fields);
  const names = fc.subarray(all, { maxLength: Math.min(5, all.length) });
  return names.chain((some) => {
    const chosen = [...new Set([...required.filter((name) => name in fields), ...some])];
    return fc.record(Object.fromEntries(chosen.map((name) => [name, fields[name]!])));
  });
}

/** One value in it, or beside it, is another one. */
function spoilt(value: unknown, evil: unknown, at: number): unknown {
  if (Array.isArray(value)) return [...value, evil];
  if (value === null || typeof value !== "object") return evil;
  const names = Object.keys(value);
  const name = names[at % (names.length + 1)];
  if (name === undefined) return { ...value, [`field${at}`]: evil };
  const inner = (value as Json)[name];
  const deeper = at % 3 === 0 && inner !== null && typeof inner === "object";
  return { ...value, [name]: deeper ? spoilt(inner, evil, at >> 2) : evil };
}

/** A body's text: JSON, or what is none. */
function bodyOf(schema: Json): fc.Arbitrary<string> {
  const spoiltText = fc
    .tuple(arbitraryOf(schema), EVIL, fc.nat(1000))
    .map(([value, evil, at]) => JSON.stringify(spoilt(value, evil, at)) ?? "");
  const broken = fc.tuple(arbitraryOf(schema), fc.nat(1000)).map(([value, at]) => {
    const text = JSON.stringify(value);
    return text.slice(0, at % (text.length + 1));
  });
  const strange = fc.constantFrom(
    "",
    "null",
    "[]",
    "7",
    '"x"',
    `${"[".repeat(60)}${"]".repeat(60)}`,
    '{"a":1,"a":2}',
    "{'a':1}",
  );
  return fc.oneof(
    { arbitrary: spoiltText, weight: 8 },
    { arbitrary: broken, weight: 1 },
    { arbitrary: strange, weight: 1 },
  );
}

const HEADERS = fc.constantFrom<Readonly<Record<string, string>>>(
  ...[
    {},
    {},
    {},
    {},
    { "idempotency-key": "a".repeat(300) },
    { "last-event-id": "-1" },
    { accept: "text/event-stream" },
  ],
  ...[
    { "x-forwarded-for": "1.2.3.4" },
    { "if-none-match": "*" },
    { range: "bytes=0-1" },
    { "x-http-method-override": "DELETE" },
  ],
);

/** One of the document's operations, `skipped` left out by their paths. */
export function requestsOf({ paths }: OpenApi, skipped: readonly string[]): fc.Arbitrary<MadeRequest> {
  const made = Object.entries(paths).flatMap(([path, operations]) =>
    skipped.includes(path)
      ? []
      : Object.entries(operations).map(([method, operation]) => requestOf(path, method, operation)),
  );
  return fc.oneof(...made);
}

function requestOf(
  path: string,
  method: string,
  { parameters = [], requestBody }: Operation,
): fc.Arbitrary<MadeRequest> {
  const text = fc.oneof(fc.string({ maxLength: 12 }), EVIL.map(String)).map((value) => value.toWellFormed());
  const query = parameters.filter((each) => each.in === "query").map(({ name }) => name);
  const [type = "application/json", content] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const body = requestBody ? bodyOf(content?.schema ?? {}) : fc.constant(undefined);
  const types = fc.constantFrom(
    type,
    type,
    type,
    type,
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=x",
    "x",
  );
  return fc
    .tuple(fc.array(text, { minLength: 3, maxLength: 3 }), fc.subarray(query), body, types, HEADERS)
    .map(([texts, asked, sent, sentType, headers]) => {
      const place = path.replace(/\{\w+\}/g, encodeURIComponent(texts[0]!));
      const pairs = asked.map((name, at) => `${name}=${encodeURIComponent(texts[(at + 1) % 3]!)}`);
      return {
        method: method.toUpperCase(),
        path: pairs.length > 0 ? `${place}?${pairs.join("&")}` : place,
        headers: sent === undefined ? headers : { ...headers, "content-type": sentType },
        ...(sent !== undefined && { body: sent }),
      };
    });
}
