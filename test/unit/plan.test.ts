/** @file Budgets, arenas, residency of random cycles with Belady's optimum beside it, predictions by hand. Whole plans: random-plans.test.ts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { UsageError } from "../../src/errors.ts";
import { budgetText, parseBudget, resolveBudget } from "../../src/ledger/budget.ts";
import { formatBytes, GiB, MiB } from "../../src/ledger/byte-text.ts";
import { layOutArena } from "../../src/plan/arena.ts";
import type { PlanInput } from "../../src/plan/plan-input.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { predictFill, predictPlan } from "../../src/plan/predict.ts";
import { type CycleBlock, chooseResidency, type Residency } from "../../src/plan/residency.ts";
import { TEST_MACHINE } from "../graph-run.ts";

const ALIGNMENT = 64;
const RUNS = { numRuns: 2000 };

test("budgets as people write them", () => {
  assert.deepEqual(parseBudget("--vram", "6G"), { bytes: 6 * GiB });
  assert.deepEqual(parseBudget("--vram", "5.5gib"), { bytes: 5.5 * GiB });
  assert.deepEqual(parseBudget("--ram", " 512M "), { bytes: 512 * MiB });
  assert.deepEqual(parseBudget("--ram", "-1G"), { allBut: GiB });
  assert.deepEqual(parseBudget("--ram", "1000"), { bytes: 1000 });
  for (const wrong of ["", "G", "6X", "1e9", "0", "-", "6 G G", "NaN", "Infinity", "9999999999T"]) {
    assert.throws(() => parseBudget("--ram", wrong), UsageError, wrong);
  }
  assert.equal(resolveBudget("--ram", { allBut: GiB }, 3 * GiB), 2 * GiB);
  assert.throws(() => resolveBudget("--ram", { allBut: 4 * GiB }, 3 * GiB), UsageError);
  assert.deepEqual([formatBytes(1.5 * GiB), formatBytes(812 * MiB), formatBytes(0)], ["1.50 GiB", "812 MiB", "0 B"]);
  assert.equal(budgetText(1.5 * MiB), "2M");
});

const lifetime = fc
  .record({ lengthBytes: fc.integer({ min: 1, max: 1000 }), firstUse: fc.nat(20), segments: fc.nat(8) })
  .map(({ lengthBytes, firstUse, segments }) => ({
    lengthBytes,
    firstUse,
    lastUse: firstUse + segments,
  }));

test("arena: what lives at once never shares bytes, and a value that is dead gives its bytes to the next", () => {
  fc.assert(
    fc.property(fc.array(lifetime, { maxLength: 40 }), (items) => {
      const { offsetsBytes, lengthBytes } = layOutArena(items, ALIGNMENT);
      items.forEach((a, i) => {
        assert.equal(offsetsBytes[i]! % ALIGNMENT, 0);
        assert.ok(offsetsBytes[i]! + a.lengthBytes <= lengthBytes);
        items.slice(0, i).forEach((b, j) => {
          if (a.lastUse < b.firstUse || b.lastUse < a.firstUse) return;
          const [aStart, bStart] = [offsetsBytes[i]!, offsetsBytes[j]!];
          assert.ok(aStart + a.lengthBytes <= bStart || bStart + b.lengthBytes <= aStart, `${i} and ${j} overlap`);
        });
      });
    }),
    RUNS,
  );
  const chain = [0, 1, 2, 3].map((at) => ({ lengthBytes: 64, firstUse: at, lastUse: at + 1 }));
  assert.equal(layOutArena(chain, ALIGNMENT).lengthBytes, 128);
});

const cycle = fc.array(
  fc.record({
    deviceBytes: fc.integer({ min: 1, max: 100_000 }),
    overlapMs: fc.double({ min: 0, max: 100, noNaN: true }),
    usedOnce: fc.boolean(),
    withBefore: fc.integer({ min: 0, max: 4 }).map((draw) => draw === 0),
  }),
  { minLength: 1, maxLength: 60 },
);

/** `withBefore`: needed together with the block before it. */
function named(
  blocks: readonly (Omit<CycleBlock, "key" | "group"> & { readonly withBefore?: boolean })[],
): CycleBlock[] {
  let group = 0;
  return blocks.map(({ withBefore = false, ...block }, i) => {
    if (i > 0 && !withBefore) group++;
    return { ...block, key: `b${i}`, group };
  });
}

/** Of the groups that are there. */
function groupSizes(blocks: readonly CycleBlock[]): number[] {
  const sizes: number[] = [];
  for (const { group, deviceBytes } of blocks) {
    sizes[group] = (sizes[group] ?? 0) + Math.ceil(deviceBytes / ALIGNMENT) * ALIGNMENT;
  }
  return sizes.filter(() => true); // without holes
}

