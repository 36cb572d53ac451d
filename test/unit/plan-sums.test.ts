/** @file Plans added up by hand: what pictures side by side take and how many of them pay, what is told of each block, and what must lie apart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { layOutArena } from "../../src/plan/arena.ts";
import type { Machine } from "../../src/plan/machine.ts";
import { blocksThereBefore } from "../../src/plan/plan.ts";
import type { PlanInput, PlanPass, PlanPhaseInput, PlanSegment } from "../../src/plan/plan-input.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { predictFill } from "../../src/plan/predict.ts";
import { reportPlan } from "../../src/plan/report.ts";
import { MAX_LANES, planSideBySide } from "../../src/plan/side-by-side.ts";
import { blockGroups, largestGroupBytes } from "../../src/plan/weight-blocks.ts";
import { TEST_MACHINE } from "../graph-run.ts";

/** Disk and link: 2 GB/s. Times add up. */
const MACHINE: Machine = { ...TEST_MACHINE, overlaps: false, gflops: 100, diskGBps: 2, linkGBps: 2, memoryGBps: 2 };

/** Blocks of 640 bytes, 600 in the file; `ms` of compute. */
const segment = (name: string, keys: string, ms = 1): PlanSegment => ({
  ...{ name, flops: ms * 1e8, trafficBytes: 0, scratch: { sharedBytes: 0, privateBytes: 0 } },
  blocks: [...keys].map((key) => ({ key: `unet/${key}`, deviceBytes: 640, storedBytes: 600 })),
});
const cycle = (id: string, keys: string, activationBytes: number, ms = 1): PlanPass => ({
  ...{ id, repeats: 5, cyclic: true },
  segments: [...keys].map((key) => segment(key, key, ms)),
  values: [{ id: 0, lengthBytes: activationBytes, firstUse: 0, lastUse: keys.length }],
});
const phaseOf = (id: string, passes: readonly PlanPass[], more: Partial<PlanPhaseInput> = {}): PlanPhaseInput => ({
  ...{ id, title: id, passes, links: [], hostBytes: 0, spilledBytes: 0 },
  ...more,
});
const inputOf = (
  phases: readonly PlanPhaseInput[],
  deviceBytes: number,
  more: Partial<PlanInput> & { readonly inHostMemory?: boolean } = {},
): PlanInput => ({
  device: { name: "d", alignmentBytes: 64, overheadBytes: 0, sharesHostMemory: more.inHostMemory ?? true },
  ...{ machine: MACHINE, budgets: { deviceBytes, ramBytes: 10_000 }, processBytes: 0, phases },
  ...more,
});

test("each picture side by side has its own activations, links and host memory; weights, scratch and what is spilled are there once", () => {
  const step = cycle("step", "abcd", 1000);
  const scratch = { sharedBytes: 128, privateBytes: 320 };
  const segments = step.segments.map((each, i) => (i === 2 ? { ...each, scratch } : each));
  const links = [{ name: "kv", lengthBytes: 100 }];
  const phase = phaseOf("draw", [{ ...step, segments }], { links, hostBytes: 70, laneBytes: 9, spilledBytes: 200 });
  const planned = (lanes: number) => {
    const input = inputOf([phase], 100_000, { lanes, processBytes: 50 });
    const plan = makePlan(input);
    const { activationBytes, scratchBytes } = reportPlan(plan, input.phases).phases[0]!;
    return { ...plan.peak, activationBytes, scratchBytes };
  };
  for (const lanes of [1, 2, 5]) {
    // 1000 and 100 bytes in lines of 64.
    const activationBytes = lanes * (1024 + 128);
    assert.deepEqual(planned(lanes), {
      deviceBytes: activationBytes + 448 + 4 * 640,
      ramBytes: 50 + 70 + (lanes - 1) * 9 + 200,
      ...{ activationBytes, scratchBytes: 448 },
    });
  }
});

test("where all weights stay, a phase's peak has those of the others beside it", () => {
  const phases = [phaseOf("small", [cycle("s", "ab", 64)]), phaseOf("large", [cycle("l", "xyz", 6400)])];
  const plan = makePlan(inputOf(phases, 5 * 640 + 6400));
  assert.deepEqual([plan.keepsAll, plan.peak.deviceBytes], [true, 5 * 640 + 6400]);
  assert.equal(makePlan(inputOf(phases, 5 * 640 + 6399)).keepsAll, false);
});

