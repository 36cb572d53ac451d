/** @file Plans of random phases and budgets, by their invariants; Belady's optimum beside them; literals for the small parts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BudgetError, UsageError } from "../../src/errors.ts";
import { budgetText, formatBytes, GiB, MiB, parseBudget, resolveBudget } from "../../src/ledger/budget.ts";
import { layOutArena } from "../../src/plan/arena.ts";
import { smallestDeviceBytes } from "../../src/plan/needs.ts";
import { makePlan, type PlanInput, type PlanPhaseInput } from "../../src/plan/plan.ts";
import { predictFillMs, predictPlan } from "../../src/plan/predict.ts";
import { type CycleBlock, chooseResidency, type Residency } from "../../src/plan/residency.ts";
import { TEST_MACHINE } from "../graph-run.ts";

const ALIGNMENT = 64;
const RUNS = { numRuns: 2000 };

test("budgets as people write them", () => {
  assert.deepEqual(parseBudget("--vram", "6G"), { bytes: 6 * GiB, allBut: false });
  assert.deepEqual(parseBudget("--vram", "5.5gib"), { bytes: 5.5 * GiB, allBut: false });
  assert.deepEqual(parseBudget("--ram", " 512M "), { bytes: 512 * MiB, allBut: false });
  assert.deepEqual(parseBudget("--ram", "-1G"), { bytes: GiB, allBut: true });
  assert.deepEqual(parseBudget("--ram", "1000"), { bytes: 1000, allBut: false });
  for (const wrong of ["", "G", "6X", "1e9", "0", "-", "6 G G", "NaN", "Infinity", "9999999999T"]) {
    assert.throws(() => parseBudget("--ram", wrong), UsageError, wrong);
  }
  assert.equal(resolveBudget("--ram", { bytes: GiB, allBut: true }, 3 * GiB), 2 * GiB);
  assert.throws(() => resolveBudget("--ram", { bytes: 4 * GiB, allBut: true }, 3 * GiB), UsageError);
  assert.deepEqual([formatBytes(1.5 * GiB), formatBytes(812 * MiB), formatBytes(0)], ["1.50 GiB", "812 MiB", "0 B"]);
  assert.equal(budgetText(1.5 * MiB), "2M");
});

const lifetime = fc
  .record({ lengthBytes: fc.integer({ min: 1, max: 1000 }), firstStep: fc.nat(20), steps: fc.nat(8) })
  .map(({ lengthBytes, firstStep, steps }) => ({ lengthBytes, firstStep, lastStep: firstStep + steps }));

test("arena: what lives at once never shares bytes, and a value that is dead gives its bytes to the next", () => {
  fc.assert(
    fc.property(fc.array(lifetime, { maxLength: 40 }), (items) => {
      const { offsetsBytes, lengthBytes } = layOutArena(items, ALIGNMENT);
      items.forEach((a, i) => {
        assert.equal(offsetsBytes[i]! % ALIGNMENT, 0);
        assert.ok(offsetsBytes[i]! + a.lengthBytes <= lengthBytes);
        items.slice(0, i).forEach((b, j) => {
          if (a.lastStep < b.firstStep || b.lastStep < a.firstStep) return;
          const [aStart, bStart] = [offsetsBytes[i]!, offsetsBytes[j]!];
          assert.ok(aStart + a.lengthBytes <= bStart || bStart + b.lengthBytes <= aStart, `${i} and ${j} overlap`);
        });
      });
    }),
    RUNS,
  );
  const chain = [0, 1, 2, 3].map((step) => ({ lengthBytes: 64, firstStep: step, lastStep: step + 1 }));
  assert.equal(layOutArena(chain, ALIGNMENT).lengthBytes, 128);
});

const cycle = fc.array(
  fc.record({
    deviceBytes: fc.integer({ min: 1, max: 100_000 }),
    coverMs: fc.double({ min: 0, max: 100, noNaN: true }),
    once: fc.boolean(),
  }),
  { minLength: 1, maxLength: 60 },
);

function named(blocks: readonly Omit<CycleBlock, "key">[]): CycleBlock[] {
  return blocks.map((block, i) => ({ ...block, key: `b${i}` }));
}

/** Weights that fall into the ring in turn, each beside the one before where there are two slots. */
function requireSound(blocks: readonly CycleBlock[], residency: Residency, capacityBytes: number): void {
  const { pinned, streamed, pinnedBytes, ringBytes, slots } = residency;
  assert.ok(pinnedBytes + ringBytes <= capacityBytes, "more than the capacity");
  const places = [...pinned, ...streamed].map(({ key }) => key);
  assert.deepEqual([...places].sort(), blocks.map(({ key }) => key).sort(), "every block has one place");
  const order = new Map(blocks.map(({ key }, i) => [key, i]));
  assert.ok(streamed.every((block, i) => i === 0 || order.get(streamed[i - 1]!.key)! < order.get(block.key)!));
  assert.equal(slots === 0, streamed.length === 0);
  streamed.forEach((block, i) => {
    assert.ok(block.offsetBytes >= 0 && block.offsetBytes + block.lengthBytes <= ringBytes, "outside of the ring");
    const next = streamed[i + 1];
    if (slots !== 2 || !next) return;
    const [low, high] = block.offsetBytes < next.offsetBytes ? [block, next] : [next, block];
    assert.ok(low.offsetBytes + low.lengthBytes <= high.offsetBytes, "neighbours share bytes in a ring of two slots");
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
      const blocks = named(drawn.map((block) => ({ ...block, once: false })));
      const sizes = blocks.map(({ deviceBytes }) => Math.ceil(deviceBytes / ALIGNMENT) * ALIGNMENT);
      const total = sizes.reduce((sum, size) => sum + size, 0);
      const capacityBytes = Math.floor(total * share);
      const residency = chooseResidency(blocks, capacityBytes, ALIGNMENT);
      if (!residency) {
        assert.ok(Math.max(...sizes) > capacityBytes, "refused although the largest block fits");
        return;
      }
      requireSound(blocks, residency, capacityBytes);
      const moved = residency.streamed.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
      const slotBytes = Math.max(0, ...residency.streamed.map(({ lengthBytes }) => lengthBytes));
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
      const once = new Set(blocks.filter((block) => block.once).map(({ key }) => key));
      assert.ok(residency.pinned.every(({ key }) => !once.has(key)));
    }),
    RUNS,
  );
});