/** Every block has a place; what is needed together, or in turn where there are two slots, lies side by side in the ring. */
function requireSound(blocks: readonly CycleBlock[], residency: Residency, capacityBytes: number): void {
  const { pinned, streamed, pinnedBytes, ringBytes, slots } = residency;
  assert.ok(pinnedBytes + ringBytes <= capacityBytes, "more than the capacity");
  const places = [...pinned, ...streamed].map(({ key }) => key);
  assert.deepEqual([...places].sort(), blocks.map(({ key }) => key).sort(), "every block has one place");
  const order = new Map(blocks.map(({ key }, i) => [key, i]));
  assert.ok(streamed.every((block, i) => i === 0 || order.get(streamed[i - 1]!.key)! < order.get(block.key)!));
  assert.equal(slots === 0, streamed.length === 0);
  const groups = new Map(blocks.map(({ key, group }) => [key, group]));
  const turns = [...new Set(streamed.map(({ key }) => groups.get(key)!))];
  streamed.forEach((block, i) => {
    assert.ok(block.offsetBytes >= 0 && block.offsetBytes + block.lengthBytes <= ringBytes, "outside of the ring");
    const turn = turns.indexOf(groups.get(block.key)!);
    for (const other of streamed.slice(i + 1)) {
      if (turns.indexOf(groups.get(other.key)!) > turn + slots - 1) continue;
      const [low, high] = block.offsetBytes < other.offsetBytes ? [block, other] : [other, block];
      assert.ok(low.offsetBytes + low.lengthBytes <= high.offsetBytes, "what is there at once shares bytes");
    }
  });
}

/** Least bytes a cycle moves with `capacityBytes` of cache beside the way through: blocks pass uncached, or stay (Belady). */
function beladyBytes(blocks: readonly CycleBlock[], capacityBytes: number): number {
  const total = blocks.reduce((sum, { deviceBytes }) => sum + Math.ceil(deviceBytes / ALIGNMENT) * ALIGNMENT, 0);
  // At any moment at most `capacityBytes` are there, and all else must come before its next use: a lower bound.
  return Math.max(0, total - capacityBytes);
}

test("residency: sound for every cycle and capacity, and moves no more than the optimum plus one slot", () => {
  fc.assert(
    fc.property(cycle, fc.double({ min: 0.01, max: 1.2, noNaN: true }), (drawn, share) => {
      const blocks = named(drawn.map((block) => ({ ...block, usedOnce: false })));
      const sizes = blocks.map(({ deviceBytes }) => Math.ceil(deviceBytes / ALIGNMENT) * ALIGNMENT);
      const total = sizes.reduce((sum, size) => sum + size, 0);
      const capacityBytes = Math.floor(total * share);
      const residency = chooseResidency(blocks, capacityBytes, ALIGNMENT);
      if (!residency) {
        assert.ok(Math.max(...groupSizes(blocks)) > capacityBytes, "refused although the largest group fits");
        return;
      }
      requireSound(blocks, residency, capacityBytes);
      const streams = new Set(residency.streamed.map(({ key }) => key));
      const moved = residency.streamed.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
      const slotBytes = Math.max(0, ...groupSizes(blocks.filter(({ key }) => streams.has(key))));
      const optimum = beladyBytes(blocks, capacityBytes - residency.ringBytes);
      assert.ok(moved <= optimum + slotBytes, `${moved} moved, optimum ${optimum}, slot ${slotBytes}`);
      assert.ok(residency.ringBytes <= 2 * slotBytes);
    }),
    RUNS,
  );
});

test("residency: what is used once is not pinned while something used again could be", () => {
  fc.assert(
    fc.property(cycle, fc.double({ min: 0.3, max: 1.2, noNaN: true }), (drawn, share) => {
      const blocks = named(drawn);
      const total = blocks.reduce((sum, { deviceBytes }) => sum + deviceBytes + ALIGNMENT, 0);
      const residency = chooseResidency(blocks, Math.floor(total * share), ALIGNMENT);
      if (!residency) return;
      const once = new Set(blocks.filter((block) => block.usedOnce).map(({ key }) => key));
      assert.ok(residency.pinned.every(({ key }) => !once.has(key)));
    }),
    RUNS,
  );
});

test("residency: of blocks to pin first, as many are pinned as leave room for two slots", () => {
  fc.assert(
    fc.property(
      cycle,
      fc.array(fc.nat(70), { maxLength: 60 }),
      fc.double({ min: 0.1, max: 1.2, noNaN: true }),
      (drawn, picks, share) => {
        const blocks = named(drawn);
        const total = groupSizes(blocks).reduce((sum, size) => sum + size, 0);
        const capacityBytes = Math.floor(total * share);
        const first = [...new Set(picks.map((pick) => `b${pick}`))];
        const residency = chooseResidency(blocks, capacityBytes, ALIGNMENT, first);
        if (!residency) return assert.ok(Math.max(...groupSizes(blocks)) > capacityBytes);
        requireSound(blocks, residency, capacityBytes);
        const usedOnce = new Set(blocks.filter((block) => block.usedOnce).map(({ key }) => key));
        const pinned = new Set(residency.pinned.map(({ key }) => key));
        const wanted = first.filter((key) => blocks.some((block) => block.key === key) && !usedOnce.has(key));
        const left = wanted.findIndex((key) => !pinned.has(key));
        if (left < 0) return;
        // With the first one that is left out pinned besides, two slots for the others would not fit.
        const pins = new Set(wanted.slice(0, left + 1));
        const sizes = groupSizes(
          blocks.map((block) => (pins.has(block.key) ? { ...block, deviceBytes: 0 } : block)),
        ).filter((size) => size > 0);
        const ring = sizes.map((size, i) => size + (sizes[i + 1] ?? 0));
        const pinnedBytes = groupSizes(blocks.filter(({ key }) => pins.has(key))).reduce((sum, size) => sum + size, 0);
        assert.ok(pinnedBytes + Math.max(0, ...ring) > capacityBytes, `${wanted[left]} would fit`);
      },
    ),
    RUNS,
  );
});

