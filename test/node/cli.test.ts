/** @file The command line over a fake engine: output files, JSON lines, limits, errors and exit codes. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { ArtifactError, BudgetError, DeviceError } from "../../src/errors.ts";
import { largestPngBytes, requireFreeDisk } from "../../src/terminal/output-file.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
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
  assert.equal(await runCli([...line, ...more], { ...fake.context, openEngine: openThreadlessEngine }), 0, fake.err());
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

test("of a variation --count counts the subseeds up, and the seed stays", async () => {
  const fake = fakeContext({ cwd: folder() });
  const line = ["--count", "2", "--seed", "4", "--subseed", "18446744073709551614", "--subseed-strength", "0.2"];
  assert.equal(await runCli(["generate", "x", ...line], fake.context), 0, fake.err());
  assert.deepEqual(
    fake.jobs.map(({ seed, subseed, subseedStrength }) => [seed, subseed, subseedStrength]),
    [
      [4, "18446744073709551614", 0.2],
      [4, "18446744073709551615", 0.2],
    ],
  );
  const past = fakeContext({ cwd: folder() });
  assert.notEqual(await runCli(["generate", "x", ...line.with(1, "3")], past.context), 0);
  assert.match(past.err(), /--subseed 18446744073709551614 with --count 3 passes the largest seed/);
});

test("a legal name of 255 bytes is no longer while the picture is written", async () => {
  const fake = fakeContext({ cwd: folder() });
  const name = `${"x".repeat(251)}.png`;
  assert.equal(await runCli(["generate", "x", "--output", name], fake.context), 0, fake.err());
  assert.deepEqual(readdirSync(fake.context.cwd), [name]);
});

test("--seed -1 is a random one; seeds count up exactly past 2^53", async () => {
  const fake = fakeContext({ cwd: folder() });
  const first = ["--seed", "9007199254740991", "--count", "3"];
  assert.equal(await runCli(["generate", "x", ...first], fake.context), 0, fake.err());
  const seeds = fake.jobs.map(({ seed }) => seed);
  assert.deepEqual(seeds, [9007199254740991, "9007199254740992", "9007199254740993"]);
  assert.equal(await runCli(["generate", "x", "--seed", "-1"], fake.context), 0);
  assert.ok(Number.isInteger(fake.jobs[3]?.seed) && Number(fake.jobs[3]?.seed) >= 0);
});

test("names with more than six digits are another program's; past 999 come four digits; past 999999 nothing", async () => {
  const cwd = folder();
  const saved = async () => {
    const fake = fakeContext({ cwd });
    const exitCode = await runCli(["generate", "x"], fake.context);
    return exitCode === 0 ? fake.out() : `${exitCode} ${fake.err()}`;
  };
  const take = (name: string) => writeFileSync(path.join(cwd, name), "");
  take("output_1705312345678901234.png");
  take("output_0000007.png");
  take("my_output_005.png");
  take("output_006.png.txt");
  assert.equal(await saved(), "Saved: output_001.png\n");
  take("OUTPUT_999.PNG");
  assert.equal(await saved(), "Saved: output_1000.png\n");
  take("output_999998.png");
  assert.equal(await saved(), "Saved: output_999999.png\n");
  assert.match(await saved(), /^2 E_OUTPUT .*output_999999\.png, the last number there is\. Next: move them/);
});

test("several pictures, and not as many numbers left: said before the first of them", async () => {
  const cwd = folder();
  writeFileSync(path.join(cwd, "output_999998.png"), "");
  const fake = fakeContext({ cwd });
  assert.equal(await runCli(["generate", "x", "--count", "2"], fake.context), 2);
  assert.match(fake.err(), /^E_OUTPUT .*the last number there is/);
  assert.equal(fake.opened.length, 0);
});

test("a name asks for a format by how it ends, whatever it is else; no picture takes the place of a model or a saved state", async () => {
  for (const name of [".jpg", "a.JPG ", "a.b.jpg.", "é\u202e.jpeg"]) {
    const fake = fakeContext({ cwd: folder() });
    assert.equal(await runCli(["generate", "x", "--output", name], fake.context), 0, fake.err());
    assert.equal(fake.jobs[0]?.format, "jpeg", name);
    assert.match(fake.out(), /^Saved: [^\u202e]+\n$/);
  }
  for (const [name, next] of [
    ["a.safetensors", 'name it "a.png"'],
    ["a.resume", 'name it "a.png"'],
    ["a.gif ", 'name it "a.png"'],
    ["-", "name a file"],
  ]) {
    const fake = fakeContext({ cwd: folder() });
    assert.equal(await runCli(["generate", "x", "--output", name!], fake.context), 2);
    assert.match(fake.err(), new RegExp(`^E_OUTPUT ${name!.trim()}: .*\\. Next: ${next}\\.\n$`));
    assert.equal(fake.opened.length, 0);
  }
});

test("dashes before everything are those that npm would have taken", async () => {
  const fake = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["--", "generate", "x", "--steps", "3"], fake.context), 0, fake.err());
  assert.equal(fake.jobs[0]?.steps, 3);
});

test("an option of other programs, the start of one, or an argument as one: what to write is said", async () => {
  for (const [line, next] of [
    ["generate x --num-inference-steps 3", "write --steps <n>"],
    ["generate x --negative-prompt=bad", "write --negative <text>"],
    ["generate x --out a.png", "write --outpaint or --output"],
    ["--guidance_scale 3", "write --guidance <n>"],
    ["import --model m", "give it without --model: solvay import <model>"],
    ["generate x --nonsense", "run solvay generate --help"],
  ] as const) {
    const fake = fakeContext({ cwd: folder() });
    assert.equal(await runCli(line.split(" "), fake.context), 2);
    assert.match(fake.err(), /^E_USAGE: unknown option '--[a-z_-]+'[^\n]*\n$/);
    assert.ok(fake.err().endsWith(`. Next: ${next}.\n`), fake.err());
  }
});

test("a folder that takes no file is refused before the model opens", async () => {
  // Root may write to a folder without the right to; to /proc it can't.
  const cwd = process.getuid?.() === 0 ? "/proc" : folder();
  if (cwd !== "/proc") chmodSync(cwd, 0o500);
  for (const more of [[], ["--output", "a.png"]]) {
    const fake = fakeContext({ cwd });
    assert.equal(await runCli(["generate", "x", ...more], fake.context), 2);
    assert.match(fake.err(), /^E_OUTPUT .*no file can be written to \S+ \([^)]+\)\. Next: .*\n$/);
    assert.ok(!fake.err().includes(".solvay"), fake.err());
    assert.equal(fake.opened.length, 0);
  }
  if (cwd !== "/proc") chmodSync(cwd, 0o700);
});

test("a picture whose place is gone when it is finished is kept elsewhere, and the error says where", async () => {
  const cwd = folder();
  mkdirSync(path.join(cwd, "out"));
  const fake = fakeContext({ cwd, atStep: () => rmSync(path.join(cwd, "out"), { recursive: true }) });
  assert.equal(await runCli(["generate", "x", "--output", "out/a.png"], fake.context), 3);
  const last = fake.err().trimEnd().split("\n").at(-1)!;
  assert.match(last, /^E_OUTPUT out\/a\.png: the picture could not be written there \(not found\), and was saved as /);
  assert.ok(last.includes(path.join(cwd, "output_001.png")), last);
  assert.ok(!/partial|\.solvay/.test(last), last);
  assert.equal(readFileSync(path.join(cwd, "output_001.png")).byteLength, 2);
});

test("with the working folder gone, too, it is kept among the temporary files", async () => {
  const cwd = folder();
  const fake = fakeContext({ cwd, atStep: () => rmSync(cwd, { recursive: true }) });
  assert.equal(await runCli(["generate", "x"], fake.context), 3);
  const [, kept = ""] = /was saved as (.*\.png)\. Next: move it from there\.\n$/.exec(fake.err()) ?? [];
  assert.equal(path.dirname(kept), tmpdir(), fake.err());
  assert.equal(readFileSync(kept).byteLength, 2);
  rmSync(kept);
});

test("a disk with less than the picture can take is refused, and says how much", async () => {
  const cwd = folder();
  await assert.rejects(
    requireFreeDisk(cwd, "a.png", 1e18),
    /^BudgetError: E_DISK_FULL a\.png: the disk is full \(found .*/,
  );
  await requireFreeDisk(cwd, "a.png", 1);
  // One byte of each pixel's colours, which noise needs, and the filter of each row.
  assert.ok(largestPngBytes({ width: 64, height: 32 }, 0) > 32 * (3 * 64 + 1));
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
  assert.equal(image.bytes, 2);
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
  ["--seed", "-2"],
  ["--seed", "18446744073709551616"],
  ["--seed", "18446744073709551615", "--count", "2"],
  ["--count", "0"],
  ["--backend", "gpu"],
  ["--output", "no/such/folder/a.png"],
  ["--output", "."],
  ["--output", ""],
  ["--output", "new/"],
  ["--output", "lake.gif"],
  ["--output", "lake.png", "--format", "jpeg"],
  ["--output", "LAKE.JPEG", "--lossless"],
  ["--output", "lake.webp", "--quality", "101"],
  ["--quality", "90"],
  ["--output", "x".repeat(256)],
  ["--output", `${"x".repeat(248)}.png`, "--count", "2"],
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

