/**
 * @file A picture that was stopped (killed, Ctrl-C, no disk, a decode that failed) goes on from its file to the same bytes; files that anybody may
 * have changed are refused in one line.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { DeviceError } from "../../src/errors.ts";
import { readUnfinished } from "../../src/job/resume-file.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import type { Engine, GenerateEvent } from "../../src/node.ts";
import { type CliContext, libraryOf } from "../../src/terminal/context.ts";
import { KeptState } from "../../src/terminal/kept-state.ts";
import { anchored } from "../../src/terminal/unfinished.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { keptEngines } from "../support/shared-engine.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MAIN = path.join(ROOT, "src/cli/main.ts");
const SMALL = ["--steps", "6", "--width", "64", "--height", "64", "--seed", "7", "--backend", "cpu"];
const DEEP = ["--model", path.join(ROOT, "fixtures/golden/deep"), ...SMALL];
const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-resume-"));
const files = (cwd: string) => readdirSync(cwd).toSorted();

type Open = CliContext["openEngine"];

const kept = keptEngines();

/** Runs with the true engine, and what it printed. `wrap` may stand between; `open`: for an engine that has drawn nothing. */
async function run(
  cwd: string,
  line: readonly string[],
  wrap?: (engine: Engine, interrupt: () => void) => Engine,
  input = "",
  open: Open = kept,
) {
  const fake = fakeContext({ cwd, input });
  const opened: Open = async (options) => {
    const engine = await open(options);
    return wrap ? wrap(engine, fake.interrupt) : engine;
  };
  const env = { SOLVAY_STATE: path.join(cwd, "state") };
  const rc = await runCli(line, { ...fake.context, env, openEngine: opened });
  return { rc, out: fake.out(), err: fake.err() };
}

/** The engine, but `see` is called with each event before it is told on. */
function seeing(engine: Engine, see: (event: GenerateEvent) => void): Engine {
  return {
    ...engine,
    info: engine.info,
    async *generate(job, options) {
      for await (const event of engine.generate(job, options)) {
        see(event);
        yield event;
        // A small model may be through before its thread hears of an interruption.
        options?.signal?.throwIfAborted();
      }
    },
    async *generateMany(requests, options) {
      for await (const told of engine.generateMany(requests, options)) {
        try {
          if ("event" in told) see(told.event);
        } catch (failure) {
          yield { index: told.index, failure };
          return;
        }
        yield told;
        options?.signal?.throwIfAborted();
      }
    },
    [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
  };
}

const stopping = (step: number) => (engine: Engine, interrupt: () => void) =>
  seeing(engine, (event) => {
    if (event.type === "step" && event.step === step) interrupt();
  });
const failingDecode = (engine: Engine) =>
  seeing(engine, (event) => {
    if (event.type === "phase" && event.phase === "decode") {
      throw new DeviceError({ code: "E_GPU_LOST", problem: "the card is gone", next: "-" });
    }
  });

/** Kills the process as soon as the file of its picture is there. */
async function killed(cwd: string, line: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [MAIN, ...line, "--json"], { cwd, stdio: ["ignore", "pipe", "inherit"] });
  const exited = new Promise<NodeJS.Signals | null>((done) => child.on("exit", (_, signal) => done(signal)));
  for await (const chunk of child.stdout) {
    if (!existsSync(path.join(cwd, "output_001.resume"))) continue;
    assert.ok(!String(chunk).includes('"image"'), "killed too late");
    child.kill("SIGKILL");
    break;
  }
  assert.equal(await exited, "SIGKILL");
}

