/** @file Errors that other tests don't come by, each brought about by what users run into; and no code without a test. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { HostMemory } from "../../src/backend/host-memory.ts";
import { runCli } from "../../src/cli/program.ts";
import { BudgetError, DeviceError, UsageError } from "../../src/errors.ts";
import { encodePng } from "../../src/image/png.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { nodeStore } from "../../src/node/disk/node-store.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import { requireInstalled } from "../../src/node/installation.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { openEngine } from "../../src/node.ts";
import { cleanStore } from "../../src/store/removal.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { type FakeOptions, fakeContext } from "./fake-context.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MODEL = path.join(ROOT, "fixtures/golden/flat");
const TINY = ["--steps", "1", "--width", "16", "--height", "16"];
let cwd: string;
before(() => {
  cwd = mkdtempSync(path.join(tmpdir(), "solvay-codes-"));
});

/** One command line: its exit code, its last error, and what it printed as JSON. */
async function run(line: readonly string[], env: Record<string, string> = {}, atStep?: FakeOptions["atStep"]) {
  const fake = fakeContext({ cwd, atStep });
  const engine = atStep ? {} : { openEngine: openThreadlessEngine };
  const exitCode = await runCli(line, { ...fake.context, env, ...engine });
  return { exitCode, error: fake.err().trimEnd().split("\n").at(-1)!, out: fake.out() };
}

