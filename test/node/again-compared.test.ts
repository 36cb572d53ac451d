/** @file `solvay again`: which of the picture's settings stand beside the user's own, what it refuses, and how it tells the new file from the old. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import { encodePng } from "../../src/image/png.ts";
import type { EngineInfo, SeriesEvent } from "../../src/job/types.ts";
import { openPictureWriter } from "../../src/node/picture-writer.ts";
import { SOLVAY_VERSION } from "../../src/version.ts";
import { fakeContext } from "./fake-context.ts";

const RECORD = {
  ...{ version: SOLVAY_VERSION, prompt: "x", seed: 1, steps: 2, guidance: 5, width: 16, height: 16 },
  ...{ model: "mine", backend: "reference" },
};
const OLD = [0, 0, 0, 10, 10, 10];

/** Two pixels beside one another, or these. */
async function png(rgb: readonly number[] = OLD, record: object = RECORD, width = 2): Promise<Uint8Array> {
  const text = [{ keyword: "solvay", text: JSON.stringify(record) }];
  return await encodePng({ width, height: rgb.length / 3 / width, rgb: Uint8Array.from(rgb), text });
}

/** Makes `file` again, where the engine makes `made`. */
async function again(file: Uint8Array, line: readonly string[], { made = file, info = {}, name = "a.png" } = {}) {
  const cwd = mkdtempSync(path.join(tmpdir(), "solvay-compared-"));
  writeFileSync(path.join(cwd, name), file);
  writeFileSync(path.join(cwd, "mine.safetensors"), "");
  const fake = fakeContext({ cwd });
  const changed = (told: SeriesEvent): SeriesEvent =>
    "event" in told && told.event.type === "image" ? { ...told, event: { ...told.event, bytes: made } } : told;
  const rc = await runCli(["again", name, ...line], {
    ...fake.context,
    env: { SOLVAY_STATE: path.join(cwd, "state") },
    openEngine: async (options) => {
      const engine = await fake.context.openEngine(options);
      return {
        ...engine,
        info: { ...engine.info, ...(info as Partial<EngineInfo>) },
        async *generateMany(requests, given) {
          for await (const told of engine.generateMany(requests, given)) yield changed(told);
        },
      };
    },
  });
  const [job] = fake.jobs;
  return { ...fake, cwd, rc, job, err: fake.err(), last: fake.err().trimEnd().split("\n").at(-1)! };
}

test("the new file beside the old one, in words", async () => {
  const old = await png();
  for (const [made, verdict] of [
    [old, "The same file, byte for byte."],
    [await png(OLD, { ...RECORD, retry: "x" }), "The same pixels; what the file says of them differs."],
    [await png([0, 3, 0, 10, 10, 5]), "Other pixels: 2 of 6 values differ, by up to 5 of 255."],
    [await png([0, 0, 0, 10, 10, 255]), "Other pixels: 1 of 6 values differ, by up to 245 of 255."],
    [await png([0, 1, 0, 10, 9, 10]), "Other pixels: 2 of 6 values differ, by up to 1 of 255."],
    [Buffer.concat([old, Buffer.of(0)]), "The same pixels; what the file says of them differs."],
    [await png(OLD, RECORD, 1), "Another size than before, 2x1."],
    [await png([...OLD, ...OLD]), "Another size than before, 2x1."],
    [old.subarray(0, 30), "Another file than before."],
  ] as const) {
    assert.equal((await again(old, [], { made })).last, verdict);
    // The old one is what was there before, also where it is replaced.
    const over = await again(old, ["--output", "a.png"], { made });
    assert.equal(over.last, verdict);
    assert.deepEqual(new Uint8Array(readFileSync(path.join(over.cwd, "a.png"))), new Uint8Array(made));
  }
});

test("a WebP is compared by its pixels, too", async () => {
  const writer = await openPictureWriter({ format: "webp", lossless: true });
  const text = [{ keyword: "solvay", text: JSON.stringify({ ...RECORD, format: "webp", lossless: true }) }];
  const webp = await writer.write({ width: 2, height: 1, rgb: Uint8Array.from(OLD), text });
  const same = "The same pixels; what the file says of them differs.";
  assert.equal((await again(webp, [], { made: await png(), name: "a.webp" })).last, same);
});

test("with settings of the user's there is nothing to compare; they stand in place of the picture's", async () => {
  const { last, job, rc } = await again(await png(), ["--seed", "9", "--guidance", "7.5"]);
  assert.deepEqual([rc, last], [0, "16x16, 2 steps, guidance 7.5, seed 9"]);
  const { version: _, model: __, backend: ___, ...told } = RECORD;
  assert.deepEqual(job, { ...told, seed: 9, guidance: 7.5 });
});

