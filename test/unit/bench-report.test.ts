/** @file The steps of `solvay bench --report`: what each asks the command for, what it makes of the answer, and what counts as failed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ChildRequest, type ChildResult, runChild } from "../../src/bench/report/child.ts";
import { failureOf, SolvayCommand } from "../../src/bench/report/command.ts";
import { demoSteps } from "../../src/bench/report/demo-steps.ts";
import { benchShape, doctor } from "../../src/bench/report/machine-steps.ts";
import { modelSteps } from "../../src/bench/report/model-steps.ts";
import { pictureFigures } from "../../src/bench/report/pictures.ts";
import { FULL, QUICK, type Run, type Step } from "../../src/bench/report/step.ts";
import { stepsOf } from "../../src/bench/report/steps.ts";

const lines = (...events: object[]) => events.map((event) => JSON.stringify(event)).join("\n");
const done = (stdout: string): ChildResult => ({ stdout, stderrTail: "" });

/** A run whose commands `answer` gives, and what they were asked for. */
function runOf(answer: (args: readonly string[]) => ChildResult, more: Partial<Run> = {}) {
  const asked: ChildRequest[] = [];
  const solvay = new SolvayCommand("main.ts", { A: "1" }, async (request) => {
    asked.push(request);
    return answer(request.args.slice(request.args.indexOf("main.ts") + 1));
  });
  const run: Run = { solvay, work: "/work", quick: false, sizes: FULL, adapterArgs: ["--adapter", "card"], ...more };
  return { run, asked };
}

const given = (args: readonly string[], flag: string) => args[args.indexOf(flag) + 1];
async function outcomes(steps: readonly Step[]): Promise<Record<string, string | undefined>> {
  const found: Record<string, string | undefined> = {};
  for (const step of steps) found[step.name] = (await step.run(1000)).error;
  return found;
}

test("the demo model's picture is drawn under three budgets, of which the least is learnt from a refusal, and must be one", async () => {
  for (const [other, error] of [
    ["aa", undefined],
    ["bb", "the pictures differ, or lack"],
  ] as const) {
    const { run, asked } = runOf((args) => {
      if (given(args, "--vram") === "1M")
        return { ...done(""), stderrTail: "Next: give --vram 812M or more.", failure: "exit code 1" };
      const sha256 = given(args, "--vram") === "860M" ? other : "aa";
      return done(lines({ type: "plan" }, { type: "image", sha256 }));
    });
    const found = await outcomes(demoSteps(run));
    assert.equal(found["demo: one picture"], error);
    assert.ok(Object.entries(found).every(([name, failure]) => name === "demo: one picture" || failure === undefined));
    assert.deepEqual(
      asked.map(({ args }) => [given(args, "--vram"), given(args, "--precision")]),
      [
        ["4G", "fp32"],
        ["1M", "fp32"],
        ["812M", "fp32"],
        ["860M", "fp32"],
        ["4G", "fp16"],
      ],
    );
    for (const { args, env, limitMs } of asked) {
      assert.deepEqual([env, limitMs], [{ A: "1" }, 1000]);
      assert.deepEqual([given(args, "--seed"), given(args, "--steps"), given(args, "--width")], ["1", "8", "256"]);
      assert.equal(given(args, "--adapter"), "card");
      assert.ok(!args.includes("--model"));
    }
  }
});

test("a picture that lacks is no sameness, and no least budget no zero", async () => {
  const { run, asked } = runOf(() => ({ ...done(""), stderrTail: "E_GPU: lost", failure: "exit code 1" }), {
    ...{ quick: true, sizes: QUICK, model: "model" },
  });
  assert.deepEqual(await outcomes(demoSteps(run)), {
    "demo, fp32, 4G": "exit code 1: E_GPU: lost",
    "demo: the least budget": "no budget is named in: E_GPU: lost",
    "demo, fp32, the least": "the least budget isn't known",
    "demo: one picture": "the pictures differ, or lack",
  });
  assert.ok(asked.every(({ args }) => given(args, "--model") === "model"));
});

test("a full model: a budget that the card has not is no failure; fp16 without matrices is asked for where there are some", async () => {
  for (const [precision, runs] of [
    ["fp16 (subgroup matrices)", 3],
    ["fp16 (shader-f16)", 2],
  ] as const) {
    const { run, asked } = runOf(() => done(lines({ type: "image", precision })), { model: "sdxl" });
    const { resident, streamed } = modelSteps(run);
    assert.deepEqual(await outcomes(resident), {
      ...{ "model, fp32, 12G": undefined, "model, fp16, 12G": undefined },
      "model, fp16 without matrices, 12G": undefined,
    });
    assert.equal(asked.length, runs, precision);
    const hooked = asked.filter(
      ({ args: [flag, hook = ""] }) => flag === "--import" && hook.includes("without-matrices"),
    );
    assert.equal(hooked.length, runs - 2);
    const budgets = streamed.map(({ name }) => name.split(", ")[2]);
    assert.deepEqual(budgets, ["4G", "4G", "4G", "3G", "3G", "3G", "6G", "6G", "6G"]);
  }
  const failing = (said: string) =>
    runOf(() => ({ ...done(""), stderrTail: said, failure: "exit code 1" }), { model: "m" });
  const [first] = modelSteps(failing("E_VRAM: too small").run).resident;
  assert.deepEqual(await first!.run(1), { figures: "too small", summary: "this card has not 12G" });
  const [other] = modelSteps(failing("E_GPU: lost").run).resident;
  assert.match((await other!.run(1)).error!, /E_GPU: lost/);
  assert.deepEqual(modelSteps(runOf(() => done("")).run), { resident: [], streamed: [] });
});