test("residency: streams where compute covers it", () => {
  const blocks = named([1, 1, 50, 1, 1, 50].map((coverMs) => ({ deviceBytes: 640, coverMs, once: false })));
  const { streamed } = chooseResidency(blocks, 6 * 640 - 1, ALIGNMENT)!;
  assert.ok(
    streamed.some(({ key }) => key === "b2" || key === "b5"),
    JSON.stringify(streamed),
  );
});

const phase = fc.record({
  passes: fc.array(
    fc.record({
      repeats: fc.integer({ min: 1, max: 30 }),
      cyclic: fc.boolean(),
      segments: fc.array(
        fc.record({
          weightBytes: fc.integer({ min: 0, max: 50_000 }),
          flops: fc.nat(1e9),
          taken: fc.nat(5000),
          given: fc.nat(5000),
        }),
        { minLength: 1, maxLength: 15 },
      ),
      values: fc.array(lifetime, { maxLength: 10 }),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  linkBytes: fc.array(fc.integer({ min: 1, max: 2000 }), { maxLength: 4 }),
  hostBytes: fc.nat(5000),
  waitingBytes: fc.nat(20_000),
});

const request = fc
  .record({
    phases: fc.array(phase, { minLength: 1, maxLength: 3 }),
    deviceBytes: fc.integer({ min: 1, max: 2_000_000 }),
    ramBytes: fc.integer({ min: 1, max: 60_000 }),
    overheadBytes: fc.nat(1000),
    processBytes: fc.nat(1000),
    sharesHostMemory: fc.boolean(),
  })
  .map(({ phases, deviceBytes, ramBytes, overheadBytes, processBytes, sharesHostMemory }): PlanInput => {
    const described = phases.map(
      (drawn, p): PlanPhaseInput => ({
        name: `phase ${p}`,
        hostBytes: drawn.hostBytes,
        waitingBytes: drawn.waitingBytes,
        links: drawn.linkBytes.map((lengthBytes, i) => ({ name: `l${i}`, lengthBytes })),
        passes: drawn.passes.map((pass, i) => ({
          name: `pass ${p}.${i}`,
          repeats: pass.repeats,
          cyclic: pass.cyclic,
          values: pass.values.map((value, id) => ({ ...value, id })),
          segments: pass.segments.map(({ weightBytes, flops, taken, given }, s) => ({
            name: `s${s}`,
            flops,
            trafficBytes: weightBytes,
            scratch: { given, taken },
            ...(weightBytes > 0
              ? { block: { key: `${p}/${s % 9}`, deviceBytes: 640 * ((s % 9) + 1), storedBytes: 600 * ((s % 9) + 1) } }
              : {}),
          })),
        })),
      }),
    );
    return {
      device: { name: "null", alignmentBytes: ALIGNMENT, overheadBytes, sharesHostMemory },
      machine: TEST_MACHINE,
      budgets: { deviceBytes, ramBytes },
      processBytes,
      phases: described,
    };
  });

test("plans: peaks within budgets, a place for everything, refusals that name a budget that works", () => {
  let planned = 0;
  let refused = 0;
  fc.assert(
    fc.property(request, (input) => {
      try {
        const plan = makePlan(input);
        planned++;
        assert.ok(plan.peak.deviceBytes <= input.budgets.deviceBytes);
        assert.ok(plan.peak.ramBytes <= input.budgets.ramBytes);
        plan.phases.forEach((done, p) => {
          const keys = new Set(input.phases[p]!.passes.flatMap(({ segments }) => segments.map((s) => s.block?.key)));
          keys.delete(undefined);
          const places = [...done.residency.pinned, ...done.residency.streamed].map(({ key }) => key);
          assert.deepEqual([...places].sort(), [...keys].sort());
          assert.ok(done.reasons.length > 0 && done.reasons.every((reason) => reason.length > 10));
          assert.ok(done.cachedKeys.every((key) => done.residency.streamed.some((block) => block.key === key)));
          if (!input.device.sharesHostMemory) assert.equal(done.waitingPlace, "ram");
          else assert.equal(done.cachedKeys.length, 0);
        });
        for (const pass of predictPlan(plan, input.phases)) {
          assert.ok(pass.totalMs >= pass.computeMs - 1e-9 && pass.waitMs >= 0, JSON.stringify(pass));
        }
      } catch (error) {
        assert.ok(error instanceof BudgetError, String(error));
        refused++;
        if (error.code === "E_RAM") return;
        const least = smallestDeviceBytes(input);
        assert.ok(least > input.budgets.deviceBytes);
        makePlan({ ...input, budgets: { ...input.budgets, deviceBytes: least } });
        const below = { ...input.budgets, deviceBytes: least - 1 };
        assert.throws(() => makePlan({ ...input, budgets: below }), BudgetError);
      }
    }),
    RUNS,
  );
  assert.ok(planned > 300 && refused > 100, `${planned} planned, ${refused} refused`);
});

test("two slots hide a transfer behind compute, one slot adds it", () => {
  const segment = (name: string) => ({
    name,
    flops: 1e8, // 1 ms at 100 GFLOP/s
    trafficBytes: 0,
    scratch: { given: 0, taken: 0 },
    block: { key: name, deviceBytes: 64_000, storedBytes: 1_000_000 }, // 0.5 ms at 2 GB/s
  });
  const passes = [{ name: "step", repeats: 9, cyclic: true, values: [], segments: ["a", "b", "c"].map(segment) }];
  const predict = (deviceBytes: number) => {
    const input: PlanInput = {
      device: { name: "cpu", alignmentBytes: ALIGNMENT, overheadBytes: 0, sharesHostMemory: true },
      machine: TEST_MACHINE,
      budgets: { deviceBytes, ramBytes: 1000 },
      processBytes: 0,
      phases: [{ name: "p", passes, links: [], hostBytes: 0, waitingBytes: 0 }],
    };
    return predictPlan(makePlan(input), input.phases)[0]!;
  };
  assert.deepEqual([predict(3 * 64_000).totalMs, predict(3 * 64_000).movedBytes], [3, 0]);
  assert.equal(predict(2 * 64_000).totalMs, 3);
  assert.equal(predict(64_000).totalMs, 4.5);
});

test("bands that share weights wait for them once", () => {
  const band = (name: string, repeats: number, key: string) => ({
    name,
    repeats,
    cyclic: false,
    values: [],
    segments: [
      {
        name,
        flops: 1e8, // 1 ms at 100 GFLOP/s
        trafficBytes: 0,
        scratch: { given: 0, taken: 0 },
        block: { key, deviceBytes: 64_000, storedBytes: 24_000_000 }, // 12 ms at 2 GB/s
      },
    ],
  });
  const passes = [band("top", 1, "w"), band("middle", 6, "w"), band("other", 4, "v")];
  const input: PlanInput = {
    device: { name: "cpu", alignmentBytes: ALIGNMENT, overheadBytes: 0, sharesHostMemory: true },
    machine: { ...TEST_MACHINE, overlaps: false },
    budgets: { deviceBytes: 64_000, ramBytes: 1000 },
    processBytes: 0,
    phases: [{ name: "p", passes, links: [], hostBytes: 0, waitingBytes: 0 }],
  };
  const waits = predictPlan(makePlan(input), input.phases).map(({ waitMs, repeats }) => waitMs * repeats);
  assert.deepEqual(waits, [12, 0, 12]);
});

test("weights that stay take their time to come, where compute doesn't cover it", () => {
  const segment = (name: string) => ({
    ...{ name, flops: 1e8, trafficBytes: 0, scratch: { given: 0, taken: 0 } }, // 1 ms
    block: { key: name, deviceBytes: 64_000, storedBytes: 8_000_000 }, // 4 ms at 2 GB/s
  });
  const pass = { name: "step", repeats: 5, cyclic: true, values: [], segments: ["a", "b"].map(segment) };
  const phase = { name: "p", passes: [pass], links: [], hostBytes: 0, waitingBytes: 0 };
  const fillMs = (overlaps: boolean, deviceBytes: number) => {
    const input: PlanInput = {
      device: { name: "cpu", alignmentBytes: ALIGNMENT, overheadBytes: 0, sharesHostMemory: true },
      machine: { ...TEST_MACHINE, overlaps },
      budgets: { deviceBytes, ramBytes: 1000 },
      processBytes: 0,
      phases: [phase],
    };
    return predictFillMs(makePlan(input), phase, 0);
  };
  assert.equal(fillMs(false, 128_000), 8);
  assert.equal(fillMs(true, 128_000), 6);
  assert.equal(fillMs(false, 64_000), 0); // nothing stays
});
