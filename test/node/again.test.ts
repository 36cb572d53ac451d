/** @file `solvay show` and `solvay again`: a picture says how it was made, and is made again from that, to the byte; or why not. */
import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { readPicture } from "../../src/node/pictures.ts";
import { SOLVAY_VERSION } from "../../src/version.ts";
import { keptEngines } from "../support/shared-engine.ts";
import { fakeContext } from "./fake-context.ts";

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-again-"));
const UPSCALER = fileURLToPath(new URL("../../fixtures/upscalers/compact-x2.pth", import.meta.url));
const FLAT = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));

const kept = keptEngines();

/** Runs with a true engine, and what it printed. */
async function run(cwd: string, ...line: string[]): Promise<{ rc: number; out: string; err: string }> {
  const fake = fakeContext({ cwd });
  const rc = await runCli(line, { ...fake.context, openEngine: kept });
  return { rc, out: fake.out(), err: fake.err() };
}

/** A picture of another program. */
async function foreign(cwd: string, text: string, keyword = "parameters"): Promise<void> {
  const png = await encodePng({ width: 2, height: 2, rgb: new Uint8Array(12), text: [{ keyword, text }] });
  writeFileSync(path.join(cwd, "foreign.png"), png);
}

const SMALL = ["--steps", "2", "--width", "16", "--height", "16"];

test("the demo's picture is made again to the byte from itself, whatever was asked for", async () => {
  const cwd = folder();
  const asked: readonly (readonly string[])[] = [
    ["a lake, dawn: 山\nSteps: 7, Seed: 8, Size: 9x9", "--negative", 'fog "x"\ny', "--seed", "18446744073709551615"],
    ["", "--negative", "", "--seed", "0", "--guidance", "7.25"],
    ["x", "--seed", "5", "--guidance", "1"],
    ["x", "--seed", "6", "--hires-scale", "1.5", "--hires-upscaler", UPSCALER],
  ];
  for (const [i, line] of asked.entries()) {
    const made = await run(cwd, "generate", ...line, ...SMALL, "--backend", "cpu", "--output", "a.png");
    assert.equal(made.rc, 0, made.err);
    const again = await run(cwd, "again", "a.png");
    assert.equal(again.rc, 0, again.err);
    assert.match(again.err, /\nThe same file, byte for byte\.\n$/);
    const file = `output_00${i + 1}.png`;
    assert.equal(again.out, `Saved: ${file}\n`);
    assert.deepEqual(readFileSync(path.join(cwd, file)), readFileSync(path.join(cwd, "a.png")));
  }
});

test("a JPEG and a lossless WebP are made again to the byte, a WebP's pixels are the PNG's, and a new name changes the format", async () => {
  const cwd = folder();
  const flat = ["--model", FLAT, "--backend", "reference"];
  const lines = [
    ["--output", "a.jpg", "--quality", "70"],
    ["--output", "b.webp", "--lossless"],
  ];
  for (const [i, line] of lines.entries()) {
    const made = await run(cwd, "generate", "x", ...SMALL, "--seed", "5", ...flat, ...line);
    assert.equal(made.rc, 0, made.err);
    const again = await run(cwd, "again", line[1]!, ...flat);
    assert.match(again.err, /\nThe same file, byte for byte\.\n$/);
    assert.equal(again.out, `Saved: output_00${i + 1}.${i === 0 ? "jpg" : "webp"}\n`);
  }
  const other = await run(cwd, "again", "a.jpg", ...flat, "--output", "c.png");
  assert.equal(other.rc, 0, other.err);
  const { rgb } = await readPicture(new Uint8Array(readFileSync(path.join(cwd, "b.webp"))), { name: "b.webp" });
  const { pixels } = await decodePng(new Uint8Array(readFileSync(path.join(cwd, "c.png"))));
  assert.deepEqual(Buffer.from(rgb), Buffer.from(pixels));
});

