/** @file Settings that pages keep with a server: each key's own, bounded, all or none of a request. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { Keys } from "../../src/server/http/keys.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";

const [ONE, OTHER] = ["0123456789abcdef0123", "fedcba98765432100000"];
let folder: string;
let server: RunningServer;
before(async () => {
  folder = await serverFolder();
  server = await pretendingServer({ folder, keys: Keys.fromText(`one:${ONE}\nother:${OTHER}\n`, "keys") });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function settings(key: string, changes?: unknown): Promise<unknown> {
  const headers = {
    authorization: `Bearer ${key}`,
    ...(changes !== undefined && { "content-type": "application/json" }),
  };
  const body = changes === undefined ? {} : { method: "POST", body: JSON.stringify({ settings: changes }) };
  const answer = await fetch(`${server.url}/api/settings`, { headers, ...body });
  const json = (await answer.json()) as { settings?: unknown; error?: { code: string } };
  return json.settings ?? [answer.status, json.error?.code];
}

test("without a key nothing is told but that the server lives", async () => {
  const statusOf = async (path: string, authorization?: string) =>
    (await fetch(server.url + path, { headers: authorization === undefined ? {} : { authorization } })).status;
  for (const path of [
    ...["/metrics", "/openapi.json", "/api/jobs", "/api/settings", "/api/gallery", "/", "/nowhere"],
    ...["/sdapi/v1/options", "/v1/models", "/mcp"],
  ]) {
    assert.equal(await statusOf(path), 401, path);
    assert.equal(await statusOf(path, `Bearer ${ONE.slice(1)}`), 401, path);
  }
  assert.deepEqual([await statusOf("/metrics", `Bearer ${ONE}`), await statusOf("/healthz")], [200, 200]);
  assert.notEqual(await statusOf("/readyz"), 401);
});

test("what one key keeps is its own; null takes a value away", async () => {
  assert.deepEqual(await settings(ONE), {});
  const kept = { language: "de", prompts: ["a lake", "'; drop table solvay.settings; --"] };
  assert.deepEqual(await settings(ONE, kept), kept);
  assert.deepEqual(await settings(ONE, { language: null, theme: "dark" }), { prompts: kept.prompts, theme: "dark" });
  assert.deepEqual(await settings(OTHER), {});
});

test("names and sizes are bounded, and of a refused request nothing is kept", async () => {
  const refused = [400, "E_SETTING"];
  const before = await settings(ONE);
  // With those that are kept one more than 64.
  const more = 65 - Object.keys(before as object).length;
  const many = Object.fromEntries(Array.from({ length: more }, (_, i) => [`n${i}`, i]));
  for (const changes of [
    { fine: 1, "not fine": 2 },
    { fine: 1, large: "x".repeat(32_768) },
    { fine: 1, zero: "a\0b" },
    many,
    "all",
    ["a"],
  ]) {
    assert.deepEqual(await settings(ONE, changes), refused, JSON.stringify(changes).slice(0, 60));
  }
  assert.deepEqual(await settings(ONE), before);
});
