/** @file The file of an unfinished picture: what stands in it, which name and folder it has, and what becomes of one that was saved before. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { type ReadUnfinished, readUnfinished } from "../../src/job/resume-file.ts";
import type { EngineInfo, GenerateEvent, GenerateJob } from "../../src/job/types.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { libraryOf } from "../../src/terminal/context.ts";
import { KeptState, type KeptStateOptions, keepAndTell, keptText } from "../../src/terminal/kept-state.ts";
import { anchored, modelContent } from "../../src/terminal/unfinished.ts";

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-kept-"));
const INFO: EngineInfo = {
  ...{ model: "m", demo: true, backend: "webgpu", adapter: "a card", precision: "fp16" },
  ...{ defaultWidth: 64, defaultHeight: 64 },
};
const JOB: GenerateJob = { prompt: "x" };
const START = { type: "start", prompt: "x", negativePrompt: "", seed: 7, steps: 9, guidance: 5, width: 64, height: 64 };
const PACE = { elapsedMs: 1, stepMs: 1, etaMs: 1, readBytes: 0, bytesPerSecond: 0, waitMs: 0 };

const start = (changes: object = {}) => ({ ...START, sampler: "euler", ...changes }) as unknown as GenerateEvent;
const step = (number: number): GenerateEvent => {
  const state = { step: number, x: new Float32Array(4).fill(number), history: [] };
  return { type: "step", step: number, steps: 9, ...PACE, state };
};

function stateIn(cwd: string, options: Partial<KeptStateOptions> = {}) {
  const context = { cwd, env: { SOLVAY_STATE: path.join(cwd, "state") } };
  return new KeptState(context, { info: INFO, request: {}, job: JOB, target: undefined, everySteps: 1, ...options });
}

async function read(file: string): Promise<ReadUnfinished> {
  await using source = await openFileSource(file);
  return await readUnfinished(source);
}

test("a picture that was stopped is kept as it was at its last step, whatever was saved before", async () => {
  const cwd = folder();
  const kept = stateIn(cwd, { everySteps: 2 });
  for (const event of [start(), step(1), step(2), step(3)]) await kept.observe(event);
  assert.equal((await read(path.join(cwd, "output_001.resume"))).state.step, 2);
  assert.deepEqual(await kept.keep(), {
    ...{ file: path.join(cwd, "output_001.resume"), shown: "output_001.resume", step: 3, steps: 9 },
  });
  assert.deepEqual([...(await read(path.join(cwd, "output_001.resume"))).state.x], [3, 3, 3, 3]);
  assert.equal(await stateIn(cwd).keep(), undefined);
  await kept.discard();
  assert.deepEqual(readdirSync(cwd), []);
});

test("the file holds the job as it was drawn, but what only its maker knows as it was asked for; the card; the hashes; its series", async () => {
  const cwd = folder();
  const controls = [{ file: "net", image: "a.png" }];
  const job: GenerateJob = { prompt: "x", controls, initImage: "b.png" };
  const place = { series: "s", index: 3 };
  const kept = stateIn(cwd, { job, place, request: { loraDir: "." } });
  await kept.observe(start({ subseed: 5, controls: [{ file: "net", image: "sha256:0" }], initImage: "sha256:1" }));
  await kept.observe({ type: "lora", file: "fur", hash: "0123" } as GenerateEvent);
  await kept.observe(step(1));
  const found = await read(path.join(cwd, "output_001.resume"));
  const { type: _, negativePrompt: __, ...drawn } = START;
  assert.deepEqual(found.job, { ...drawn, sampler: "euler", subseed: 5, controls, initImage: "b.png" });
  assert.deepEqual(found.computed, { model: "m", backend: "webgpu", precision: "fp16", adapter: "a card" });
  assert.deepEqual([found.pictures, found.place, found.cwd], [{ "lora fur": "0123" }, place, cwd]);
  assert.deepEqual([found.request, found.output, found.steps], [{ loraDir: cwd }, "output_001.png", 9]);
  // A negative prompt of nothing is another one than none.
  const empty = stateIn(cwd, { job: { prompt: "x", negativePrompt: "" } });
  for (const event of [start(), step(1)]) await empty.observe(event);
  assert.equal((await read(path.join(cwd, "output_002.resume"))).job.negativePrompt, "");
});

test("names: the picture's own with a number where that is taken, or the next number in the picture's format", async () => {
  const cwd = folder();
  const target = { shown: "my a.png", file: path.join(cwd, "my a.png") };
  writeFileSync(path.join(cwd, "my a.resume"), "another's");
  const named = stateIn(cwd, { target });
  for (const event of [start(), step(1)]) await named.observe(event);
  assert.equal((await read(path.join(cwd, "my a.2.resume"))).output, "my a.png");
  assert.equal(named.output, undefined);
  const kept = (await named.keep())!;
  assert.equal(
    keptText(kept),
    'The unfinished picture is kept, drawn up to step 1 of 9; to go on: solvay resume "my a.2.resume"',
  );
  assert.equal(
    keptText({ ...kept, shown: "a/b.resume", step: 9 }),
    "The unfinished picture is kept, all steps are drawn; to decode them: solvay resume a/b.resume",
  );
  const numbered = stateIn(cwd);
  for (const event of [start({ format: "jpeg" }), step(1)]) await numbered.observe(event);
  assert.equal((await read(path.join(cwd, "output_001.resume"))).output, "output_001.jpg");
  assert.equal(numbered.output, "output_001.jpg");
});

/** A full disk for files that are made in `full`. */
function fill(t: TestContext, full: string): void {
  const { open } = fs;
  t.mock.method(fs, "open", async (...args: Parameters<typeof open>) => {
    if (path.dirname(String(args[0])) === full) throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
    return await open(...args);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
}

test("a folder that takes no more: the file goes to the folder for state, and the older one is gone; the hint names it wholly", async (t) => {
  const cwd = folder();
  const kept = stateIn(cwd);
  for (const event of [start(), step(1)]) await kept.observe(event);
  fill(t, cwd);
  await kept.observe(step(2));
  const there = path.join(cwd, "state/unfinished");
  assert.deepEqual([readdirSync(cwd), readdirSync(there)], [["state"], ["output_001.resume"]]);
  const { file, shown } = (await kept.keep())!;
  assert.deepEqual([file, shown], [path.join(there, "output_001.resume"), path.join(there, "output_001.resume")]);
  t.mock.restoreAll();
  syncBuiltinESMExports();
  fill(t, there);
  // What is there is not lost where no folder takes the next.
  await kept.observe(step(3));
  const said: string[] = [];
  fill(t, cwd);
  await keepAndTell(kept, { kept: () => assert.fail("it was not"), say: (line) => said.push(line) });
  assert.deepEqual(said, ["The unfinished picture could not be kept: the disk is full"]);
  assert.ok(existsSync(path.join(there, "output_001.resume")));
});

test("a LoRA that is another than the picture was begun with is refused, by its name; one that is new is not", async () => {
  const cwd = folder();
  const resumed = { file: path.join(cwd, "a.resume"), output: "a.png", pictures: { "lora fur": "0123" } };
  const told = (file: string, hash: string) =>
    stateIn(cwd, { resumed }).observe({ type: "lora", file, hash } as GenerateEvent);
  await told("fur", "0123");
  await told("ink", "4567");
  await assert.rejects(told("fur", "4567"), (error: Error & { code: string }) => {
    assert.equal(error.code, "E_RESUME_CHANGED");
    assert.match(error.message, /a\.resume: the LoRA fur is not what it was when the picture was begun/);
    return true;
  });
});

test("a request means the same from any folder: every path in it, where something is there", async () => {
  const cwd = folder();
  const host = libraryOf({ cwd, env: {} });
  for (const name of ["x", "org"]) mkdirSync(path.join(cwd, name));
  const paths = [
    ...["model", "vae", "config", "base", "artifact", "refiner", "previewModel", "wildcardsDir", "loraDir"],
    ...["embeddingsDir", "controlDir", "ipAdapterDir", "upscalerDir", "store"],
  ];
  const of = (value: string) => Object.fromEntries(paths.map((name) => [name, value]));
  assert.deepEqual(await anchored(host, { ...of("x"), backend: "cpu" }), {
    ...of(path.join(cwd, "x")),
    backend: "cpu",
  });
  // A name of the hub is no path; the block store may not be there yet.
  assert.deepEqual(await anchored(host, of("org/m")), { ...of("org/m"), store: path.join(cwd, "org/m") });
});

test("what the model's files hold: another text for each part that is another", async () => {
  const cwd = folder();
  const host = libraryOf({ cwd, env: {} });
  const parts = ["model", "vae", "config", "base", "artifact", "refiner"] as const;
  for (const name of parts) writeFileSync(path.join(cwd, `${name}.safetensors`), name);
  const request = Object.fromEntries(parts.map((name) => [name, `${name}.safetensors`]));
  const content = await modelContent(host, request);
  assert.equal(await modelContent(host, request), content);
  for (const name of parts) {
    writeFileSync(path.join(cwd, `${name}.safetensors`), "something else");
    assert.notEqual(await modelContent(host, request), content, name);
    writeFileSync(path.join(cwd, `${name}.safetensors`), name);
    assert.equal(await modelContent(host, request), content);
  }
});

test("a stored model is known by its id, beside what lies in files; another one of the store is another", async () => {
  const cwd = folder();
  const host = libraryOf({ cwd, env: {} });
  mkdirSync(path.join(cwd, "s/models"), { recursive: true });
  for (const digit of ["1", "2"]) writeFileSync(path.join(cwd, `s/models/${digit.repeat(64)}.model`), "");
  writeFileSync(path.join(cwd, "v"), "a VAE");
  const of = (model: string, vae?: string) =>
    modelContent(host, { model, store: "s", ...(vae !== undefined && { vae }) });
  const contents = [await of("store:1111"), await of("store:2222"), await of("store:1111", "v")];
  assert.equal(new Set(contents).size, 3);
  // However many of its digits are given.
  assert.equal(await of("store:11111"), contents[0]);
  writeFileSync(path.join(cwd, "v"), "another VAE");
  assert.notEqual(await of("store:1111", "v"), contents[2]);
});