// One that keeps a history, and one that draws noise.
for (const sampler of searched(["dpmpp-2m", "euler-a"], ["euler", "dpmpp-2m", "euler-a"])) {
  test(`${sampler}: killed in its midst, a picture goes on to the bytes of one that was not`, async () => {
    const cwd = folder();
    const line = ["generate", "a lake", ...SMALL, "--steps", "8", "--sampler", sampler];
    await run(cwd, [...line, "--output", "whole.png"]);
    await killed(cwd, [...line, "--save-every", "2"]);
    const left = files(cwd).filter((name) => !name.endsWith(".partial"));
    assert.deepEqual(left, ["output_001.resume", "whole.png"]);
    const { rc, out, err } = await run(cwd, ["resume"], undefined, "", openThreadlessEngine);
    assert.equal(rc, 0, err);
    assert.match(err, /Going on after step (?:2|4|6) of 8: a lake\n/);
    assert.equal(out, "Saved: output_001.png\n");
    assert.deepEqual(readFileSync(path.join(cwd, "output_001.png")), readFileSync(path.join(cwd, "whole.png")));
    assert.ok(!existsSync(path.join(cwd, "output_001.resume")));
  });
}

test("Ctrl-C keeps what was drawn and says how to go on; the number stays the picture's; a second pass goes on too", async () => {
  const cwd = folder();
  const line = ["generate", "a lake", ...DEEP, "--negative", "", "--hires-scale", "1.5", "--hires-steps", "4"];
  await run(cwd, [...line, "--output", "whole.png"]);
  for (const step of [2, 8]) {
    const stopped = await run(cwd, line, stopping(step));
    assert.equal(stopped.rc, 130);
    const said = /\nThe unfinished picture is kept, .*: solvay resume (output_00\d\.resume)\n/.exec(stopped.err);
    assert.ok(said, stopped.err);
    // Another picture takes another number.
    const resumed = await run(cwd, ["resume", said[1]!]);
    const name = said[1]!.replace(".resume", ".png");
    assert.equal(resumed.out, `Saved: ${name}\n`, resumed.err);
    assert.deepEqual(readFileSync(path.join(cwd, name)), readFileSync(path.join(cwd, "whole.png")));
  }
  assert.deepEqual(files(cwd), ["output_001.png", "output_002.png", "whole.png"]);
});

test("a decode that failed keeps the latent, and it is decoded again", async () => {
  const cwd = folder();
  const line = ["generate", "a lake", ...DEEP];
  await run(cwd, [...line, "--output", "whole.png"]);
  const failed = await run(cwd, [...line, "--output", "b.png"], failingDecode);
  assert.equal(failed.rc, 5);
  assert.match(failed.err, /all steps are drawn; to decode them: solvay resume b\.resume\nE_GPU_LOST/);
  const again = await run(cwd, ["resume", "b.resume", "--json"]);
  assert.ok(!again.out.includes('"type":"step"'), "no step is drawn again");
  assert.deepEqual(readFileSync(path.join(cwd, "b.png")), readFileSync(path.join(cwd, "whole.png")));
});

test("a folder that is gone at the end: the latent is kept in the folder for state, found there, and decoded again", async () => {
  const cwd = folder();
  const gone = path.join(cwd, "gone");
  mkdirSync(gone);
  const line = ["generate", "a lake", ...DEEP];
  await run(cwd, [...line, "--output", "whole.png"]);
  const lost = await run(cwd, [...line, "--output", path.join(gone, "a.png")], (engine) =>
    seeing(engine, (event) => {
      if (event.type === "image") rmSync(gone, { recursive: true });
    }),
  );
  assert.match(lost.err, /all steps are drawn; to decode them: solvay resume \/.*\/state\/unfinished\/a\.resume\n/);
  const resumed = await run(cwd, ["resume"]);
  assert.equal(resumed.out, "Saved: a.png\n", resumed.err);
  assert.deepEqual(readFileSync(path.join(cwd, "a.png")), readFileSync(path.join(cwd, "whole.png")));
  assert.deepEqual(files(path.join(cwd, "state/unfinished")), []);
});