test("residency: streams where compute hides it", () => {
  const blocks = named([1, 1, 50, 1, 1, 50].map((overlapMs) => ({ deviceBytes: 640, overlapMs, usedOnce: false })));
  const { streamed } = chooseResidency(blocks, 6 * 640 - 1, ALIGNMENT)!;
  assert.ok(
    streamed.some(({ key }) => key === "b2" || key === "b5"),
    JSON.stringify(streamed),
  );
});

test("two slots hide a transfer behind compute, one slot adds it", () => {
  const segment = (name: string) => ({
    name,
    flops: 1e8, // 1 ms at 100 GFLOP/s
    trafficBytes: 0,
    scratch: { sharedBytes: 0, privateBytes: 0 },
    blocks: [{ key: name, deviceBytes: 64_000, storedBytes: 1_000_000 }], // 0.5 ms at 2 GB/s
  });
  const passes = [{ id: "step", repeats: 9, cyclic: true, values: [], segments: ["a", "b", "c"].map(segment) }];
  const predict = (deviceBytes: number) => {
    const input: PlanInput = {
      device: { name: "cpu", alignmentBytes: ALIGNMENT, overheadBytes: 0, sharesHostMemory: true },
      machine: TEST_MACHINE,
      budgets: { deviceBytes, ramBytes: 1000 },
      processBytes: 0,
      phases: [{ id: "p", title: "p", passes, links: [], hostBytes: 0, spilledBytes: 0 }],
    };
    return predictPlan(makePlan(input), input.phases)[0]!;
  };
  assert.deepEqual([predict(3 * 64_000).totalMs, predict(3 * 64_000).loadedBytes], [3, 0]);
  assert.equal(predict(2 * 64_000).totalMs, 3);
  assert.equal(predict(64_000).totalMs, 4.5);
});

test("bands that share weights wait for them once", () => {
  const band = (id: string, repeats: number, key: string) => ({
    id,
    repeats,
    cyclic: false,
    values: [],
    segments: [
      {
        name: id,
        flops: 1e8, // 1 ms at 100 GFLOP/s
        trafficBytes: 0,
        scratch: { sharedBytes: 0, privateBytes: 0 },
        blocks: [{ key, deviceBytes: 64_000, storedBytes: 24_000_000 }], // 12 ms at 2 GB/s
      },
    ],
  });
  const passes = [band("top", 1, "w"), band("middle", 6, "w"), band("other", 4, "v")];
  const input: PlanInput = {
    device: { name: "cpu", alignmentBytes: ALIGNMENT, overheadBytes: 0, sharesHostMemory: true },
    machine: { ...TEST_MACHINE, overlaps: false },
    budgets: { deviceBytes: 64_000, ramBytes: 1000 },
    processBytes: 0,
    phases: [{ id: "p", title: "p", passes, links: [], hostBytes: 0, spilledBytes: 0 }],
  };
  const waits = predictPlan(makePlan(input), input.phases).map(({ waitMs, repeats }) => waitMs * repeats);
  assert.deepEqual(waits, [12, 0, 12]);
});

test("weights that stay take their time to come, where compute doesn't cover it", () => {
  const segment = (name: string) => ({
    ...{ name, flops: 1e8, trafficBytes: 0, scratch: { sharedBytes: 0, privateBytes: 0 } }, // 1 ms
    blocks: [{ key: name, deviceBytes: 64_000, storedBytes: 8_000_000 }], // 4 ms at 2 GB/s
  });
  const pass = { id: "step", repeats: 5, cyclic: true, values: [], segments: ["a", "b"].map(segment) };
  const phase = { id: "p", title: "p", passes: [pass], links: [], hostBytes: 0, spilledBytes: 0 };
  const fillMs = (overlaps: boolean, deviceBytes: number) => {
    const input: PlanInput = {
      device: { name: "cpu", alignmentBytes: ALIGNMENT, overheadBytes: 0, sharesHostMemory: true },
      machine: { ...TEST_MACHINE, overlaps },
      budgets: { deviceBytes, ramBytes: 1000 },
      processBytes: 0,
      phases: [phase],
    };
    return predictFill(makePlan(input), phase, 0).ms;
  };
  assert.equal(fillMs(false, 128_000), 8);
  assert.equal(fillMs(true, 128_000), 6);
  assert.equal(fillMs(false, 64_000), 0); // nothing stays
});
