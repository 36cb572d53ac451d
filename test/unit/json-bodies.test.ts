/** @file Bodies of JSON: how deep they may be, whatever stands in their texts; and that no route of ours takes a field that it says it has not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { galleryRoutes } from "../../src/server/http/api/gallery.ts";
import { gridRoutes } from "../../src/server/http/api/grids.ts";
import { jobRoutes } from "../../src/server/http/api/jobs.ts";
import { libraryRoutes } from "../../src/server/http/api/library.ts";
import { planningRoutes } from "../../src/server/http/api/planning.ts";
import { recallRoutes } from "../../src/server/http/api/recall.ts";
import { settingRoutes } from "../../src/server/http/api/settings.ts";
import { upscaleRoutes } from "../../src/server/http/api/upscales.ts";
import { jsonOf } from "../../src/server/http/bodies.ts";

const asking = (text: string) => {
  const headers = new Map([["content-type", "application/json"]]);
  const raw = new Request("http://x", { method: "POST", body: text });
  return { req: { header: (name: string) => headers.get(name), raw } } as never;
};
const read = (text: string) => jsonOf(asking(text), 10_000);
const nested = (depth: number) => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;

test("32 brackets may be open, 33 not (E_JSON); those in texts don't count, behind an escaped quote neither", async () => {
  await read(nested(32));
  await assert.rejects(read(nested(33)), { code: "E_JSON" });
  const text = `${"[{".repeat(40)}"${"[{".repeat(40)}\\`;
  assert.deepEqual(await read(JSON.stringify({ text })), { text });
  // What looks like an escape and is none ends no text.
  for (const end of ["/", "\\\\", 'n\\"']) {
    await assert.rejects(read(`{"a":"${end}","b":${nested(33)}}`), { code: "E_JSON" }, end);
  }
});

test("a field that a body's schema has not is refused by its name on every route of ours, before anything is done (E_BODY, E_JOB, E_GRID)", async () => {
  // Whatever a route asked of it would answer otherwise.
  const services = { model: {}, found: {} } as never;
  const routes = [
    ...[jobRoutes, gridRoutes, upscaleRoutes, planningRoutes, galleryRoutes],
    ...[libraryRoutes, settingRoutes, recallRoutes],
  ].flatMap((of) => of(services));
  const strict = routes.flatMap(({ path, body, handle }) =>
    body && "schema" in body ? [{ path, schema: body.schema, handle }] : [],
  );
  assert.equal(strict.length, 13);
  for (const { path, schema, handle } of strict) {
    assert.equal(schema.additionalProperties, false, path);
    const body = Object.fromEntries((schema.required as string[]).map((name) => [name, null]));
    const refused = async () => await handle(asking(JSON.stringify({ no_such_field: 1, ...body })));
    await assert.rejects(refused, { status: 400, subject: "no_such_field" }, path);
  }
});
