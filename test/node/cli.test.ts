/** @file The command line over a fake engine: output files, JSON lines, limits, errors and exit codes. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { ArtifactError, BudgetError, DeviceError } from "../../src/errors.ts";
import { openEngine } from "../../src/node.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { fakeContext } from "./fake-context.ts";

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-cli-"));
const fields = { code: "E_TEST", subject: "x", problem: "broken", next: "mend it" };

test("generate passes its options on and writes exactly the picture", async () => {
  const fake = fakeContext({ cwd: folder() });
  const line = ["generate", "a lake", "--negative", "fog", "--seed", "7", "--steps", "4", "--guidance", "2.5"];
  const rest = ["--width", "64", "--height", "128", "--output", "lake.png", "--model", "m", "--backend", "cpu"];
  rest.push("--telemetry");
  writeFileSync(path.join(fake.context.cwd, "lake.png"), "old");
  assert.equal(await runCli([...line, ...rest], fake.context), 0, fake.err());
  assert.equal(fake.out(), "Saved: lake.png\n");
  assert.deepEqual(readdirSync(fake.context.cwd), ["lake.png"]);
  assert.deepEqual([...readFileSync(path.join(fake.context.cwd, "lake.png"))], [7, 6]);
  assert.ok(fake.beside[0]?.signal);
  assert.equal(fake.beside[0].telemetry, true);
  const size = { width: 64, height: 128 };
  assert.deepEqual(fake.jobs[0], {
    prompt: "a lake",
    negativePrompt: "fog",
    seed: 7,
    steps: 4,
    guidance: 2.5,
    ...size,
  });
  assert.equal(fake.opened[0]?.model, "m");
  assert.equal(fake.opened[0]?.backend, "cpu");
});

test("--telemetry ends with what was measured beside what was planned, also where nobody watches", async () => {
  const fake = fakeContext({ cwd: folder() });
  const model = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
  const line = ["generate", "x", "--model", model, "--backend", "reference", "--steps", "1", "--width", "16"];
  const more = ["--height", "16", "--telemetry"];
  assert.equal(await runCli([...line, ...more], { ...fake.context, openEngine }), 0, fake.err());
  assert.match(fake.err(), /\nMeasured \(planned\): VRAM [\d.]+ MiB \([\d.]+ MiB\), RAM .*; process at its peak .*\n$/);
});

test("without --output the next free number is taken and nothing overwritten", async () => {
  const cwd = folder();
  writeFileSync(path.join(cwd, "output_002.png"), "mine");
  const fake = fakeContext({ cwd });
  assert.equal(await runCli(["generate", "x", "--count", "2"], fake.context), 0);
  assert.equal(fake.out(), "Saved: output_003.png\nSaved: output_004.png\n");
  assert.equal(readFileSync(path.join(cwd, "output_002.png"), "utf8"), "mine");
});

test("--count numbers the files and counts the seeds up", async () => {
  const fake = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["generate", "", "--count", "3", "--seed", "40", "--output", "a.png"], fake.context), 0);
  assert.deepEqual(readdirSync(fake.context.cwd), ["a_001.png", "a_002.png", "a_003.png"]);
  assert.deepEqual(
    fake.jobs.map((job) => job.seed),
    [40, 41, 42],
  );
});

test("what the engine notes about a job is a lasting line, or an event", async () => {
  const note = "E_GPU_LOST: the graphics device was lost in step 12 of 30. Retrying once with smaller GPU work.";
  const fake = fakeContext({ cwd: folder(), note });
  assert.equal(await runCli(["generate", "x"], fake.context), 0);
  assert.ok(fake.err().includes(`\nNote: ${note}\n`), fake.err());
  const json = fakeContext({ cwd: folder(), note });
  assert.equal(await runCli(["generate", "x", "--json"], json.context), 0);
  assert.ok(json.out().includes(`\n${JSON.stringify({ type: "note", text: note })}\n`), json.out());
});

test("--json prints nothing but events; the picture becomes file and sha256", async () => {
  const fake = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["generate", "x", "--json", "--seed", "5"], fake.context), 0);
  const events = fake
    .out()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    events.map((event) => event.type),
    ["model", "start", "step", "image"],
  );
  const image = events.at(-1)!;
  assert.equal(image.png, undefined);
  assert.equal(image.file, path.join(fake.context.cwd, "output_001.png"));
  assert.equal(image.sha256, createHash("sha256").update(Uint8Array.of(5, 1)).digest("hex"));
  assert.equal(fake.err(), "");
});

const BAD: readonly (readonly [string, ...string[]])[] = [
  ["--steps", "0"],
  ["--steps", "1001"],
  ["--steps", "1.5"],
  ["--width", "60"],
  ["--width", "4104"],
  ["--height", "129"],
  ["--guidance", "-1"],
  ["--guidance", "NaN"],
  ["--guidance", "101"],
  ["--seed", "-1"],
  ["--seed", "9007199254740992"],
  ["--seed", "9007199254740991", "--count", "2"],
  ["--count", "0"],
  ["--backend", "gpu"],
  ["--output", "no/such/folder/a.png"],
  ["--output", "."],
  ["--wrong"],
  ["second prompt"],
];
for (const bad of BAD) {
  test(`refused before the model opens: ${bad.join(" ")}`, async () => {
    const fake = fakeContext({ cwd: folder() });
    assert.equal(await runCli(["generate", "x", ...bad], fake.context), 2);
    assert.match(fake.err(), /^E_[A-Z]+.*Next: .*\n$/);
    assert.equal(fake.opened.length, 0);
    assert.deepEqual(readdirSync(fake.context.cwd), []);
  });
}

for (const [error, exitCode] of [
  [new ArtifactError(fields), 3],
  [new BudgetError(fields), 4],
  [new DeviceError(fields), 5],
  [new Error("surprise"), 1],
] as const) {
  test(`a failing job gives exit code ${exitCode}, one line, no file`, async () => {
    const fake = fakeContext({
      cwd: folder(),
      fail: ({ job }) => {
        if (job) throw error;
      },
    });
    assert.equal(await runCli(["generate", "x", "--json"], fake.context), exitCode);
    assert.match(fake.err(), /^E_.*Next: .*\n$/);
    const last = JSON.parse(fake.out().trimEnd().split("\n").at(-1)!) as Record<string, unknown>;
    assert.equal(last.type, "error");
    assert.equal(last.message, fake.err().trimEnd());
    assert.deepEqual(readdirSync(fake.context.cwd), []);
  });
}

test("Ctrl-C stops the job: exit code 130, no file", async () => {
  const fake = fakeContext({ cwd: folder(), atStep: ({ interrupt }) => interrupt() });
  assert.equal(await runCli(["generate", "x"], fake.context), 130);
  assert.match(fake.err(), /Interrupted\.\n$/);
  assert.deepEqual(readdirSync(fake.context.cwd), []);
});

test("tokens as text and as JSON", async () => {
  const fake = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["tokens", "abc", "--json"], fake.context), 0);
  assert.deepEqual(JSON.parse(fake.out()), { tokenizer: [1, 3], tokenizer_2: [2] });
  const plain = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["tokens", "abc"], plain.context), 0);
  assert.equal(plain.out(), "tokenizer:   1 3\ntokenizer_2: 2\n");
});

test("help and version are no errors; an unknown command is", async () => {
  for (const flag of ["--help", "--version"]) {
    const fake = fakeContext({ cwd: folder() });
    assert.equal(await runCli([flag], fake.context), 0);
    assert.notEqual(fake.out(), "");
  }
  const fake = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["paint"], fake.context), 2);
  assert.match(fake.err(), /unknown command "paint"/);
});

test("control characters of a file name do not reach the terminal", async () => {
  const fake = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["inspect", "a\u001b[31m.safetensors"], fake.context), 3);
  assert.ok(!fake.err().includes("\u001b"));
});

test("inspect lists the demo model's tensors", async () => {
  const fake = fakeContext({ cwd: path.resolve(import.meta.dirname, "../../models/demo") });
  const file = "unet/diffusion_pytorch_model.fp16.safetensors";
  assert.equal(await runCli(["inspect", file, "--json"], fake.context), 0, fake.err());
  const { container, tensors } = JSON.parse(fake.out()) as { container: string; tensors: { name: string }[] };
  assert.equal(container, "safetensors");
  const convIn = tensors.find(({ name }) => name === "conv_in.weight");
  assert.deepEqual(
    { ...convIn, startByte: 0, endByte: 0 },
    {
      name: "conv_in.weight",
      dtype: "f16",
      shape: [64, 4, 3, 3],
      startByte: 0,
      endByte: 0,
    },
  );
});

test("pack says how many weights fp16 could not hold; --lossless and --overlay exclude each other", async () => {
  const cwd = folder();
  // 1 and -2 are fp16, 0.1 is not: its neighbour is 0.0999755859375.
  const bytes = new Uint8Array(Float32Array.of(1, 0.1, -2, 0.1).buffer);
  const file = encodeSafetensors([{ name: "w", dtype: "f32", shape: [2, 2], bytes }]);
  writeFileSync(path.join(cwd, "w.safetensors"), file);
  const fake = fakeContext({ cwd });
  assert.equal(await runCli(["pack", "w.safetensors", "-o", "w.lzr2"], fake.context), 0, fake.err());
  assert.match(fake.out(), /in fp16, which is all that LZR2 holds: 2 of 4 weights .* rounded, by up to 2\.44e-5/);
  const json = fakeContext({ cwd });
  assert.equal(await runCli(["pack", "w.safetensors", "-o", "w.lzr2", "--json"], json.context), 0);
  const { roundedWeights, maxRounding } = JSON.parse(json.out());
  assert.equal(roundedWeights, 2);
  assert.ok(Math.abs(maxRounding - (Math.fround(0.1) - 0.0999755859375)) < 1e-12);
  const both = fakeContext({ cwd });
  assert.equal(
    await runCli(["pack", "w.safetensors", "-o", "x.lzr2", "--overlay", "0.1", "--lossless"], both.context),
    2,
  );
  assert.match(both.err(), /--lossless.*--overlay/);
  const nowhere = fakeContext({ cwd });
  assert.equal(await runCli(["pack", "w.safetensors", "-o", "no/x.lzr2"], nowhere.context), 2);
  assert.match(nowhere.err(), /E_OUTPUT .*its folder does not exist/);
  assert.deepEqual(readdirSync(cwd).sort(), ["w.lzr2", "w.safetensors"]);
});

test("verify holds a lone weight file against the network it is of, in one JSON document", async () => {
  const demo = fileURLToPath(
    new URL("../../models/demo/unet/diffusion_pytorch_model.fp16.safetensors", import.meta.url),
  );
  const inPlace = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["verify", demo], inPlace.context), 0, inPlace.out());
  assert.match(inPlace.out(), /tensors of this model's unet in .*: all sound/);

  const cwd = folder();
  copyFileSync(demo, path.join(cwd, "small.safetensors"));
  const alone = fakeContext({ cwd });
  assert.equal(await runCli(["verify", "small.safetensors", "--json"], alone.context), 3);
  const { ok, problems, summary } = JSON.parse(alone.out());
  assert.equal(ok, false);
  assert.match(summary, /SDXL base's unet/);
  assert.match(problems[0], /shape \[256\] expected \[1280\]/);

  const bytes = new Uint8Array(8);
  writeFileSync(path.join(cwd, "x.safetensors"), encodeSafetensors([{ name: "x", dtype: "f32", shape: [2], bytes }]));
  const foreign = fakeContext({ cwd });
  assert.equal(await runCli(["verify", "x.safetensors"], foreign.context), 3);
  assert.match(foreign.out(), /none of its tensors is SDXL's/);
});