test("what waits in RAM has room beside the process, buffers and what is spilled, and is told as such", () => {
  const passes = [{ ...cycle("once", "t", 64), cyclic: false, repeats: 1 }, cycle("again", "abcd", 64)];
  const phases = [phaseOf("draw", passes, { hostBytes: 30, spilledBytes: 20 })];
  for (const [ramBytes, cached] of [
    [100 + 30 + 20 + 1800, "abc"],
    [100 + 30 + 20 + 1799, "ab"],
    [100 + 30 + 20, ""],
  ] as const) {
    // Two slots, and one block stays.
    const input = inputOf(phases, 64 + 3 * 640, {
      ...{ inHostMemory: false, processBytes: 100 },
      budgets: { deviceBytes: 64 + 3 * 640, ramBytes },
    });
    const plan = makePlan(input);
    const letters = (list: readonly { readonly key: string }[]) => list.map(({ key }) => key.at(-1)).join("");
    const pinned = letters(plan.phases[0]!.residency.pinned);
    assert.equal(pinned.length, 1);
    const streamed = [..."abcd"].filter((key) => key !== pinned);
    const inRam = streamed.slice(0, cached.length);
    assert.equal(letters(plan.phases[0]!.cached), inRam.join(""));
    assert.equal(plan.peak.ramBytes, 150 + 600 * inRam.length);
    const [once, again] = reportPlan(plan, input.phases).phases[0]!.passes;
    assert.deepEqual([once!.movedBytes, once!.diskBytes], [600, 600]);
    assert.deepEqual([again!.movedBytes, again!.diskBytes], [1800, 1800 - 600 * inRam.length]);
    assert.deepEqual(
      once!.map.map(({ place, owner, bytes }) => [place, owner, bytes]),
      [["passing", "unet", 640]],
    );
    assert.deepEqual(
      again!.map.map(({ segment: name, place }) => [name, place]),
      [..."abcd"].map((key) => {
        if (key === pinned) return [key, "pinned"];
        return [key, inRam.includes(key) ? "streamed from RAM" : "streamed"];
      }),
    );
  }
});

test("weights that a phase brings at its start: each block once, behind the compute of all pictures, and each picture's part", () => {
  const twice = { ...cycle("step", "abab", 64), repeats: 3 };
  const phases = [phaseOf("draw", [twice], {})];
  const fill = (lanes: number, overlaps: boolean, ms: number) => {
    const slow = { ...twice, segments: twice.segments.map((each) => ({ ...each, flops: ms * 1e8 })) };
    const input = inputOf([{ ...phases[0]!, passes: [slow] }], 1e6, { lanes, machine: { ...MACHINE, overlaps } });
    return predictFill(makePlan(input), input.phases[0]!, 0);
  };
  const loadMs = 1200 / 2e6;
  assert.deepEqual(fill(1, false, 1), { ms: loadMs, bytes: 1200 });
  assert.deepEqual(fill(2, false, 1), { ms: loadMs / 2, bytes: 600 });
  // Four segments of a tenth of that compute meanwhile, for each picture.
  for (const [lanes, hidden] of [
    [1, 0.4],
    [2, 0.8],
    [3, 1],
  ] as const) {
    const { ms } = fill(lanes, true, loadMs / 10);
    assert.ok(Math.abs(ms - (loadMs * (1 - hidden)) / lanes) < 1e-9, `${lanes}: ${ms}`);
  }
});

test("where all stays nothing is shared: one picture at a time; else as many as fit, up to what is wanted and to the most", () => {
  const phases = [phaseOf("draw", [cycle("step", "abcde", 640)])];
  const lanes = (deviceBytes: number, wanted: number) => planSideBySide(inputOf(phases, deviceBytes), wanted).lanes;
  for (const deviceBytes of [6 * 640, 1e6]) assert.equal(lanes(deviceBytes, 10), 1);
  // Four have one slot left; a fifth has no room for a block.
  for (const wanted of [1, 2, 3, 4]) assert.equal(lanes(5 * 640, wanted), wanted);
  assert.equal(lanes(5 * 640, 10), 4);
  assert.equal(lanes(5 * 640 - 1, 10), 3);
  assert.throws(() => lanes(640, 3), { code: "E_VRAM" });
  // Activations take nothing.
  const many = inputOf([phaseOf("draw", [cycle("step", "abcd", 0)])], 2 * 640);
  assert.equal(planSideBySide(many, 99).lanes, MAX_LANES);
});

