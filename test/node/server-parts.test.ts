/** @file What `serve` and `worker` make of their flags before anything is opened: models, folders beside them, the database, pictures; and what they refuse. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { again, databaseOf, engineOptions, imagesOf } from "../../src/cli/server-parts.ts";
import { fakeContext } from "./fake-context.ts";

const GOLDEN = fileURLToPath(new URL("../../fixtures/golden", import.meta.url));
const FLAT = path.join(GOLDEN, "flat");
const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-server-"));
const contextIn = (cwd: string) => fakeContext({ cwd }).context;

test("models by name: the one of --model first, which a folder's of that name doesn't take the place of; an artifact for that one alone", async () => {
  const cwd = folder();
  const artifact = path.join(cwd, "a.lzr2");
  writeFileSync(artifact, "x");
  const flags = { model: FLAT, backend: "reference", artifact, modelsDir: [GOLDEN] };
  const { models } = await engineOptions(contextIn(cwd), flags);
  assert.deepEqual([...models.keys()], ["flat", "conv-proj", "deep", "nested", "odd"]);
  const told = (name: string) => {
    const { model, backend, artifact: over } = models.get(name)!;
    return [model, backend, over];
  };
  assert.deepEqual(told("flat"), [FLAT, "reference", artifact]);
  assert.deepEqual(told("deep"), [path.join(GOLDEN, "deep"), "reference", undefined]);
  const own = await engineOptions(contextIn(cwd), { modelsDir: [] });
  assert.deepEqual([...own.models.keys()], ["demo"]);
});

test("folders of adapters beside the models stand in where none is named: the first of each kind", async () => {
  const cwd = folder();
  for (const name of ["one/Lora", "two/Lora", "two/embeddings"]) mkdirSync(path.join(cwd, name), { recursive: true });
  for (const name of ["one", "two"]) {
    mkdirSync(path.join(cwd, name, "m"));
    writeFileSync(path.join(cwd, name, "m/model_index.json"), "{}");
  }
  const modelsDir = ["one", "two"];
  const of = async (flags: object) => {
    const { models } = await engineOptions(contextIn(cwd), { model: FLAT, modelsDir, ...flags });
    const { loraDir, embeddingsDir } = models.get("m")!;
    return [loraDir, embeddingsDir];
  };
  assert.deepEqual(await of({}), [path.join(cwd, "one/Lora"), path.join(cwd, "two/embeddings")]);
  assert.deepEqual(await of({ loraDir: "mine" }), ["mine", path.join(cwd, "two/embeddings")]);
  mkdirSync(path.join(cwd, "none"));
  await assert.rejects(engineOptions(contextIn(cwd), { model: FLAT, modelsDir: ["none"] }), {
    ...{ code: "E_USAGE", subject: "none", problem: "there is no model in this folder" },
  });
  await assert.rejects(engineOptions(contextIn(cwd), { model: "gone", modelsDir: [] }), { code: "E_MISSING" });
});

test("what a model's files hold is told, and nothing of one that isn't there", async () => {
  const { modelContent } = await engineOptions(contextIn(folder()), { model: FLAT, modelsDir: [] });
  const content = await modelContent!({ model: FLAT });
  assert.ok(content);
  assert.notEqual(await modelContent!({ model: path.join(GOLDEN, "deep") }), content);
  assert.equal(await modelContent!({ model: "gone" }), undefined);
});

test("flags before variables, paths from where the user stands", () => {
  const context = { ...contextIn("/home/me"), env: { SOLVAY_DATABASE: "postgres://of-env" } };
  assert.equal(databaseOf({ database: "postgres://of-flag" }, context), "postgres://of-flag");
  assert.equal(databaseOf({}, context), "postgres://of-env");
  assert.equal(databaseOf({}, { ...context, env: {} }), undefined);
  assert.equal(imagesOf("pictures", context), path.resolve("/home/me/pictures"));
  assert.equal(imagesOf("s3://bucket/x", context), "s3://bucket/x");
  assert.deepEqual(again("b", ["a"]), ["a", "b"]);
});

test("a worker without a shared database or a place for pictures, and a server whose jobs nobody would draw: refused before a model opens", async () => {
  for (const [line, env, problem] of [
    [["worker"], {}, /^E_USAGE --database: a worker shares a PostgreSQL server/],
    [["worker", "--database", "embedded"], {}, /^E_USAGE --database: /],
    [["worker", "--database", "postgres://x"], {}, /^E_USAGE --images: a worker puts pictures where/],
    [["worker"], { SOLVAY_DATABASE: "postgres://x" }, /^E_USAGE --images: /],
    [["serve", "--no-worker"], {}, /^E_USAGE --no-worker: nobody would draw the jobs of an embedded database/],
    [["serve", "--queue-limit", "0"], {}, /^E_USAGE: .*--queue-limit/],
    [["serve", "--port", "65536"], {}, /^E_USAGE: .*--port/],
    [["serve", "--model", "gone"], {}, /^E_MISSING gone: /],
  ] as const) {
    const fake = fakeContext({ cwd: folder() });
    const rc = await runCli(line, { ...fake.context, env });
    assert.match(fake.err(), problem, line.join(" "));
    assert.deepEqual([fake.opened, rc], [[], problem.source.includes("MISSING") ? 3 : 2]);
  }
});
