/** @file The interactive loop over a fake engine and piped input. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { ArtifactError, BudgetError } from "../../src/errors.ts";
import { encodePng } from "../../src/image/png.ts";
import { completeLine, typedPath } from "../../src/repl/commands.ts";
import { type FakeOptions, fakeContext } from "./fake-context.ts";

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-repl-"));

async function talk(input: string, options: Partial<FakeOptions> = {}, argv: string[] = []) {
  const fake = fakeContext({ cwd: folder(), input, ...options });
  const exitCode = await runCli(argv, fake.context);
  return { ...fake, exitCode, files: readdirSync(fake.context.cwd) };
}

test("prompts are counted, empty lines ignored, quit leaves", async () => {
  const { out, exitCode, jobs, files } = await talk("a lake\n\n  \na hill\nquit\nnever\n");
  assert.equal(exitCode, 0);
  assert.deepEqual(out().split("\n"), [
    "[1] Prompt > a lake",
    "Saved: output_001.png",
    "[2] Prompt > ",
    "[2] Prompt >   ",
    "[2] Prompt > a hill",
    "Saved: output_002.png",
    "[3] Prompt > quit",
    "Goodbye.",
    "",
  ]);
  assert.deepEqual(files, ["output_001.png", "output_002.png"]);
  assert.equal(jobs[0]?.steps, 30);
});

for (const word of ["quit", "exit", "q", "Q"]) {
  test(`${word} leaves`, async () => {
    const { jobs, exitCode } = await talk(`${word}\nnever\n`);
    assert.equal(exitCode, 0);
    assert.equal(jobs.length, 0);
  });
}

test("the end of the input leaves, even in the middle of a line", async () => {
  const { exitCode, jobs, out } = await talk("a lake");
  assert.equal(exitCode, 0);
  assert.equal(jobs.length, 1);
  assert.match(out(), /Goodbye\.\n$/);
});

test("an error is shown and the loop goes on with the same number", async () => {
  const failOnce = (job?: { prompt: string }) => {
    if (job?.prompt === "bad") throw new Error("surprise");
  };
  const { out, err, files, exitCode } = await talk("bad\ngood\n", { fail: ({ job }) => failOnce(job) });
  assert.equal(exitCode, 0);
  assert.match(err(), /^E_INTERNAL: unexpected: surprise\. Next/m);
  assert.match(out(), /\[1\] Prompt > bad\n\[1\] Prompt > good\nSaved: output_001\.png\n/);
  assert.deepEqual(files, ["output_001.png"]);
});

test("Ctrl-C stops the running image and the loop goes on", async () => {
  let presses = 0;
  const { out, files, exitCode } = await talk("one\ntwo\n", {
    atStep: ({ interrupt }) => {
      if (presses++ === 0) interrupt();
    },
  });
  assert.equal(exitCode, 0);
  assert.match(out(), /\[1\] Prompt > one\nStopped\.\n\[1\] Prompt > two\nSaved: output_001\.png\n/);
  assert.deepEqual(files, ["output_001.png"]);
});

test("line commands change the images to come", async () => {
  const commands = [":seed 7", ":steps 4", ":size 64x128", ":negative fog, rain", ":guidance 2", "a lake", ":again"];
  const more = [":seed random", ":negative", ":size default", "a hill", ":nonsense", ":steps 0", ":size 3x3"];
  const { jobs, err } = await talk(`${[...commands, ...more].join("\n")}\n`);
  const expected = { prompt: "a lake", negativePrompt: "fog, rain", seed: 7, steps: 4, guidance: 2 };
  for (const job of jobs.slice(0, 2)) {
    assert.deepEqual(job, { ...expected, width: 64, height: 128 });
  }
  assert.equal(jobs.length, 3);
  assert.equal(jobs[2]?.negativePrompt, undefined);
  assert.equal(jobs[2]?.width, undefined);
  assert.equal(err().match(/^E_USAGE/gm)?.length, 3);
});

test(":model opens another model; a name that is mistyped closes nothing, one that fails later leaves the old one in use", async () => {
  const fail: FakeOptions["fail"] = ({ check, open }) => {
    if (check?.model === "mistyped" || open?.model === "bad") {
      throw new ArtifactError({ code: "E_MISSING", subject: "bad", problem: "not there", next: "look" });
    }
  };
  const { opened, err, out, jobs } = await talk(":model good\n:model mistyped\na lake\n:model bad\na hill\n", { fail });
  assert.deepEqual(
    opened.map(({ model }) => model),
    [undefined, "good", "bad", "good"],
  );
  assert.equal(err().match(/E_MISSING bad/g)?.length, 2);
  assert.match(out(), /Model: good\n/);
  assert.equal(jobs.length, 2);
});

test("the demo model is announced, with the way to full SDXL", async () => {
  const { err } = await talk("quit\n");
  assert.match(err(), /demo.*solvay pull stabilityai\/stable-diffusion-xl-base-1\.0/);
});

test("the published artifact in the working folder goes over SDXL base, never over the demo", async () => {
  const cwd = folder();
  const artifact = path.join(cwd, "Marius_V18_SDXL.lzr2");
  writeFileSync(artifact, "LZR2");
  const { opened } = await talk("quit\n", { cwd });
  assert.equal(opened[0]?.artifact, artifact);
  assert.equal(opened[0]?.model, "stabilityai/stable-diffusion-xl-base-1.0");
  const named = await talk("quit\n", { cwd }, ["--model", "mine"]);
  assert.equal(named.opened[0]?.model, "mine");
  assert.equal(named.opened[0]?.artifact, artifact);
});

test("a model that can't be opened at the start ends the loop with its exit code", async () => {
  const missing = new ArtifactError({ code: "E_MISSING", subject: "m", problem: "not there", next: "look" });
  const { exitCode, out } = await talk("a lake\n", {
    fail: () => {
      throw missing;
    },
  });
  assert.equal(exitCode, 3);
  assert.equal(out(), "");
});

test(":load takes settings and prompt from a picture, and says what it can't", async () => {
  const cwd = folder();
  const text =
    "a barn\nNegative prompt: fog\nSteps: 7, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4, Seed: 9, Size: 64x64, Model: m, Tiling: True, Version: v1.10.1";
  const png = await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text: [{ keyword: "parameters", text }] });
  writeFileSync(path.join(cwd, "a.png"), png);
  const fake = fakeContext({ cwd, input: ":load a.png\n:again\n:load none.png\nanother\n" });
  assert.equal(await runCli([], fake.context), 0, fake.err());
  assert.match(
    fake.out(),
    /Settings of A1111 v1\.10\.1: a barn\nIts model was m, this is demo\.\nTiling: True is not understood/,
  );
  assert.match(fake.err(), /^E_MISSING/m);
  const { prompt, steps, guidance, seed, width, sampler, schedule, negativePrompt } = fake.jobs[0]!;
  assert.deepEqual(
    { prompt, steps, guidance, seed, width, sampler, schedule, negativePrompt },
    {
      prompt: "a barn",
      steps: 7,
      guidance: 4,
      seed: 9,
      width: 64,
      sampler: "dpmpp-2m",
      schedule: "karras",
      negativePrompt: "fog",
    },
  );
  assert.deepEqual([fake.jobs[1]!.prompt, fake.jobs[1]!.steps], ["another", 7]);
});

test(":load takes a picture's drawn prompts without what they were drawn from, names a model only if it is another, and wants a name", async () => {
  const cwd = folder();
  const templates = ["template", "template2", "hiresTemplate"];
  const negative = ["negativeTemplate", "negativeTemplate2", "hiresNegativeTemplate"];
  const drawn = Object.fromEntries([...templates, ...negative].map((name) => [name, "{a|c}"]));
  const record = { version: "0.1.0", prompt: "a", prompt2: "b", hiresPrompt: "c", model: "demo", ...drawn };
  const text = [{ keyword: "solvay", text: JSON.stringify(record) }];
  writeFileSync(path.join(cwd, "a.png"), await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text }));
  const fake = fakeContext({ cwd, input: ":load a.png\n:prompt2 {x|y}\n:again\n:load\n:samplr\n" });
  assert.equal(await runCli([], fake.context), 0, fake.err());
  assert.doesNotMatch(fake.out(), /Its model was/);
  const job: Readonly<Record<string, unknown>> = { ...fake.jobs[0]! };
  assert.deepEqual([job.prompt, job.prompt2, job.hiresPrompt], ["a", "{x|y}", "c"]);
  // Beside them what is typed next would not be drawn.
  assert.deepEqual(
    Object.keys(drawn).filter((name) => job[name] !== undefined),
    [],
  );
  assert.match(fake.err(), /^E_USAGE: no picture is named\. Next: type :load FILE\.$/m);
  assert.match(fake.err(), /^E_USAGE: unknown command :samplr \(nearest is :sampler\)\. Next: type :help\.$/m);
});

test(":load of a picture that says no prompt leaves the last one to :again", async () => {
  const cwd = folder();
  const text = [{ keyword: "solvay", text: JSON.stringify({ version: "0.1.0", steps: 3 }) }];
  writeFileSync(path.join(cwd, "a.png"), await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text }));
  const fake = fakeContext({ cwd, input: "a lake\n:load a.png\n:again\n" });
  assert.equal(await runCli([], fake.context), 0, fake.err());
  assert.match(fake.out(), /\nSettings of Solvay 0\.1\.0, without a prompt\n/);
  assert.deepEqual(
    fake.jobs.map(({ prompt, steps }) => [prompt, steps]),
    [
      ["a lake", 30],
      ["a lake", 3],
    ],
  );
});

test("completion knows the line commands", () => {
  const [found, typed] = completeLine(":s", ".") as [string[], string];
  assert.ok(found.every((command) => command.startsWith(":s")));
  for (const command of [":seed", ":steps", ":size", ":sampler", ":schedule"])
    assert.ok(found.includes(command), command);
  assert.deepEqual([typed, completeLine(":siz", ".")], [":s", [[":size"], ":siz"]]);
  assert.deepEqual(completeLine("a lake", "."), [[], "a lake"]);
  assert.deepEqual(completeLine(":sampler dpm2", "."), [["dpm2", "dpm2-a"], "dpm2"]);
  assert.deepEqual(completeLine(":schedule kar", "."), [["karras"], "kar"]);
  const files = fileURLToPath(new URL("../../fixtures/previews", import.meta.url));
  for (const word of ["init", "load", "model"])
    assert.deepEqual(completeLine(`:${word} tae`, files), [["taesdxl/", "taesdxl_decoder.pth"], "tae"]);
  assert.deepEqual(completeLine(":lora a.pth:0.5, tae", files), [["taesdxl/", "taesdxl_decoder.pth"], "tae"]);
  assert.deepEqual(completeLine(":embedding non", files), [["none"], "non"]);
  assert.deepEqual(completeLine(":load taesdxl/c", files), [["taesdxl/config.json"], "taesdxl/c"]);
  assert.deepEqual(completeLine(":load none/", files), [[], "none/"]);
});

test("a budget that is too small names the line that widens it", async () => {
  const fields = { code: "E_VRAM", subject: "--vram", problem: "too little", next: "give --vram 235M or more" };
  const { err } = await talk("a lake\n", {
    fail: ({ job }) => {
      if (job) throw new BudgetError(fields);
    },
  });
  assert.match(err(), /^E_VRAM :vram: too little\. Next: give :vram 235M or more\.$/m);
});

test("a line ends where people end it: the separators of paragraphs that come with pasted text don't", async () => {
  const { jobs } = await talk("a lake\u2028at dawn\u2029mist\r\na hill\n");
  assert.deepEqual(
    jobs.map(({ prompt }) => prompt),
    ["a lake at dawn mist", "a hill"],
  );
});

test("what goes with one model alone goes with it: config files and base, and at the demo its VAE, too", async () => {
  const line = ["--model", "m", "--vae", "v", "--config", "c", "--base", "b", "--artifact", "a"];
  const { opened } = await talk(":model n\n:model demo\n", {}, line);
  assert.deepEqual(
    opened.map(({ model, vae, config, base, artifact }) => [model, vae, config, base, artifact]),
    [
      ["m", "v", "c", "b", "a"],
      ["n", "v", undefined, undefined, "a"],
      [undefined, undefined, undefined, undefined, undefined],
    ],
  );
});

test("previews are asked for where they are shown", async () => {
  for (const [how, previews] of [
    ["blocks", true],
    ["off", undefined],
  ] as const) {
    const fake = fakeContext({ cwd: folder(), input: "a lake\n" });
    Object.assign(fake.context.stderr, { isTTY: true });
    assert.equal(await runCli(["--preview", how], fake.context), 0);
    assert.equal(fake.beside[0]?.previews, previews, how);
  }
});

test("letters of several bytes may come in pieces, as a pipe brings them", async () => {
  const bytes = Buffer.from("湖 at dawn\né\n");
  const fake = fakeContext({ cwd: folder() });
  const stdin = Readable.from([...bytes].map((byte) => Uint8Array.of(byte)));
  assert.equal(await runCli([], { ...fake.context, stdin }), 0);
  assert.deepEqual(
    fake.jobs.map(({ prompt }) => prompt),
    ["湖 at dawn", "é"],
  );
});

test("a command without a value tells what stands, its default too; the help says which are so cleared", async () => {
  const { out } = await talk(":steps\n:steps 4\n:steps\n:guidance\n:help\n");
  assert.deepEqual(out().match(/^(Steps|Guidance): .*$/gm), ["Steps: 30", "Steps: 4", "Steps: 4", "Guidance: 5"]);
  assert.match(out(), /^ *:negative .*; without text: cleared$/m);
  assert.match(out(), /^ {2}:hires-strength N\|default\n {26}how much the second pass draws anew/m);
  assert.doesNotMatch(out(), /^ *:steps .*cleared$/m);
});

test(":vram auto and :ram auto give the default back", async () => {
  const { budgets, out } = await talk(":vram 1G\n:ram 2G\n:vram auto\n:ram auto\n");
  assert.deepEqual(budgets.slice(2), [{ vram: undefined }, { ram: undefined }]);
  assert.match(out(), /VRAM: chosen by what is free\n.*:ram auto\nRAM: chosen by what is free\n/);
});

test("paths are typed as in a shell: from the home folder, and in quotes", async () => {
  assert.equal(typedPath("~/my models/x"), path.join(homedir(), "my models/x"));
  assert.equal(typedPath("~"), homedir());
  assert.equal(typedPath('"/a b/c"'), "/a b/c");
  assert.equal(typedPath("'~/a'"), path.join(homedir(), "a"));
  for (const plain of ["a/b", "~other/x", "it's", 'a"b', "store:12"]) assert.equal(typedPath(plain), plain);
  const { opened } = await talk(":model '/a b'\n");
  assert.equal(opened[1]?.model, "/a b");
});

test("a seed that is none is answered in the loop's words; -1 is a random one", async () => {
  const { err, out } = await talk(":seed abc\n:seed 18446744073709551615\n:seed -1\n");
  assert.match(err(), /^E_USAGE: :seed must be .*Next: give :seed a value/m);
  assert.match(out(), /Seed: 18446744073709551615\n.*\nSeed: random\n/);
});

test("a folder that takes no pictures is said before the model opens", async () => {
  const cwd = folder();
  writeFileSync(path.join(cwd, "output_999999.png"), "");
  const { exitCode, opened, err } = await talk("a lake\n", { cwd });
  assert.deepEqual([exitCode, opened.length], [2, 0]);
  assert.match(err(), /^E_OUTPUT /);
});
