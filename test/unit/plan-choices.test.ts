/** @file What a planner chooses and counts, in plans small enough to work out by hand or to try every choice of. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cycleBlocks } from "../../src/plan/cycle.ts";
import type { Machine } from "../../src/plan/machine.ts";
import { blocksThereBefore } from "../../src/plan/plan.ts";
import type { PlanInput, PlanPass, PlanPhaseInput, PlanSegment } from "../../src/plan/plan-input.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { predictPlan } from "../../src/plan/predict.ts";
import { reportPlan } from "../../src/plan/report.ts";
import { chooseResidency } from "../../src/plan/residency.ts";
import { Ring } from "../../src/plan/ring.ts";
import { TEST_MACHINE } from "../graph-run.ts";

const ALIGNMENT = 64;

/** Most bytes pinned beside a ring for the others, of all subsets that fit. */
function mostPinned(sizes: readonly number[], capacityBytes: number): number {
  let most = -1;
  for (let subset = 0; subset < 1 << sizes.length; subset++) {
    const streamed = sizes.filter((_, i) => (subset >> i) & 1);
    const pinnedBytes = sizes.reduce((sum, size, i) => sum + ((subset >> i) & 1 ? 0 : size), 0);
    const ringBytes = Math.max(0, ...streamed.map((size, i) => size + (streamed[i + 1] ?? 0)));
    if (pinnedBytes + ringBytes <= capacityBytes) most = Math.max(most, pinnedBytes);
  }
  return most;
}

test("of the rates that fit, the one with the most pinned is taken: here as much as any choice could", () => {
  for (const [blocks, capacity] of [
    ["31 33 21 41 52 52 13", 19],
    ["22 21 41 32 52 53 13", 17],
    ["51 22 53 23 43 51 31", 19],
    ["13 23 53 21 23 12", 10],
  ] as const) {
    const cycle = blocks.split(" ").map(([size, ms], i) => ({
      ...{ key: `b${i}`, group: i, usedOnce: false },
      deviceBytes: ALIGNMENT * Number(size),
      overlapMs: Number(ms),
    }));
    const { pinnedBytes } = chooseResidency(cycle, capacity * ALIGNMENT, ALIGNMENT)!;
    const sizes = cycle.map(({ deviceBytes }) => deviceBytes);
    assert.equal(pinnedBytes, mostPinned(sizes, capacity * ALIGNMENT), blocks);
  }
});

test("a ring is as long as its longest group, or pair of groups in turn, whichever blocks have left it", () => {
  const blocks = fc.array(fc.record({ sizeBytes: fc.integer({ min: 1, max: 9 }), opens: fc.boolean() }), {
    minLength: 1,
    maxLength: 12,
  });
  fc.assert(
    fc.property(blocks, fc.constantFrom(1, 2), fc.array(fc.nat(11), { maxLength: 12 }), (drawn, slots, leaving) => {
      let last = 0;
      const grouped = drawn.map(({ opens }, i) => ({ group: opens && i > 0 ? ++last : last }));
      const sizes = drawn.map(({ sizeBytes }) => sizeBytes);
      const left = new Set(sizes.keys());
      const longest = (streamed: ReadonlySet<number>) => {
        const groups: number[] = [];
        for (const i of [...streamed].sort((a, b) => a - b)) {
          groups[grouped[i]!.group] = (groups[grouped[i]!.group] ?? 0) + sizes[i]!;
        }
        const turns = groups.filter(() => true); // without holes
        return Math.max(0, ...turns.map((bytes, i) => bytes + (slots === 2 ? (turns[i + 1] ?? 0) : 0)));
      };
      const ring = new Ring(grouped, sizes, left, slots as 1 | 2);
      for (const i of [...new Set(leaving)].filter((place) => place < sizes.length)) {
        for (const other of left) {
          assert.equal(ring.lengthWithout(other), longest(new Set([...left].filter((one) => one !== other))));
        }
        left.delete(i);
        ring.remove(i);
        assert.equal(ring.lengthBytes, longest(left));
      }
    }),
    { numRuns: 500 },
  );
});

const NO_SCRATCH = { sharedBytes: 0, privateBytes: 0 };

/** `blocks`: key and KB on the device; in the file a thousand times as much. */
function segment(name: string, blocks: Readonly<Record<string, number>>, more: Partial<PlanSegment> = {}): PlanSegment {
  return {
    ...{ name, flops: 1e8, trafficBytes: 0, scratch: NO_SCRATCH }, // 1 ms at 100 GFLOP/s
    blocks: Object.entries(blocks).map(([key, kb]) => ({ key, deviceBytes: 64 * kb, storedBytes: 1_000_000 * kb })),
    ...more,
  };
}