test("tokens says what a long prompt loses; JSON has it beside the ids", async () => {
  const long = "x".repeat(100);
  const plain = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["tokens", long], plain.context), 0);
  assert.match(plain.err(), /\nNote: The prompt is too long for tokenizer \(75 tokens\): 2 are left out, "xx"\n$/);
  const json = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["tokens", long, "--json"], json.context), 0);
  assert.deepEqual(JSON.parse(json.out()).cut, { tokenizer: { limit: 75, tokens: 2, text: "xx" } });
});

test("a job notes what its prompts lose before it computes", async () => {
  const fake = fakeContext({ cwd: folder() });
  const model = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
  const line = ["generate", "lake ".repeat(90), "--negative", "fog ".repeat(80), "--model", model, "--json"];
  const small = ["--backend", "reference", "--steps", "1", "--width", "16", "--height", "16"];
  assert.equal(await runCli([...line, ...small], { ...fake.context, openEngine: openThreadlessEngine }), 0, fake.err());
  const events = fake
    .out()
    .trimEnd()
    .split("\n")
    .map((text) => JSON.parse(text));
  const at = events.findIndex(({ type }) => type === "start");
  assert.match(
    events[at + 1].text,
    /^The prompt is too long for tokenizer and tokenizer_2 \(75 tokens\): \d+ are left out/,
  );
  assert.match(events[at + 2].text, /^The negative prompt is too long for/);
  const unguided = fakeContext({ cwd: folder() });
  assert.equal(
    await runCli([...line, ...small, "--guidance", "1"], { ...unguided.context, openEngine: openThreadlessEngine }),
    0,
  );
  assert.ok(!unguided.out().includes("The negative prompt"));
});

