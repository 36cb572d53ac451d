/** @file A plan and a long line for people, in the 80 columns of a terminal. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { PlanReport } from "../../src/job/types.ts";
import { GiB } from "../../src/ledger/byte-text.ts";
import { wrapped } from "../../src/terminal/format.ts";
import { measuredText, planText } from "../../src/terminal/plan-text.ts";

const PASS = {
  id: "unet.step",
  repeats: 30,
  movedBytes: 4e9,
  diskBytes: 3e9,
  predictedMs: 25_700,
  predictedComputeMs: 25_000,
  predictedWaitMs: 143,
  map: Array.from({ length: 99 }, (_, i) => ({
    segment: `s${i}`,
    key: "unet/x",
    owner: "unet",
    bytes: 5e7,
    place: "streamed" as const,
  })),
};
const PLAN: PlanReport = {
  machine: "this machine's CPU",
  basis:
    "12 cores, A Processor With A Rather Long Name @ 3.20 GHz, assumed at 60 GFLOP/s a core, 8 GB/s memory, 2 GB/s disk",
  budgets: { deviceBytes: GiB, ramBytes: GiB },
  peak: { deviceBytes: GiB, ramBytes: GiB },
  overheadBytes: 2e8,
  processBytes: 2e8,
  keepsAll: false,
  weightBytes: 6e9,
  lanes: 1,
  loadedBytes: 150e9,
  predictedMs: 796_400,
  phases: ["encode", "denoise", "decode"].map((id) => ({
    id,
    title: id,
    lanes: 1,
    deviceBytes: GiB,
    ramBytes: GiB,
    weightBytes: 5e9,
    pinnedBytes: 3e8,
    streamedBytes: 4.8e9,
    ringBytes: 1e8,
    activationBytes: 2e8,
    scratchBytes: 4e8,
    sharedBytes: 1e8,
    spilledBytes: 3e8,
    spillTier: "device",
    predictedFillMs: 10,
    reasons: [
      "pinned and streamed: 4.78 GiB of weights do not fit in 288 MiB; 176 MiB stay, 3.93 GiB stream in each pass, chosen where compute covers them",
    ],
    passes: [PASS, { ...PASS, id: "unet.other", predictedWaitMs: 0.01 }],
  })),
};

test("what it brings to draw several images side by side, where several are wanted", () => {
  assert.doesNotMatch(planText(PLAN), /a pass:|at a time/);
  assert.match(planText(PLAN, 4), /\n1 image at a time: more would not pay\.\n/);
  assert.match(planText({ ...PLAN, keepsAll: true }, 4), /\n1 image at a time: no weights pass\.\n/);
  const phases = PLAN.phases.map((phase) => ({ ...phase, lanes: phase.id === "denoise" ? 4 : 1 }));
  const alone = { predictedMs: 1_200_000, loadedBytes: 4 * GiB };
  const text = planText({ ...PLAN, lanes: 4, loadedBytes: GiB, phases, alone }, 4).replaceAll(/\s+/g, " ");
  assert.match(
    text,
    / 4 images a pass: weights moved an image 4\.00 GiB -> 1\.00 GiB, predicted 1200\.0 s -> 796\.4 s an image\. /,
  );
  assert.equal(text.match(/ for each of 4 images, 143 ms of it waiting/g)?.length, 1);
});

test("no line is wider than 80 columns, nothing is lost, and waits of nothing are not told", () => {
  const lines = planText(PLAN).split("\n");
  assert.deepEqual(
    lines.filter((line) => line.length > 80),
    [],
  );
  const text = lines.map((line) => line.trim()).join(" ");
  assert.match(text, /4\.78 GiB of weights do not fit in 288 MiB; 176 MiB stay, 3\.93 GiB stream in each pass/);
  assert.match(text, /unet\.step x30, 3\.73 GiB a run \(2\.79 GiB from disk\): 25\.7 s, 143 ms of it waiting/);
  assert.equal(text.match(/of it waiting/g)!.length, 3);
  assert.match(text, /weights 381 MiB \(95 MiB of it there before\), .*, spilled 286 MiB \(on the device\)/);
  assert.equal(lines.filter((line) => /^ {2}\[░{64}\]$/.test(line)).length, 6);
});

test("lines are cut at spaces, and what follows is indented", () => {
  assert.deepEqual(wrapped("  - one two three", 9), ["  - one", "    two", "    three"]);
  assert.deepEqual(wrapped("", 9), [""]);
  assert.deepEqual(wrapped("  endless-word", 5), ["  endless-word"]);
});

test("the map: each stretch of blocks by its bytes and its place, adapters in one of their own", () => {
  const block = (segment: string, bytes: number, place: "pinned" | "streamed" | "passing", owner = "unet") => ({
    ...{ segment, key: "x", owner, bytes, place },
  });
  const map = [
    ...[block("a", 25e6, "pinned"), block("b", 50e6, "streamed"), block("c", 25e6, "passing")],
    ...[block("d", 1e6, "streamed", "lora-0"), block("e", 3e6, "pinned", "lora-0")],
  ];
  const linesOf = (passes: readonly (typeof PASS)[]) => {
    const phase = { ...PLAN.phases[0]!, passes: passes as PlanReport["phases"][number]["passes"] };
    return planText({ ...PLAN, phases: [phase] }).split("\n");
  };
  const whole = linesOf([{ ...PASS, map } as unknown as typeof PASS]);
  const at = whole.indexOf(`  [${"█".repeat(16)}${"░".repeat(32)}${"·".repeat(16)}]`);
  assert.ok(at > 0, whole.join("\n"));
  assert.deepEqual(whole.slice(at + 1, at + 3), ["  adapters 3.8 MiB", `  [${"░".repeat(16)}${"█".repeat(48)}]`]);
});

test("what was measured beside what was planned, each in its place, of the pass that takes longest", () => {
  const plan = { ...PLAN, lanes: 4, loadedBytes: GiB };
  const passes = [
    { pass: "unet.other", runs: 30, totalMs: 30, waitMs: 0, loadedBytes: 2 * GiB },
    { pass: "unet.step", runs: 30, totalMs: 60_000, waitMs: 30_000, loadedBytes: GiB },
  ];
  const image = { passes, peakDeviceBytes: 2 * GiB, peakRamBytes: 3 * GiB, peakRssBytes: 4 * GiB };
  assert.equal(
    measuredText(plan, image as unknown as Parameters<typeof measuredText>[1]),
    "Measured (planned): VRAM 2.00 GiB (1.00 GiB), RAM 3.00 GiB (1.00 GiB), 2.00 s a step (25.7 s), 1.00 s of it " +
      "waiting for weights, 4 images a pass with 3.00 GiB (1.00 GiB) of weights for each; process at its peak 4.00 GiB",
  );
});