test("a series and the loop: another picture takes another number; the loop tells of what lies here", async () => {
  const cwd = folder();
  await run(cwd, ["generate", "a lake", ...DEEP], stopping(2));
  const next = await run(cwd, ["generate", "a lake", ...DEEP]);
  assert.equal(next.out, "Saved: output_002.png\n");
  const fake = fakeContext({ cwd, input: "quit\n" });
  await runCli([], fake.context);
  assert.match(fake.err(), /Unfinished picture output_001\.resume lies here: solvay resume goes on with it\.\n/);
  const list = await run(cwd, ["resume", "--list"]);
  assert.match(list.out, /^output_001\.resume: step 2 of 6, .*deep \(cpu\): a lake\n$/);
  await run(cwd, ["generate", "a lake", ...DEEP], stopping(3));
  const which = await run(cwd, ["resume"]);
  assert.equal(which.rc, 2);
  assert.match(which.err, /E_RESUME: there are 2 unfinished pictures: output_001\.resume, output_003\.resume\./);
  assert.match((await run(folder(), ["resume"])).err, /^E_RESUME: there is no unfinished picture here/);
});

test("a series: what had not begun is drawn too, each picture the one that it would have been", async () => {
  const model = ["--model", path.join(ROOT, "fixtures/golden/flat"), "--backend", "reference", "--width", "16"];
  const line = ["generate", "x", ...model, "--height", "16", "--steps", "3", "--seed", "7", "--count", "3"];
  const whole = folder();
  assert.equal((await run(whole, line)).rc, 0);
  assert.deepEqual(files(whole), ["output_001.png", "output_002.png", "output_003.png"]);
  const cwd = folder();
  let pictures = 0;
  let series = false;
  const stopped = await run(cwd, line, (engine, interrupt) =>
    seeing(engine, (event) => {
      if (event.type === "start") pictures++;
      // As a kill at any moment would leave it.
      series ||= existsSync(path.join(cwd, "output.series"));
      if (pictures === 2 && event.type === "step" && event.step === 2) interrupt();
    }),
  );
  assert.ok(series);
  assert.match(stopped.err, /What is left of the series is kept, 2 of its pictures: solvay resume output\.series\n/);
  const list = await run(cwd, ["resume", "--list"]);
  assert.match(list.out, /^output_002\.resume: step 2 of 3, .*\noutput\.series: 2 pictures of a series: x\n$/);
  const resumed = await run(cwd, ["resume"]);
  assert.equal(resumed.out, "Saved: output_002.png\nSaved: output_003.png\n", resumed.err);
  assert.deepEqual(files(cwd), files(whole));
  for (const name of files(whole)) {
    assert.ok(readFileSync(path.join(cwd, name)).equals(readFileSync(path.join(whole, name))), name);
  }
  writeFileSync(path.join(cwd, "output.series"), "{}");
  assert.match((await run(cwd, ["resume"])).err, /^E_RESUME_FILE output\.series: it is no file of a series\./);
  // It decides nothing about where pictures are written.
  const picture = { index: 0, output: "../x.png", job: {} };
  const head = { format: "solvay series 1", id: "x", cwd, request: {}, job: { prompt: "x" } };
  writeFileSync(path.join(cwd, "output.series"), JSON.stringify({ ...head, pictures: [picture] }));
  assert.match((await run(cwd, ["resume"])).err, /^E_RESUME_FILE output\.series: it lacks something\./);
  // Nothing was drawn, so that nothing is left of it.
  rmSync(path.join(cwd, "output.series"));
  assert.notEqual((await run(cwd, [...line, "--vram", "100K"])).rc, 0);
  assert.deepEqual(files(cwd), files(whole));
});

test("Ctrl-C in the loop keeps the picture, and the loop goes on", async () => {
  const cwd = folder();
  await run(cwd, ["generate", "a lake", ...DEEP, "--output", "whole.png"]);
  const loop = await run(cwd, DEEP, stopping(3), "a lake\nquit\n");
  assert.match(loop.err, /kept, drawn up to step 3 of 6; to go on: solvay resume output_001\.resume\n/);
  assert.match(loop.out, /Stopped\.\n/);
  const resumed = await run(cwd, ["resume"]);
  assert.equal(resumed.out, "Saved: output_001.png\n", resumed.err);
  assert.deepEqual(readFileSync(path.join(cwd, "output_001.png")), readFileSync(path.join(cwd, "whole.png")));
});