test("what people type by mistake is answered with what they meant", async () => {
  const answer = async (argv: readonly string[], env: Record<string, string> = {}) => {
    const fake = fakeContext({ cwd: folder() });
    const exitCode = await runCli(argv, { ...fake.context, env });
    assert.equal(fake.opened.length, 0);
    return `${exitCode} ${fake.err()}${fake.out()}`;
  };
  const unquoted = ["a", "lake", "at", "dawn"];
  assert.match(await answer(["generate", ...unquoted, "--steps", "2"]), /^2 .*: solvay generate "a lake at dawn"\.\n$/);
  assert.match(await answer(["tokens", ...unquoted]), /^2 .*: solvay tokens "a lake at dawn"\.\n$/);
  assert.match(await answer(unquoted), /^2 .*solvay generate "a lake at dawn"\.\n$/);
  const npm = { npm_lifecycle_event: "start", npm_config_model: "true", npm_config_cache: "/c" };
  assert.match(await answer(["x"], npm), /^2 E_USAGE --model: npm .*: npm start -- --model <dir\|file\|hub-id>\.\n$/);
  assert.match(await answer(["x"], { ...npm, npm_config_model: "m" }), /: npm start -- --model m\.\n$/);
  assert.match(await answer(["--version"], { ...npm, npm_lifecycle_event: "test" }), /^0 /);
  assert.match(await answer(["store"]), /^0 Usage: solvay store(?:.|\n)*\n {2}verify /);
  assert.match(await answer(["store", "lst"]), /^2 .*unknown command 'lst' \(Did you mean list\?\)/);
  assert.match(
    await answer(["--help"]),
    /^0 (?:.|\n)*\nPictures:(?:.|\n)*\n {2}generate (?:.|\n)*\nModels:(?:.|\n)*\n {2}pull /,
  );
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