test("E_NOT_A_FOLDER, E_UNREADABLE, E_VERIFY: files that are no model, can't be opened, or are damaged", async () => {
  writeFileSync(path.join(cwd, "file"), "text");
  symlinkSync("round", path.join(cwd, "round"));
  await assert.rejects(openFileFolder(path.join(cwd, "file")), { code: "E_NOT_A_FOLDER" });
  const round = await run(["inspect", "round"]);
  assert.equal(round.exitCode, 3);
  assert.match(round.error, /^E_UNREADABLE .*round: can't be opened \(ELOOP\)\. Next: check the path\.$/);
  const damaged = await run(["verify", "file", "--json"]);
  assert.equal(damaged.exitCode, 3);
  assert.match(damaged.error, /^E_VERIFY file: 1 problem\. Next: replace what is named above\.$/);
  // The one document has said it all.
  assert.equal(JSON.parse(damaged.out).ok, false);
  assert.equal((await run(["verify", MODEL])).exitCode, 0);
});

test("E_FILE: what the system says of a path that leads through a file", async () => {
  writeFileSync(path.join(cwd, "no-folder"), "");
  const env = { HF_HOME: path.join(cwd, "no-folder/cache"), HF_ENDPOINT: "http://127.0.0.1:9" };
  const { exitCode, error } = await run(["pull", "org/name"], env);
  assert.equal(exitCode, 3);
  assert.match(error, /^E_FILE .*no-folder.*: a part of the path is no folder\. Next: check the path\.$/);
});

test("E_INTERRUPTED: Ctrl-C, as the last event of --json", async () => {
  const { exitCode, out } = await run(["generate", "x", "--json"], {}, ({ interrupt }) => interrupt());
  assert.equal(exitCode, 130);
  assert.deepEqual(JSON.parse(out.trimEnd().split("\n").at(-1)!), {
    type: "error",
    code: "E_INTERRUPTED",
    message: "Interrupted.",
  });
  assert.deepEqual(
    readdirSync(cwd).filter((name) => name.endsWith(".png")),
    [],
  );
});

test("E_LZR_EMPTY: an artifact without a record, laid over a model and imported", async () => {
  writeFileSync(path.join(cwd, "empty.lzr2"), "LZR2");
  const open = ["generate", "x", "--model", MODEL, "--artifact", path.join(cwd, "empty.lzr2")];
  open.push("--backend", "reference");
  const store = ["--store", "empty-store"];
  for (const line of [open, ["import", MODEL, "--artifact", "empty.lzr2", ...store]]) {
    const { exitCode, error } = await run(line);
    assert.equal(exitCode, 3);
    assert.equal(error, "E_LZR_EMPTY empty.lzr2: the artifact holds no record. Next: fetch the artifact again.");
  }
  assert.equal((await run(["store", "list", ...store])).out, "The store is empty.\n");
});

test("E_MACHINE, E_ENGINE_ENDED: a machine that nobody has described, an engine that was closed", async () => {
  const engine = await openEngine({ model: MODEL, backend: "reference" });
  await assert.rejects(engine.plan({}, { as: "cray-1" }), (error) => {
    return error instanceof UsageError && error.code === "E_MACHINE" && /gtx1060-6g/.test(error.message);
  });
  await engine[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
  const ended = (error: unknown) => error instanceof DeviceError && error.code === "E_ENGINE_ENDED";
  await assert.rejects(engine.plan({}), ended);
  await assert.rejects(Array.fromAsync(engine.generate({ prompt: "x" })), ended);
  await assert.rejects(engine.setBudgets({}), ended);
});

test("E_STEPS: more steps than the model has levels of noise", async () => {
  const model = path.join(cwd, "few levels");
  cpSync(MODEL, model, { recursive: true });
  const config = path.join(model, "scheduler/scheduler_config.json");
  writeFileSync(
    config,
    readFileSync(config, "utf8").replace('"num_train_timesteps": 1000', '"num_train_timesteps": 20'),
  );
  const line = (steps: number) => ["plan", "--model", model, "--steps", `${steps}`, "--backend", "reference"];
  const { exitCode, error } = await run(line(21));
  assert.equal(exitCode, 2);
  assert.match(error, /^E_STEPS: .*\(found 21, allowed 1\.\.20\)/);
  assert.equal((await run(line(20))).exitCode, 0);
});

test("E_MEMORY: more memory in one piece than any system has", () => {
  assert.throws(
    () => new HostMemory("activations", 2 ** 52),
    (error) => error instanceof BudgetError && error.code === "E_MEMORY" && error.subject === "activations",
  );
  using some = new HostMemory("activations", 8);
  assert.equal(some.buffer.byteLength, 8);
});

test("E_ONNXRUNTIME: the runtime refuses to compute", async (t) => {
  const builder = new GraphBuilder("g");
  const x = builder.input("x", [2, 3]);
  builder.output(
    "y",
    builder.segment("double", () => builder.node("add", [x, x], {})),
  );
  const graph = builder.build();
  const backend = await openOnnxBackend(1).catch(() => undefined);
  if (!backend) return t.skip("skipped: no ONNX Runtime here");
  await using open = backend;
  const segment = graph.segments[0]!;
  const outputs = new Map(segment.outputs.map((id) => [id, new Float32Array(6)]));
  const given = (elements: number) => new Map(segment.inputs.map((id) => [id, new Float32Array(elements).fill(2)]));
  await open.run({ graph, segment, inputs: given(6), weights: new Map(), outputs });
  assert.deepEqual([...outputs.values()][0], new Float32Array(6).fill(4));
  await assert.rejects(open.run({ graph, segment, inputs: given(5), weights: new Map(), outputs }), (error) => {
    return error instanceof DeviceError && error.code === "E_ONNXRUNTIME" && error.subject === "double";
  });
});

test("E_NODE: a clone on a Node that can't read its sources", () => {
  requireInstalled();
  const versions = Object.getOwnPropertyDescriptor(process, "versions")!;
  Object.defineProperty(process, "versions", { ...versions, value: { ...process.versions, node: "22.12.0" } });
  try {
    assert.throws(requireInstalled, (error) => {
      return error instanceof DeviceError && error.code === "E_NODE" && /found 22\.12\.0/.test(error.message);
    });
  } finally {
    Object.defineProperty(process, "versions", versions);
  }
});

test("E_STORE_LOCK: another process took the store over", async () => {
  const store = nodeStore(path.join(cwd, "store"));
  const lock = await store.lock({ onWait: () => assert.fail("it is free") });
  await lock.check();
  writeFileSync(path.join(store.folder, "writer.lock"), JSON.stringify({ pid: 1, host: "elsewhere", key: "other" }));
  await assert.rejects(lock.check(), { code: "E_STORE_LOCK", subject: store.folder });
  await lock[Symbol.asyncDispose]();
  // What is another's now stays.
  assert.deepEqual(readdirSync(store.folder), ["writer.lock"]);
  const stop = new AbortController();
  await assert.rejects(cleanStore(store, { signal: stop.signal, onWait: () => stop.abort(new Error("enough")) }), {
    message: "enough",
  });
});

/** Keeps packages out of reach, as where they were never installed. */
const WITHOUT_PACKAGES = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from "node:module";
registerHooks({ resolve(name, context, next) {
  if (/^(onnxruntime-node|sharp)/.test(name)) throw Object.assign(new Error("Cannot find package"), { code: "ERR_MODULE_NOT_FOUND" });
  return next(name, context);
} });`)}`;

test("E_DOCTOR, E_NO_ONNXRUNTIME, E_NO_SHARP: a machine that lacks packages", () => {
  const node = (...argv: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", WITHOUT_PACKAGES, ...argv], {
      cwd,
      encoding: "utf8",
    });
    return { status, stdout, last: stderr.trimEnd().split("\n").at(-1) };
  };
  const solvay = (...line: string[]) => node(path.join(ROOT, "src/cli/main.ts"), ...line);
  const { status, stdout, last } = solvay("doctor", "--json");
  assert.equal(status, 5);
  assert.equal(last, "E_DOCTOR: 1 found: backends. Next: follow the lines marked problem.");
  const findings = JSON.parse(stdout) as { topic: string; state: string }[];
  assert.deepEqual(
    findings.filter(({ state }) => state === "problem").map(({ topic }) => topic),
    ["backends"],
  );
  const generate = solvay("generate", "x", "--backend", "cpu");
  assert.equal(generate.status, 5);
  assert.match(generate.last!, /^E_NO_ONNXRUNTIME: .* Next: run npm .*, or use --backend reference\.$/);
  const reading = `
    import { readPicture } from ${JSON.stringify(new URL("../../src/node/pictures.ts", import.meta.url).href)};
    import { encodePng } from ${JSON.stringify(new URL("../../src/image/png.ts", import.meta.url).href)};
    const png = await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text: [] });
    await readPicture(png, { name: "a.png" }).catch(({ name, code }) => console.log(name, code));`;
  assert.equal(node("--input-type=module", "--eval", reading).stdout, "DeviceError E_NO_SHARP\n");
});

