/** @file Bodies of JSON: how deep they may be, whatever stands in their texts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonOf } from "../../src/server/http/bodies.ts";

const read = async (text: string) => {
  const headers = new Map([["content-type", "application/json"]]);
  const raw = new Request("http://x", { method: "POST", body: text });
  return await jsonOf({ req: { header: (name: string) => headers.get(name), raw } } as never, 10_000);
};
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