test("of numbers of pictures that take as long and move as much, the smallest; a little more time for fewer weights is well spent", () => {
  const once = phaseOf("decode", [{ ...cycle("bands", "abcd", 64), cyclic: false }]);
  assert.equal(planSideBySide(inputOf([once], 64 + 640), 5).lanes, 1);
  // Alone, two slots hide the 0.0012 ms of reading. Two pictures have one slot, and half of that each.
  for (const [computeMs, lanes] of [
    [0.0012 / 0.05, 1], // 2.5 % more
    [0.0012 / 0.03, 2], // 1.5 %
  ] as const) {
    const phases = [phaseOf("draw", [cycle("step", "abcd", 640, computeMs / 4)])];
    const input = inputOf(phases, 3 * 640, { machine: { ...MACHINE, overlaps: true } });
    assert.equal(planSideBySide(input, 2).lanes, lanes, `${computeMs}`);
  }
});

test("a block that only an earlier phase had kept is not there any more", () => {
  const phases = ["ab", "ac", "xy", "az"].map((keys, i) => phaseOf(`p${i}`, [cycle(`s${i}`, keys, 64)]));
  const plan = makePlan(inputOf(phases, 64 + 2 * 640));
  assert.deepEqual(
    plan.phases.map((_, i) => [...blocksThereBefore(plan, i)].join()),
    ["", "unet/a", "", ""],
  );
});

test("blocks that segments join to chains belong together, however late they are joined, and must all have room", () => {
  const of = (...sets: string[]) => {
    const phase = phaseOf("p", [{ ...cycle("s", "", 64), segments: sets.map((keys, i) => segment(`s${i}`, keys)) }]);
    return { groups: blockGroups(phase), bytes: largestGroupBytes(phase, 64) };
  };
  for (const [sets, together, count] of [
    [["a", "bc", "ab"], "abc", 3],
    [["ab", "cd", "e", "bd"], "abcd", 4],
    [["ab", "cd", "ef", "fa", "e"], "abef", 4],
    [["a", "b", "a"], "a", 1],
  ] as const) {
    const { groups, bytes } = of(...sets);
    const group = groups.get("unet/a")!;
    const own = [...groups].flatMap(([key, number]) => (number === group ? [key.at(-1)] : []));
    assert.equal(own.sort().join(""), together, sets.join());
    assert.equal(bytes, 640 * count);
  }
});

test("an arena is the shorter of both ways to fill it; its layout is made anew for another alignment", () => {
  const items = (...drawn: [lengthBytes: number, firstUse: number, lastUse: number][]) =>
    drawn.map(([lengthBytes, firstUse, lastUse]) => ({ lengthBytes: 64 * lengthBytes, firstUse, lastUse }));
  // The longest first: 9 and 7; in time: 8 and 8 (tried out by hand).
  assert.equal(layOutArena(items([3, 3, 5], [2, 1, 2], [4, 1, 1], [2, 2, 4]), 64).lengthBytes, 64 * 7);
  assert.equal(layOutArena(items([1, 1, 2], [2, 0, 0], [3, 0, 2], [4, 1, 3]), 64).lengthBytes, 64 * 8);
  const phases = [phaseOf("draw", [cycle("step", "a", 100)])];
  for (const alignmentBytes of [64, 256, 64]) {
    const input = inputOf(phases, 1e6);
    const plan = makePlan({ ...input, device: { ...input.device, alignmentBytes } });
    assert.equal(plan.phases[0]!.activationBytes, Math.ceil(100 / alignmentBytes) * alignmentBytes);
  }
});

test("no two phases or passes of a plan have one id: their places would be taken for each other's", () => {
  const [one, two] = [cycle("step", "a", 64), cycle("other", "b", 64)];
  for (const phases of [
    [phaseOf("p", [one]), phaseOf("p", [two])],
    [phaseOf("p", [one]), phaseOf("q", [{ ...two, id: "step" }])],
    [phaseOf("p", [one, { ...two, id: "step" }])],
  ]) {
    assert.throws(() => makePlan(inputOf(phases, 1e6)), RangeError);
  }
});