test("saves by time: every 20 seconds, and before the decode where 2 seconds of work would be lost", async () => {
  const cwd = folder();
  let nowMs = 0;
  const info = {
    model: "m",
    demo: true,
    backend: "cpu",
    precision: "fp32",
    defaultWidth: 64,
    defaultHeight: 64,
  } as const;
  const options = { info, request: {}, job: { prompt: "x" }, target: undefined, now: () => nowMs };
  const context = { cwd, env: {} };
  const pace = { elapsedMs: 1, stepMs: 1, etaMs: 1, readBytes: 0, bytesPerSecond: 0, waitMs: 0 };
  const state = { x: new Float32Array(4), history: [] };
  /** At which steps it saved. */
  const saved = async (everySteps: number | undefined, timesMs: readonly number[]) => {
    nowMs = 0;
    const kept = new KeptState(context, { ...options, everySteps });
    const steps: number[] = [];
    for (const [i, ms] of timesMs.entries()) {
      nowMs = ms;
      const step = i + 1;
      await kept.observe({ type: "step", step, steps: timesMs.length, state: { ...state, step }, ...pace });
      const [file] = files(cwd);
      if (file === undefined) continue;
      await using source = await openFileSource(path.join(cwd, file));
      if ((await readUnfinished(source)).state.step === step) steps.push(step);
    }
    await kept.discard();
    assert.deepEqual(files(cwd), []);
    return steps;
  };
  assert.deepEqual(await saved(undefined, [19_999, 20_000, 39_999, 40_000, 41_999]), [2, 4]);
  assert.deepEqual(await saved(undefined, [20_000, 22_000]), [1, 2]);
  assert.deepEqual(await saved(undefined, [500, 1_000, 1_999]), []);
  assert.deepEqual(await saved(2, [1, 2, 3, 4, 5]), [2, 4, 5]);
  assert.deepEqual(await saved(0, [20_000, 40_000]), []);
});

test("another model or picture is refused, another precision is told", async () => {
  const cwd = folder();
  const model = path.join(cwd, "model");
  cpSync(path.join(ROOT, "fixtures/golden/flat"), model, { recursive: true });
  const line = ["generate", "x", "--model", model, ...SMALL, "--width", "16", "--height", "16"];
  await run(cwd, line, stopping(2));
  const weights = path.join(model, "unet/config.json");
  const before = readFileSync(weights);
  appendFileSync(weights, " ");
  const changed = await run(cwd, ["resume"], undefined, "", openThreadlessEngine);
  assert.equal(changed.rc, 3);
  assert.match(changed.err, /^E_RESUME_CHANGED output_001\.resume: the model .* is not what it was/);
  writeFileSync(weights, before);
  const other = await run(cwd, ["resume", "--backend", "reference"]);
  assert.match(other.err, /\nNote: the backend was cpu, now it is reference: the rest may come out otherwise\n/);
  assert.equal(other.rc, 0);
});

test("a LoRA that was exchanged meanwhile is refused; folders are kept by their whole paths", async () => {
  const cwd = folder();
  const lora = (value: number) => {
    const tensor = (name: string, shape: number[]) => ({
      name: `lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.${name}.weight`,
      ...{ dtype: "f32" as const, shape, bytes: new Uint8Array(new Float32Array(24).fill(value).buffer) },
    });
    return encodeSafetensors([tensor("lora_down", [1, 24]), tensor("lora_up", [24, 1])]);
  };
  const file = path.join(cwd, "loras/fur.safetensors");
  mkdirSync(path.dirname(file));
  writeFileSync(file, lora(1));
  const model = ["--model", path.join(ROOT, "fixtures/golden/flat"), ...SMALL, "--width", "16", "--height", "16"];
  const line = ["generate", "x<lora:fur:1>", "--prompt-syntax", "a1111", "--lora-dir", path.dirname(file), ...model];
  const begun = await run(cwd, line, stopping(2));
  assert.match(begun.err, /The unfinished picture is kept/);
  writeFileSync(file, lora(2));
  const changed = await run(cwd, ["resume"]);
  assert.match(
    changed.err,
    /\nE_RESUME_CHANGED output_001\.resume: the LoRA fur is not what it was when the picture was begun/,
  );
  writeFileSync(file, lora(1));
  const resumed = await run(cwd, ["resume"]);
  assert.equal(resumed.rc, 0, resumed.err);
  const host = libraryOf({ cwd, env: {} });
  assert.deepEqual(await anchored(host, { loraDir: "loras" }), { loraDir: path.dirname(file) });
});