test("what matters most comes first, and in a dry run little is run", () => {
  const names = (more: Partial<Run>) => stepsOf(runOf(() => done(""), more).run).map(({ name }) => name);
  const full = names({ model: "m" });
  assert.deepEqual(full.slice(0, 3), ["environment", "doctor", "demo, fp32, 4G"]);
  const places = [
    "demo: one picture",
    "shape: feed-forward in, 32x32",
    "model, fp32, 12G",
    "torch",
    "model, fp32, 4G",
    "shape: group norm, 128x128",
  ];
  assert.deepEqual(
    places,
    places.toSorted((a, b) => full.indexOf(a) - full.indexOf(b)),
  );
  assert.ok(places.every((name) => full.includes(name)));
  assert.equal(new Set(full).size, full.length);
  assert.deepEqual(
    names({ quick: true, sizes: QUICK, model: "m" }).filter((name) => /^(shape|model)/.test(name)),
    ["shape: group norm, 128x128", "model, fp16 without matrices, 1M"],
  );
});

test("of a picture's events the last beginning counts; the fastest step but the first, the end's figures, all notes", () => {
  const step = (stepMs: number) => ({ type: "step", stepMs, waitMs: stepMs / 2, readBytes: 7 });
  const image = {
    type: "image",
    precision: "fp32",
    elapsedMs: 9000,
    peakDeviceBytes: 5,
    peakRssBytes: 6,
    sha256: "aa",
  };
  const events = [
    { type: "note", text: "a" },
    { type: "plan" },
    step(1),
    step(1),
    { type: "plan" },
    step(500),
    step(3000),
    step(2000),
    { type: "note", text: "b" },
    image,
  ];
  assert.deepEqual(pictureFigures("4G", 64, events), {
    ...{ vram: "4G", side: 64, precision: "fp32", stepSeconds: 2, imageSeconds: 9, notes: ["a", "b"] },
    ...{ peakDeviceBytes: 5, peakRssBytes: 6, sha256: "aa" },
    steps: [500, 3000, 2000].map((ms) => ({ seconds: ms / 1000, waitSeconds: ms / 2000, readBytes: 7 })),
  });
  assert.equal(pictureFigures("4G", 64, [{ type: "plan" }, step(500)]).stepSeconds, undefined);
});

test("doctor and shapes: figures where there are some, failures where there are none; folders of this machine stay out", async () => {
  const findings = ["graphics", "graphics kernels", "ram", "state folder"].map((topic) => ({
    topic,
    text: `of ${topic}`,
  }));
  const told = await doctor(runOf(() => ({ ...done(JSON.stringify(findings)), failure: "exit code 1" })).run, 1);
  assert.deepEqual(told, { figures: findings.slice(0, 3), summary: "of graphics kernels", error: undefined });
  const bare = await doctor(runOf(() => done(JSON.stringify(findings.slice(0, 1)))).run, 1);
  assert.equal(bare.error, "no kernels were tried");
  assert.equal((await doctor(runOf(() => done("{")).run, 1)).error, "doctor printed no JSON");
  const shapes = { shapes: [{ gflops: 12.34 }], uploads: { ringGbps: 5 }, overlap: { hiddenShare: 0.5 } };
  const { run, asked } = runOf(() => done(JSON.stringify(shapes)));
  const { summary, error } = await benchShape(run, "a shape", { shrink: 4, tune: true }, 1);
  assert.deepEqual([summary, error], ["12.3 GFLOP/s, {}, uploads 5.0 GB/s, 0.50 hidden", undefined]);
  const words = asked[0]!.args.slice(asked[0]!.args.indexOf("bench")).join(" ");
  assert.equal(words, "bench --json --backend webgpu --only a shape --tune --shrink 4 --adapter card");
  assert.equal((await benchShape(runOf(() => done("")).run, "a", { tune: false }, 1)).error, "bench printed no JSON");
  const failed = { stdout: "", failure: "exit code 1", stderrTail: `first\nin ${process.cwd()}/x\nb\nlast` };
  assert.equal(failureOf(failed), "exit code 1: in .../x b last");
  assert.equal(failureOf({ stdout: "", stderrTail: "noise" }), undefined);
});

test("a program that fails, hangs, or isn't there costs a failure and no more, and what it printed is kept", async () => {
  const node = (script: string, limitMs = 60_000, input?: string) =>
    runChild({ command: process.execPath, args: ["-e", script], limitMs, ...(input !== undefined && { input }) });
  const echo =
    "process.stdin.on('data', (d) => process.stdout.write('said ' + d)).on('end', () => { console.error('x'.repeat(3000), 'end'); process.exit(3); })";
  const failed = await node(echo, 60_000, "words");
  assert.deepEqual(
    [failed.stdout, failed.failure, failed.stderrTail.length <= 2000],
    ["said words", "exit code 3", true],
  );
  assert.match(failed.stderrTail, /end$/);
  assert.deepEqual(await node(""), { stdout: "", stderrTail: "", failure: undefined });
  assert.equal((await node("setInterval(() => {}, 1000)", 200)).failure, "stopped after 0 s");
  assert.equal(
    (await node("process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000)")).failure,
    "ended by SIGTERM",
  );
  assert.match(
    (await runChild({ command: "/nowhere/at-all", args: [], limitMs: 1000 })).failure!,
    /^can't be started: .*ENOENT/,
  );
});