function passOf(id: string, segments: readonly PlanSegment[], more: Partial<PlanPass> = {}): PlanPass {
  return { id, repeats: 4, cyclic: true, values: [], segments, ...more };
}

function phaseOf(id: string, passes: readonly PlanPass[], more: Partial<PlanPhaseInput> = {}): PlanPhaseInput {
  return { id, title: `the ${id}`, passes, links: [], hostBytes: 0, spilledBytes: 0, ...more };
}

interface Asked {
  readonly deviceBytes: number;
  readonly ramBytes?: number;
  readonly machine?: Machine;
  readonly sharesHostMemory?: boolean;
}

function inputOf(phases: readonly PlanPhaseInput[], asked: Asked): PlanInput {
  const { deviceBytes, ramBytes = 1000, machine = TEST_MACHINE, sharesHostMemory = false } = asked;
  return {
    device: { name: "d", alignmentBytes: ALIGNMENT, overheadBytes: 0, sharesHostMemory },
    ...{ machine, budgets: { deviceBytes, ramBytes }, processBytes: 0, phases },
  };
}

test("of neighbours that share weights the tightest chooses as if it were alone, wherever it stands; the other pins the same first", () => {
  // Of six blocks, the two with long segments can stream unseen.
  const blocks = ["a", "b", "c", "d", "e", "f"];
  const segments = blocks.map((key) => segment(key, { [key]: 10 }, { flops: "cf".includes(key) ? 3e9 : 1e6 }));
  const values = [{ id: 0, lengthBytes: 64 * 15, firstUse: 0, lastUse: 5 }];
  const tight = phaseOf("tight", [passOf("t", segments, { values })]);
  const loose = phaseOf("loose", [passOf("l", segments.toReversed())]);
  const asked = { deviceBytes: 64 * 58 };
  const pinnedOf = (phases: readonly PlanPhaseInput[], id: string) => {
    const plan = makePlan(inputOf(phases, asked));
    const { residency } = plan.phases.find((phase) => phase.id === id)!;
    return residency.pinned.map(({ key }) => key).sort();
  };
  const alone = pinnedOf([tight], "tight");
  assert.ok(alone.length > 0 && alone.length < 6);
  for (const phases of [
    [tight, loose],
    [loose, tight],
  ]) {
    assert.deepEqual(pinnedOf(phases, "tight"), alone);
    const others = pinnedOf(phases, "loose");
    assert.ok(alone.every((key) => others.includes(key)));
  }
});

test("RAM keeps what is streamed again and again, in the order of use, never what passes once", () => {
  const once = passOf("once", [segment("o", { o: 2 })], { cyclic: false, repeats: 1 });
  const again = passOf("again", [segment("a", { a: 2 }), segment("b", { b: 2 }), segment("c", { c: 2 })]);
  const input = inputOf([phaseOf("p", [once, again])], { deviceBytes: 64 * 4, ramBytes: 5_000_000 });
  const [phase] = makePlan(input).phases;
  assert.deepEqual(
    phase!.cached.map(({ key, offsetBytes }) => [key, offsetBytes]),
    [
      ["a", 0],
      ["b", 2_000_000],
    ],
  );
  assert.equal(phase!.ramBytes, phase!.cachedBytes);
  assert.equal(phase!.cachedBytes, 4_000_000);
  assert.deepEqual(
    phase!.passes.map(({ movedBytes, diskBytes }) => [movedBytes, diskBytes]),
    [
      [2_000_000, 2_000_000],
      [6_000_000, 2_000_000],
    ],
  );
});

test("a phase's fixed parts: links side by side, the largest of each kind of scratch, both in what is reported", () => {
  const segments = [
    segment("a", { a: 1 }, { scratch: { sharedBytes: 640, privateBytes: 64 } }),
    segment("b", { b: 1 }, { scratch: { sharedBytes: 128, privateBytes: 320 } }),
  ];
  const values = [{ id: 0, lengthBytes: 100, firstUse: 0, lastUse: 1 }];
  const links = [
    { name: "k", lengthBytes: 10 },
    { name: "v", lengthBytes: 70 },
  ];
  const input = inputOf([phaseOf("p", [passOf("s", segments, { values })], { links })], { deviceBytes: 1e6 });
  const plan = makePlan(input);
  const [phase] = plan.phases;
  assert.deepEqual([phase!.activationBytes, phase!.linkBytes], [128, 64 + 128]);
  assert.deepEqual(phase!.links.get("v"), { offsetBytes: 64, lengthBytes: 70 });
  assert.deepEqual([phase!.sharedScratchBytes, phase!.scratchBytes], [640, 640 + 320]);
  assert.equal(phase!.deviceBytes, 2 * 64 + 128 + 192 + 960);
  const [report] = reportPlan(plan, input.phases).phases;
  assert.deepEqual([report!.activationBytes, report!.scratchBytes, report!.sharedBytes], [320, 960, 0]);
});