test("files that anybody may have changed: one line each, and no more memory than they have bytes", async () => {
  const cwd = folder();
  await run(cwd, ["generate", "a lake", ...DEEP], stopping(2));
  const good = readFileSync(path.join(cwd, "output_001.resume"));
  const headerBytes = good.readUInt32LE(40);
  const header = JSON.parse(good.subarray(44, 44 + headerBytes).toString()) as Record<string, unknown>;
  const payload = good.subarray(44 + headerBytes);
  /** Whole by its sha256, but with another header. */
  const made = (changes: object, body = payload) => {
    const json = Buffer.from(JSON.stringify({ ...header, ...changes }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(json.length);
    const rest = Buffer.concat([length, json, body]);
    return Buffer.concat([Buffer.from("SOLVAYR1"), createHash("sha256").update(rest).digest(), rest]);
  };
  const flipped = Buffer.from(good);
  flipped[flipped.length - 1]! ^= 1;
  const huge = Buffer.from(good);
  huge.writeUInt32LE(2 ** 32 - 1, 40);
  const values = Number(header.values);
  const cases: readonly (readonly [Buffer, RegExp])[] = [
    [Buffer.from("x"), /E_RESUME_FILE bad\.resume: it ends too soon/],
    [Buffer.alloc(100), /E_RESUME_FILE bad\.resume: it does not begin as/],
    [good.subarray(0, good.length - 5), /E_RESUME_FILE bad\.resume: its latents are cut/],
    [Buffer.concat([good, Buffer.alloc(4)]), /E_RESUME_FILE bad\.resume: its latents are cut/],
    [flipped, /E_RESUME_FILE bad\.resume: its content is not what was written/],
    [huge, /E_RESUME_FILE bad\.resume: its header's length is wrong \(found 4294967295 bytes/],
    [made({ values: 2 ** 22, latents: 8 }), /E_RESUME_FILE bad\.resume: its latents are cut/],
    [made({ values: 2 ** 50 }), /E_RESUME_FILE bad\.resume: it does not say how large/],
    [made({ output: "../../evil.png" }), /E_RESUME_FILE bad\.resume: its header lacks something/],
    [made({ output: ".bashrc" }), /E_RESUME_FILE bad\.resume: its header lacks something/],
    [made({ step: 7 }), /E_RESUME_FILE bad\.resume: its header lacks something/],
    [made({ job: { prompt: "x", nonsense: 1 } }), /E_JOB nonsense: there is no such field/],
    [made({ request: { backend: 1 } }), /E_OPTION backend: /],
    [made({ values: values / 2, latents: 2 }), /E_STATE: .* its latent's size \(found 512 values, allowed 1024\)/],
    [
      made({ latents: 2 }, Buffer.concat([payload, payload])),
      /E_STATE: .*sampler keeps \(found 1 latents, allowed up to 0\)/,
    ],
    [made({ steps: 9, step: 8 }), /E_STATE: .* its step \(found 8, allowed 1\.\.6\)/],
  ];
  for (const [bytes, expected] of cases) {
    writeFileSync(path.join(cwd, "bad.resume"), bytes);
    const { rc, err } = await run(cwd, ["resume", "bad.resume"]);
    assert.match(err.trimEnd().split("\n").at(-1)!, expected);
    assert.ok(rc === 2 || rc === 3, `${rc}: ${err}`);
  }
});