test("a prompt of the user's was not drawn from the picture's template; the others were", async () => {
  const templates = {
    ...{ template: "{x|y}", negativeTemplate: "{n|m}", template2: "{x|z}", negativeTemplate2: "{n|o}" },
    ...{ hiresTemplate: "{h|i}", hiresNegativeTemplate: "{h|j}" },
  };
  const file = await png(OLD, { ...RECORD, ...templates, negativePrompt: "n", hiresScale: 2 });
  const left = async (...line: string[]) => {
    const { job, err } = await again(file, line);
    assert.ok(job, err);
    return Object.keys(templates).filter((name) => job[name as keyof typeof job] === undefined);
  };
  assert.deepEqual(await left(), []);
  assert.deepEqual(await left("--seed", "3"), []);
  for (const [flag, name] of [
    ["--prompt", "template"],
    ["--negative", "negativeTemplate"],
    ["--prompt-2", "template2"],
    ["--negative-2", "negativeTemplate2"],
    ["--hires-prompt", "hiresTemplate"],
    ["--hires-negative", "hiresNegativeTemplate"],
  ] as const) {
    assert.deepEqual(await left(flag, "mine"), [name]);
  }
});

test("another name's format takes the place of the picture's, with its quality; the same keeps it", async () => {
  const file = await png(OLD, { ...RECORD, format: "webp", quality: 70 });
  const format = async (...line: string[]) => {
    const { job } = await again(file, line);
    return [job?.format, job?.quality];
  };
  assert.deepEqual(await format(), ["webp", 70]);
  assert.deepEqual(await format("--output", "b.webp"), ["webp", 70]);
  assert.deepEqual(await format("--output", "b.png"), ["png", undefined]);
  assert.deepEqual(await format("--output", "b.jpg"), ["jpeg", undefined]);
  assert.deepEqual(await format("--output", "b.jpg", "--quality", "50"), ["jpeg", 50]);
});

test("what the picture lacks is said before the model opens", async () => {
  for (const [changes, line, error] of [
    [
      { model: undefined },
      [],
      "E_MODEL_UNKNOWN a.png: it does not say which model made it. Next: name the model with --model.",
    ],
    [{ model: "x" }, [], "E_MODEL_UNKNOWN a.png: its model x was not found here. Next: name the model with --model."],
    [
      { refinerStart: 0.5 },
      [],
      "E_MODEL_UNKNOWN a.png: it does not say which refiner drew its last steps. Next: name the refiner with --refiner.",
    ],
    [
      { refinerStart: 0.5, refiner: "r" },
      [],
      "E_MODEL_UNKNOWN a.png: its refiner r was not found here. Next: name the refiner with --refiner.",
    ],
    [
      { prompt: undefined },
      [],
      "E_NO_PROMPT a.png: what it says of its prompt is not understood. Next: give a prompt with --prompt.",
    ],
  ] as const) {
    const { rc, last, opened } = await again(await png(OLD, { ...RECORD, ...changes }), line);
    assert.deepEqual([rc, last, opened.length], [2, error, 0]);
  }
  const chosen = await again(await png(OLD, { ...RECORD, refinerStart: 0.5 }), ["--refiner", "mine.safetensors"]);
  assert.deepEqual([chosen.rc, chosen.opened[0]?.refiner], [0, "mine.safetensors"]);
  assert.equal((await again(await png(OLD, { ...RECORD, prompt: undefined }), ["--prompt", "y"])).job?.prompt, "y");
});

test("as JSON: what is asked for and why it may be another, then another card, the picture, the verdict", async () => {
  const file = await png(OLD, { ...RECORD, backend: "webgpu", adapter: "A", guidance: undefined });
  const info = { backend: "webgpu", adapter: "B" } as const;
  const { out, err } = await again(file, ["--json"], { info });
  const events = out()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    events.map(({ type }) => type),
    ["again", "model", "note", "start", "step", "image", "compared"],
  );
  const { job, ...first } = events[0]!;
  const reasons = ["it does not say its guidance"];
  assert.deepEqual(first, { type: "again", file: "a.png", tool: `Solvay ${SOLVAY_VERSION}`, reasons });
  assert.deepEqual(job, { prompt: "x", seed: 1, steps: 2, width: 16, height: 16 });
  assert.deepEqual(events[2], { type: "note", text: "it was computed by A, here computes B" });
  assert.deepEqual(events.at(-1), { type: "compared", verdict: "The same file, byte for byte." });
  assert.equal(err, "");
  const words = await again(file, [], { info });
  assert.match(words.err, /^Not byte for byte the picture that Solvay \S+ made:\n {2}it does not say its guidance\n/);
  assert.match(words.err, /\nMaybe other bytes: it was computed by A, here computes B\n/);
});