test("what is spilled lies in RAM where it fits, else on a device that is host memory too, else nowhere", () => {
  const phases = [phaseOf("p", [passOf("s", [segment("a", { a: 1 })])], { hostBytes: 100, spilledBytes: 1000 })];
  const planned = (ramBytes: number, sharesHostMemory: boolean) => {
    const [phase] = makePlan(inputOf(phases, { deviceBytes: 2000, ramBytes, sharesHostMemory })).phases;
    return [phase!.spillTier, phase!.ramBytes, phase!.deviceBytes];
  };
  assert.deepEqual(planned(1100, true), ["ram", 1100, 64]);
  assert.deepEqual(planned(1099, true), ["device", 100, 1064]);
  assert.deepEqual(planned(1100, false), ["ram", 1100, 64]);
  assert.throws(() => planned(1099, false), { code: "E_RAM" });
});

test("a refusal names the neediest phase, and what it needs", () => {
  const needs = (id: string, hostBytes: number, kb: number) =>
    phaseOf(id, [passOf(id, [segment(id, { [id]: kb })])], { hostBytes });
  const phases = [needs("first", 100_000, 10), needs("second", 300_000, 32), needs("third", 200_000, 20)];
  const refused = (deviceBytes: number, ramBytes: number) => {
    try {
      makePlan(inputOf(phases, { deviceBytes, ramBytes }));
    } catch (error) {
      return String(error);
    }
    return assert.fail("it fits");
  };
  assert.match(refused(1e6, 50_000), /E_RAM.*the second needs 293 KiB/);
  assert.match(refused(64, 1e6), /E_VRAM.*the second needs 2 KiB at least/);
});

test("where all stays, what any earlier phase brought is there; else what the phase before kept", () => {
  const phase = (id: string, blocks: Readonly<Record<string, number>>) =>
    phaseOf(id, [passOf(id, [segment(id, blocks)])]);
  const phases = [phase("p", { a: 1 }), phase("q", { b: 1 }), phase("r", { a: 1, c: 1 })];
  const all = makePlan(inputOf(phases, { deviceBytes: 64 * 3 }));
  assert.equal(all.keepsAll, true);
  assert.deepEqual(
    [0, 1, 2].map((i) => [...blocksThereBefore(all, i)]),
    [[], [], ["a"]],
  );
  const some = makePlan(inputOf(phases, { deviceBytes: 64 * 2 }));
  assert.equal(some.keepsAll, false);
  assert.deepEqual(
    [0, 1, 2].map((i) => [...blocksThereBefore(some, i)]),
    [[], [], []],
  );
});

test("a block from disk comes at the slower of disk and link; what the pass before used last is there", () => {
  const asked = (diskGBps: number, linkGBps: number) => ({
    deviceBytes: 64,
    machine: { ...TEST_MACHINE, overlaps: false, diskGBps, linkGBps },
  });
  const once = { cyclic: false, repeats: 2 };
  const phases = [
    phaseOf("p", [
      passOf("both", [segment("x", { x: 1 }), segment("y", { y: 1 })], once),
      passOf("last", [segment("y2", { y: 1 })], once),
      passOf("first", [segment("x2", { x: 1 })], once),
    ]),
  ];
  const waits = (diskGBps: number, linkGBps: number) => {
    const input = inputOf(phases, asked(diskGBps, linkGBps));
    return predictPlan(makePlan(input), input.phases).map(({ waitMs, repeats }) => waitMs * repeats);
  };
  // 1 MB takes 1 ms at 1 GB/s; two blocks in turn are read in every run, one that is alone once.
  assert.deepEqual(waits(1, 4), [4, 0, 1]);
  assert.deepEqual(waits(4, 1), [4, 0, 1]);
});

test("compute between two blocks: all runs of what is not cyclic, one of what is; used again is used again in any pass", () => {
  const phase = phaseOf("p", [
    passOf("bands", [segment("a", { a: 1 }), segment("n", {})], { cyclic: false, repeats: 5 }),
    passOf("steps", [segment("b", { b: 1 }), segment("a2", { a: 1 })], { repeats: 7 }),
  ]);
  const [a, b] = cycleBlocks(phase, TEST_MACHINE, false, 1);
  assert.deepEqual([a!.key, a!.overlapMs, a!.usedOnce], ["a", 5 * 2 + 1, false]);
  assert.deepEqual([b!.key, b!.overlapMs, b!.usedOnce], ["b", 1, false]);
  const alone = cycleBlocks({ ...phase, passes: phase.passes.slice(0, 1) }, TEST_MACHINE, false, 1);
  assert.deepEqual(
    alone.map(({ usedOnce }) => usedOnce),
    [true],
  );
});
