/** @file `solvay store` and `import`: what they say in words and as JSON, and how they end. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type FakeOptions, runFake } from "./fake-context.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-store-"));
const run = (line: readonly string[], options: Partial<FakeOptions> = {}) =>
  runFake(line, { cwd: folder(), ...options });

test("the store's commands: what they say, in words and as JSON, and their exit codes", async () => {
  const cwd = folder();
  const solvay = async (...line: string[]) => {
    const found = await run([...line, "--store", "s"], { cwd });
    const json = line.includes("--json") ? JSON.parse(found.out().trimEnd().split("\n").at(-1)!) : undefined;
    return { ...found, json };
  };
  const imported = await solvay("import", MODEL);
  const id = imported.out().trim();
  assert.match(id, /^[0-9a-f]{64}$/);
  assert.match(imported.err(), /Imported: .* written\nUse it: solvay generate "PROMPT" --model store:[0-9a-f]{12}\n$/);
  const again = await solvay("import", MODEL, "--json");
  assert.deepEqual(
    [again.json.type, again.json.id, again.json.reused, again.json.artifact],
    ["done", id, true, undefined],
  );
  const [listed] = (await solvay("store", "list", "--json")).json.models;
  assert.deepEqual([listed.id, listed.name, listed.problem], [id, MODEL, undefined]);
  assert.match((await solvay("store", "list")).out(), new RegExp(`^${id.slice(0, 12)}  .* ${listed.blocks} blocks  `));
  assert.deepEqual((await solvay("store", "verify", id, "--json")).json, { ok: true, id, problems: [] });
  const packs = path.join(cwd, "s/packs");
  const [pack] = readdirSync(packs);
  const bytes = readFileSync(path.join(packs, pack!));
  bytes[5000]! ^= 1;
  writeFileSync(path.join(packs, pack!), bytes);
  const bad = await solvay("store", "verify", id.slice(0, 8), "--json");
  assert.deepEqual([bad.exitCode, bad.json.code], [3, "E_STORE_DAMAGED"]);
  const report = JSON.parse(bad.out().split("\n")[0]!);
  assert.deepEqual([report.ok, report.id, report.problems.length], [false, id, 1]);
  assert.match(bad.last, /^E_STORE_DAMAGED [0-9a-f]{8}: 1 problem\. Next: repair it with: solvay store repair /);
  const { json: repaired } = await solvay("store", "repair", id, "--json");
  assert.deepEqual([repaired.ok, repaired.id, repaired.repaired.length, repaired.problems], [true, id, 1, []]);
  assert.equal((await solvay("store", "repair", id)).out(), "nothing to repair\n");
  const removed = (await solvay("store", "remove", id, "--json")).json;
  assert.deepEqual([removed.id, removed.imports], [id, 0]);
  assert.ok(removed.packs > 0 && removed.bytes > 0);
  mkdirSync(path.join(cwd, "s/imports/left"));
  assert.match((await solvay("store", "clean")).out(), /^0 packs \(0 B\) and 1 unfinished imports removed\n$/);
  assert.deepEqual((await solvay("store", "list")).out(), "The store is empty.\n");
  const gone = await solvay("store", "verify", id);
  assert.equal(gone.exitCode, 2);
  assert.match(gone.last, /^E_STORE_MODEL /);
});

test("a repair that can't be made says so, and ends with exit code 3", async () => {
  const cwd = folder();
  await fs.cp(MODEL, path.join(cwd, "model"), { recursive: true });
  const made = await run(["import", "model", "--store", "s", "--json"], { cwd });
  const { id } = JSON.parse(made.out().trimEnd().split("\n").at(-1)!);
  const types = made
    .out()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).type);
  // What happens seldom is never thinned out.
  assert.deepEqual(
    ["component", "done", "codec"].filter((type) => !types.includes(type)),
    [],
  );
  assert.equal(types.filter((type) => type === "component").length, 5);
  const packs = path.join(cwd, "s/packs");
  for (const pack of readdirSync(packs)) {
    const bytes = readFileSync(path.join(packs, pack));
    bytes[5000]! ^= 1;
    writeFileSync(path.join(packs, pack), bytes);
  }
  // The same names and sizes, other weights.
  const file = path.join(cwd, "model/unet/diffusion_pytorch_model.safetensors");
  const weights = readFileSync(file);
  weights.fill(0, 8 + Number(weights.readBigUInt64LE(0)));
  writeFileSync(file, weights);
  const { exitCode, last } = await run(["store", "repair", id, "--store", "s"], { cwd });
  assert.equal(exitCode, 3, last);
  assert.match(last, /^E_STORE_DAMAGED .*: 1 problem\. Next: import the model again/);
  const told = await run(["store", "repair", id, "--store", "s", "--json"], { cwd });
  assert.equal(told.exitCode, 3);
  const [report] = told
    .out()
    .split("\n")
    .filter((line) => line.includes('"repaired"'))
    .map((line) => JSON.parse(line));
  assert.deepEqual([report.ok, report.id, report.problems.length], [false, id, 1]);
});
