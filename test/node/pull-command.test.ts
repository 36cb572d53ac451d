/** @file `solvay pull` as a command: what it prints, in words and as JSON. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import type { PullEvent } from "../../src/library/pull-events.ts";
import { fakeContext } from "./fake-context.ts";
import { MODEL } from "./fake-hub.ts";
import { bench } from "./pull-bench.ts";

test("the command prints the folder; --json prints events alone; the last line of an error tells", async (t) => {
  const b = await bench(t);
  const run = async (...args: string[]) => {
    const fake = fakeContext({ cwd: tmpdir() });
    const code = await runCli(["pull", ...args], { ...fake.context, env: b.env });
    return { code, out: fake.out(), err: fake.err() };
  };
  const json = await run(MODEL, "--json");
  const events = json.out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as PullEvent);
  assert.deepEqual([json.code, json.err], [0, ""]);
  assert.deepEqual([...new Set(events.map((e) => e.type))], ["file", "plan", "progress", "done"]);
  // Only what happens often passes now and then.
  const begun = events.flatMap((e) => (e.type === "file" ? [e.file] : []));
  assert.deepEqual([begun.length > 10, new Set(begun).size], [true, begun.length]);

  const plain = await run(MODEL);
  assert.equal(plain.out, `${path.join(b.repo, "snapshots", b.hub.commit)}\n`);
  assert.match(plain.err, /^Complete: \d+ files, .* \(nothing to fetch\)\. Use it: .* --model someone\/tiny-sdxl\n$/);

  const missing = await run("someone/else");
  assert.equal(missing.code, 3);
  assert.match(missing.err, /^E_HUB_NOT_FOUND someone\/else: .* Next: .*\n$/);
});

test("the command passes on which revision and weights are wanted, says how to use them, and what an abort leaves", async (t) => {
  const b = await bench(t);
  const run = async (env: Record<string, string>, ...args: string[]) => {
    const fake = fakeContext({ cwd: tmpdir() });
    const code = await runCli(["pull", MODEL, ...args], { ...fake.context, env: { ...b.env, ...env } });
    return { code, out: fake.out(), err: fake.err() };
  };
  const tagged = await run({}, "--revision", "v1");
  assert.match(tagged.err, /^Complete: .* \(fetched [^)]+\)\. Use it: .* --model "[^"]+snapshots[^"]+"\n$/);
  assert.ok(existsSync(path.join(b.repo, "refs/v1")) && !existsSync(path.join(b.repo, "refs/main")));
  const named = await run({}, "--revision", "main");
  assert.ok(named.err.endsWith(`--model ${MODEL}\n`), named.err);
  const offline = await run({ HF_HUB_OFFLINE: "1" });
  assert.match(offline.err, /\(offline, from the cache\)/);
  const fp16 = await run({}, "--variant", "none");
  assert.equal(fp16.code, 3, "only fp16 weights are there");
  const online = await run({ HF_ENDPOINT: "http://127.0.0.1:1" });
  assert.deepEqual([online.code, online.err.includes("is kept")], [5, false]);
  const fake = fakeContext({ cwd: tmpdir() });
  const onInterrupt = (handler: () => void) => {
    handler();
    return () => {};
  };
  assert.equal(await runCli(["pull", MODEL], { ...fake.context, env: b.env, onInterrupt }), 130);
  assert.match(fake.err(), /^What has come is kept: the same command goes on from there\.\nInterrupted\.\n$/);
  const json = fakeContext({ cwd: tmpdir() });
  assert.equal(await runCli(["pull", MODEL, "--json"], { ...json.context, env: b.env, onInterrupt }), 130);
  assert.equal(json.err(), "Interrupted.\n");
});
