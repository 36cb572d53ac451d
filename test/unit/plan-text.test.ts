/** @file A plan and a long line for people, in the 80 columns of a terminal. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { PlanReport } from "../../src/job/types.ts";
import { GiB } from "../../src/ledger/byte-text.ts";
import { wrapped } from "../../src/terminal/format.ts";
import { planText } from "../../src/terminal/plan-text.ts";

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