test("E_LORA: a negative prompt that asks for a network", async () => {
  const line = ["generate", "a cat", "--negative", "<lora:fur:0.8>", "--model", MODEL, "--backend", "reference"];
  const { exitCode, error } = await run([...line, "--prompt-syntax", "a1111"]);
  assert.equal(exitCode, 2);
  assert.match(
    error,
    /^E_LORA <lora:fur>: only the prompt itself can ask for networks \(found one, allowed none\)\. Next: .*\.$/,
  );
});

test("E_NO_PROMPT: a picture whose record tells its model, and a prompt that is no text", async () => {
  const record = { version: "0.1.0", prompt: 7, model: "demo", seed: 1 };
  const text = [{ keyword: "solvay", text: JSON.stringify(record) }];
  writeFileSync(path.join(cwd, "mute.png"), await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text }));
  const again = ["again", "mute.png", "--model", MODEL, "--backend", "reference"];
  const { exitCode, error } = await run(again);
  assert.equal(exitCode, 2);
  assert.match(error, /^E_NO_PROMPT mute\.png: .* Next: give a prompt with --prompt\.$/);
  assert.equal((await run([...again, "--prompt", "x", ...TINY])).exitCode, 0);
});

test("E_ZIP: an upscaler's file of which the download broke off", async () => {
  const whole = readFileSync(path.join(ROOT, "fixtures/torch-files/zip.pth"));
  writeFileSync(path.join(cwd, "cut.pth"), whole.subarray(0, whole.length - 30));
  writeFileSync(path.join(cwd, "a.png"), await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text: [] }));
  const { exitCode, error } = await run(["upscale", "a.png", "--upscaler", "cut.pth"]);
  assert.equal(exitCode, 3);
  assert.equal(error, "E_ZIP cut.pth: its directory is missing (the file may be cut). Next: fetch the file again.");
});

test("every code that src/ has is named by a test", () => {
  const filesOf = (folder: string) =>
    readdirSync(path.join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => readFileSync(path.join(ROOT, folder, name), "utf8"));
  const codesOf = (texts: readonly string[]) => new Set(texts.flatMap((text) => text.match(/\bE_[A-Z0-9_]+\b/g) ?? []));
  const comments = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;
  const inSource = codesOf(filesOf("src").map((text) => text.replaceAll(comments, "")));
  const inTests = codesOf(filesOf("test").map((text) => text.replaceAll(comments, "")));
  assert.ok(inSource.size > 60, `${inSource.size} codes`);
  assert.deepEqual(
    [...inSource].filter((code) => !inTests.has(code)),
    [],
  );
});