test("what stood in for parts of the model is told, and taken again where it is here; a chosen file is compared by its hash", async (t) => {
  const cwd = folder();
  // The engine's paths are from where the process is.
  const before = process.cwd();
  process.chdir(cwd);
  t.after(() => process.chdir(before));
  const fixtures = fileURLToPath(new URL("../../fixtures", import.meta.url));
  for (const [from, to] of [
    ["golden/deep", "deep"],
    ["golden/conv-proj/vae", "other-vae"],
    ["golden/deep/vae/diffusion_pytorch_model.safetensors", "vae.safetensors"],
    ["from-pictures/refiner", "refiner"],
  ] as const) {
    cpSync(path.join(fixtures, from), path.join(cwd, to), { recursive: true });
  }
  const line = ["generate", "x", "--seed", "5", ...SMALL, "--backend", "cpu", "--model", "deep"];
  const made = async (name: string, ...more: string[]) => {
    const { rc, err } = await run(cwd, ...line, ...more, "--output", name);
    assert.equal(rc, 0, err);
  };
  await made("a.png", "--vae", "other-vae", "--prediction", "v_prediction");
  const shown = JSON.parse((await run(cwd, "show", "--json", "a.png")).out) as { facts: Record<string, string> };
  assert.deepEqual([shown.facts.vae, shown.facts.prediction], ["other-vae", "v_prediction"]);
  const again = await run(cwd, "again", "a.png");
  assert.match(again.err, /\n {2}the VAE is taken by its name other-vae\n(?:.*\n)*The same file, byte for byte\.\n$/);
  rmSync(path.join(cwd, "other-vae"), { recursive: true });
  const without = await run(cwd, "show", "a.png");
  assert.match(without.out, /\n {2}its VAE other-vae is not here, and the model's own is taken/);

  await made("b.png", "--vae", "vae.safetensors", "--refiner", "refiner");
  const same = await run(cwd, "again", "b.png", "--vae", "vae.safetensors");
  assert.match(same.err, /^(?!Not byte)(?:.*\n)*The same file, byte for byte\.\n$/);
  writeFileSync(path.join(cwd, "wrong.safetensors"), "x");
  const wrong = await run(cwd, "again", "b.png", "--vae", "wrong.safetensors");
  assert.match(wrong.err, /its VAE's hash was [0-9a-f]{10}, that of wrong\.safetensors here is 2d711642b7\n/);
  rmSync(path.join(cwd, "refiner"), { recursive: true });
  const alone = await run(cwd, "again", "b.png");
  assert.match(
    alone.err,
    /^E_MODEL_UNKNOWN b\.png: its refiner refiner was not found here\. Next: name the refiner with --refiner\./,
  );
});

test("a picture to begin with is known by its content: show says when it is another", async (t) => {
  const cwd = folder();
  // The engine's paths are from where the process is.
  const before = process.cwd();
  process.chdir(cwd);
  t.after(() => process.chdir(before));
  const where = ["--model", FLAT, "--backend", "reference"];
  const small = ["--width", "16", "--height", "16", "--seed", "5"];
  assert.equal((await run(cwd, "generate", "x", ...SMALL, "--seed", "5", ...where, "--output", "init.png")).rc, 0);
  cpSync(path.join(cwd, "init.png"), path.join(cwd, "mask.png"));
  const pictures = ["--init-image", "init.png", "--mask-image", "mask.png", "--steps", "2"];
  const made = await run(cwd, "generate", "x", ...small, ...where, ...pictures, "--output", "a.png");
  assert.equal(made.rc, 0, made.err);
  const told = (await run(cwd, "show", "a.png")).out;
  assert.ok(!/is not what it was|is not here\n.*init/.test(told), told);
  assert.equal((await run(cwd, "generate", "y", ...SMALL, "--seed", "6", ...where, "--output", "mask.png")).rc, 0);
  const changed = (await run(cwd, "show", "a.png")).out;
  assert.match(changed, /\n {2}its mask, mask\.png, is not what it was\n/);
  assert.doesNotMatch(changed, /picture to begin with/);
});

test("options stand in place of what the picture says, and what can't be is said before the work", async () => {
  const cwd = folder();
  const where = ["--model", FLAT, "--backend", "reference"];
  await run(cwd, "generate", "x", ...SMALL, "--seed", "5", ...where, "--output", "a.png");
  await run(cwd, "generate", "x", ...SMALL, "--seed", "6", ...where, "--output", "b.png");
  const lost = await run(cwd, "again", "a.png");
  assert.equal(lost.rc, 2);
  assert.match(
    lost.err,
    /^E_MODEL_UNKNOWN a\.png: its model flat was not found here\. Next: name the model with --model\./,
  );
  const other = await run(cwd, "again", "a.png", "--seed", "6", "--model", FLAT, "--output", "c.png");
  assert.match(
    other.err,
    /^Not byte for byte the picture that Solvay \S+ made:\n {2}the model is .*flat, by your choice\n/,
  );
  assert.ok(!/byte for byte\.\n$/.test(other.err));
  assert.deepEqual(readFileSync(path.join(cwd, "c.png")), readFileSync(path.join(cwd, "b.png")));
  const prompt = await run(cwd, "again", "a.png", "--prompt", "y", "--model", FLAT, "--json", "--output", "d.png");
  const events = prompt.out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(events[0]!.type, "again");
  assert.equal((events[0]!.job as Record<string, unknown>).prompt, "y");
  assert.equal(events.at(-1)?.type, "image");
});

test("show: people's view with every line, control characters taken out, and the same as JSON", async () => {
  const cwd = folder();
  await run(cwd, "generate", "two\nlines", ...SMALL, "--seed", "5", "--backend", "cpu", "--output", "a.png");
  const shown = await run(cwd, "show", "a.png");
  assert.match(shown.out, /^a\.png: PNG, 16x16, made by Solvay \S+\n/);
  assert.match(shown.out, /\n {2}prompt +two\n {16}lines\n/);
  assert.match(shown.out, /\n {2}seed +5\n/);
  assert.match(shown.out, /\nMade again byte for byte by: solvay again/);
  const json = JSON.parse((await run(cwd, "show", "--json", "a.png")).out) as Record<string, unknown>;
  assert.deepEqual(json.remake, { exact: true, modelFound: true, reasons: [] });
  await foreign(
    cwd,
    "evil\x1b[2J\nSteps: 3, Seed: 4, CFG scale: 7, Size: 64x64, Model: ../../etc/passwd, Version: v1.10.1",
  );
  const evil = await run(cwd, "show", "foreign.png");
  assert.ok(!evil.out.includes("\x1b"));
  assert.match(evil.out, /made by A1111 v1\.10\.1\n/);
  assert.match(evil.out, /\nNot byte for byte here:\n.*other pixels\n(?:.*\n)*? {2}its model \S+ is not here\n/);
});

test("of an A1111 picture what is understood is used, with the model that is named", async () => {
  const cwd = folder();
  await foreign(
    cwd,
    "a cat\nNegative prompt: dog\nSteps: 2, CFG scale: 3, Seed: 4, Size: 16x16, Model: m, Tiling: True, Version: v1.10.1",
  );
  const again = await run(cwd, "again", "foreign.png", "--model", FLAT, "--backend", "reference", "--output", "a.png");
  assert.equal(again.rc, 0, again.err);
  assert.match(again.err, /\n {2}Tiling: True is not understood here: left out\n/);
  const { job } = JSON.parse((await run(cwd, "show", "--json", "a.png")).out) as { job: Record<string, unknown> };
  const { prompt, negativePrompt, steps, guidance, seed, width, height } = job;
  assert.deepEqual(
    { prompt, negativePrompt, steps, guidance, seed, width, height },
    { prompt: "a cat", negativePrompt: "dog", steps: 2, guidance: 3, seed: 4, width: 16, height: 16 },
  );
});

test("a model is found by its name in the folder, and a picture of another version says so", async () => {
  const cwd = folder();
  const pictures = { initImage: "gone.png", maskImage: "mask.png" };
  const record = {
    version: "0.0.1",
    prompt: "x",
    seed: 1,
    steps: 1,
    width: 16,
    height: 16,
    guidance: 1,
    model: "mine",
  };
  await foreign(cwd, JSON.stringify({ ...record, backend: "reference", artifact: "a.lzr2", ...pictures }), "solvay");
  copyFileSync(path.join(FLAT, "model_index.json"), path.join(cwd, "mine.safetensors"));
  writeFileSync(path.join(cwd, "mask.png"), "");
  const { remake } = JSON.parse((await run(cwd, "show", "--json", "foreign.png")).out) as {
    remake: { modelFound: boolean; reasons: string[] };
  };
  assert.equal(remake.modelFound, true);
  assert.deepEqual(remake.reasons, [
    `Solvay 0.0.1 made it, this is ${SOLVAY_VERSION}`,
    "its picture to begin with, gone.png, is not here",
    "the artifact a.lzr2 that was laid over its model is not in this folder",
  ]);
});

test("what holds nothing, and what is no picture, are one clear error", async () => {
  const cwd = folder();
  await foreign(cwd, "a comment of somebody", "Comment");
  const none = await run(cwd, "show", "foreign.png");
  assert.deepEqual([none.rc, none.out.includes("Its texts: Comment (21 characters).")], [0, true]);
  const again = await run(cwd, "again", "foreign.png");
  assert.equal(again.rc, 3);
  assert.match(again.err, /^E_NO_SETTINGS foreign\.png: nothing in it says how it was made\./);
  writeFileSync(path.join(cwd, "x.txt"), "text");
  assert.match((await run(cwd, "show", "x.txt")).err, /^E_IMAGE_KIND x\.txt: /);
  assert.match((await run(cwd, "show", "none.png")).err, /^E_MISSING /);
});
