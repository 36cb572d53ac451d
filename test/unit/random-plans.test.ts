/** @file Plans of random phases and budgets, most of which stream and many of which share weights, by their invariants. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BudgetError } from "../../src/errors.ts";
import type { Plan } from "../../src/plan/plan.ts";
import type { PlanInput, PlanPhaseInput, WeightBlock } from "../../src/plan/plan-input.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { predictPlan } from "../../src/plan/predict.ts";
import { reportPlan } from "../../src/plan/report.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import { blockGroups, largestGroupBytes } from "../../src/plan/weight-blocks.ts";
import { TEST_MACHINE } from "../graph-run.ts";

const ALIGNMENT = 64;
const RUNS = { numRuns: 2000 };
const PLENTY = 2 ** 40;

const value = fc
  .record({ lengthBytes: fc.integer({ min: 1, max: 1000 }), firstUse: fc.nat(20), segments: fc.nat(8) })
  .map(({ lengthBytes, firstUse, segments }) => ({
    lengthBytes,
    firstUse,
    lastUse: firstUse + segments,
  }));

/** Weights by component and number; an adapter's come with those of a component. */
const segment = fc.record({
  component: fc.nat(1),
  block: fc.integer({ min: -1, max: 6 }),
  adapter: fc.integer({ min: 0, max: 3 }).map((draw) => draw === 0),
  flops: fc.nat(1e9),
  privateBytes: fc.nat(5000),
  sharedBytes: fc.nat(5000),
});

const phase = fc.record({
  passes: fc.array(
    fc.record({
      repeats: fc.integer({ min: 1, max: 30 }),
      cyclic: fc.integer({ min: 0, max: 4 }).map((draw) => draw > 0),
      segments: fc.array(segment, { minLength: 1, maxLength: 15, size: "max" }),
      values: fc.array(value, { maxLength: 10 }),
    }),
    { minLength: 1, maxLength: 2 },
  ),
  linkBytes: fc.array(fc.integer({ min: 1, max: 2000 }), { maxLength: 4 }),
  hostBytes: fc.nat(5000),
  spilledBytes: fc.nat(20_000),
  laneBytes: fc.nat(3000),
});

const request = fc
  .record({
    phases: fc.array(phase, { minLength: 1, maxLength: 4, size: "max" }),
    /** Below 0: too little. 1 and more: all weights stay. */
    share: fc.double({ min: -0.1, max: 1.1, noNaN: true }),
    ramBytes: fc.integer({ min: 1, max: 100_000 }),
    overheadBytes: fc.nat(1000),
    processBytes: fc.nat(1000),
    sharesHostMemory: fc.boolean(),
    lanes: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ phases, share, ramBytes, overheadBytes, processBytes, sharesHostMemory, lanes }): PlanInput => {
    const described = phases.map(
      (drawn, p): PlanPhaseInput => ({
        id: `phase ${p}`,
        title: `phase ${p}`,
        hostBytes: drawn.hostBytes,
        spilledBytes: drawn.spilledBytes,
        laneBytes: drawn.laneBytes,
        links: drawn.linkBytes.map((lengthBytes, i) => ({ name: `l${i}`, lengthBytes })),
        passes: drawn.passes.map((pass, i) => ({
          id: `pass ${p}.${i}`,
          repeats: pass.repeats,
          cyclic: pass.cyclic,
          values: pass.values.map((one, id) => ({ ...one, id })),
          segments: pass.segments.map(({ component, block, adapter, flops, privateBytes, sharedBytes }, s) => ({
            name: `s${s}`,
            flops,
            trafficBytes: 1000 * s,
            scratch: { sharedBytes, privateBytes },
            blocks: block < 0 ? [] : blocksOf(component, block, adapter),
          })),
        })),
      }),
    );
    const input = {
      device: { name: "null", alignmentBytes: ALIGNMENT, overheadBytes, sharesHostMemory },
      machine: TEST_MACHINE,
      budgets: { deviceBytes: PLENTY, ramBytes },
      processBytes,
      phases: described,
      lanes,
    };
    const unlimited = { ...input, budgets: { deviceBytes: PLENTY, ramBytes: PLENTY } };
    const least = smallestDeviceBytes(unlimited);
    const all = makePlan(unlimited).peak.deviceBytes;
    return { ...input, budgets: { deviceBytes: Math.ceil(least + share * (all - least)), ramBytes } };
  });

function blocksOf(component: number, block: number, adapter: boolean): WeightBlock[] {
  const deviceBytes = 600 * (block + 1) + 1000 * component;
  const base = { key: `c${component}/${block}`, deviceBytes, storedBytes: deviceBytes - 40 };
  return adapter ? [base, { key: `a${component}/${block}`, deviceBytes: 130, storedBytes: 100 }] : [base];
}

interface Span {
  readonly startByte: number;
  readonly endByte: number;
}

/**
 * Device bytes at every segment of two images in a row, counted from the places of what is there and not from the plan's sums.
 * Values, links and weights lie in memory of their own, as long as the last of them reaches.
 */
function countedPeak({ device, phases: inputs, lanes = 1 }: PlanInput, { keepsAll, phases }: Plan): number {
  const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
  const reach = (spans: readonly Span[]) => aligned(Math.max(0, ...spans.map(({ endByte }) => endByte)));
  let peak = 0;
  let held = new Map<string, number>();
  for (const index of [...inputs.keys(), ...inputs.keys()]) {
    const [input, plan] = [inputs[index]!, phases[index]!];
    const own = new Map(plan.residency.pinned.map(({ key, lengthBytes }) => [key, lengthBytes]));
    if (!keepsAll) assert.ok(index === 0 || [...held.keys()].every((key) => own.has(key)), "kept for nothing");
    for (const [key, bytes] of own) {
      assert.ok(!held.has(key) || held.get(key) === bytes);
      held.set(key, bytes);
    }
    const ring = reach(plan.residency.streamed.map(span));
    const links = reach(
      input.links.map(({ name, lengthBytes }) => {
        const { offsetBytes } = plan.links.get(name)!;
        return { startByte: offsetBytes, endByte: offsetBytes + lengthBytes };
      }),
    );
    const activations = Math.max(
      ...input.passes.map((pass, i) =>
        reach(
          pass.values.map(({ id, lengthBytes }) => {
            const startByte = plan.passes[i]!.offsets.get(id)!;
            return { startByte, endByte: startByte + lengthBytes };
          }),
        ),
      ),
    );
    const shared = Math.max(
      ...input.passes.flatMap(({ segments }) => segments.map(({ scratch }) => scratch.sharedBytes)),
    );
    const weights = [...held.values()].reduce((sum, bytes) => sum + bytes, 0) + ring;
    const spilled = plan.spillTier === "device" ? input.spilledBytes : 0;
    const each = input.passes.some(({ cyclic }) => cyclic) ? lanes : 1;
    for (const { scratch, blocks } of input.passes.flatMap(({ segments }) => segments)) {
      requireApart(blocks.flatMap(({ key }) => plan.residency.streamed.filter((block) => block.key === key).map(span)));
      peak = Math.max(
        peak,
        device.overheadBytes + weights + each * (links + activations) + shared + scratch.privateBytes + spilled,
      );
    }
    if (!keepsAll) held = new Map([...held].filter(([key]) => plan.keptKeys.includes(key)));
    if (!keepsAll && index === inputs.length - 1) assert.equal(held.size, 0, "kept after the last phase");
  }
  return peak;
}

function span({ offsetBytes, lengthBytes }: { readonly offsetBytes: number; readonly lengthBytes: number }): Span {
  return { startByte: offsetBytes, endByte: offsetBytes + lengthBytes };
}

function requireApart(spans: readonly Span[]): void {
  const sorted = spans.toSorted((a, b) => a.startByte - b.startByte);
  const apart = sorted.every((one, i) => i === 0 || sorted[i - 1]!.endByte <= one.startByte);
  assert.ok(apart, "a segment's weights overlap");
}

test("plans: peaks as counted and within budgets, a place for everything, refusals that name a budget that works", () => {
  const seen = { planned: 0, streaming: 0, sharing: 0, keeping: 0, refused: 0 };
  fc.assert(
    fc.property(request, (input) => {
      let plan: Plan;
      try {
        plan = makePlan(input);
      } catch (error) {
        assert.ok(error instanceof BudgetError, String(error));
        seen.refused++;
        if (error.code === "E_RAM") return;
        const least = smallestDeviceBytes(input);
        assert.ok(least > input.budgets.deviceBytes);
        makePlan({ ...input, budgets: { ...input.budgets, deviceBytes: least } });
        const below = { ...input.budgets, deviceBytes: least - 1 };
        assert.throws(() => makePlan({ ...input, budgets: below }), BudgetError);
        return;
      }
      seen.planned++;
      if (plan.phases.some(({ residency }) => residency.streamed.length > 0)) seen.streaming++;
      if (!plan.keepsAll && plan.phases.some(({ keptKeys }) => keptKeys.length > 0)) seen.keeping++;
      assert.ok(plan.peak.deviceBytes <= input.budgets.deviceBytes);
      assert.ok(plan.peak.ramBytes <= input.budgets.ramBytes);
      assert.equal(countedPeak(input, plan), plan.peak.deviceBytes);
      const ram = plan.phases.map(({ cachedBytes, spillTier }, p) => {
        const { hostBytes, laneBytes, spilledBytes } = input.phases[p]!;
        const lanes = (input.lanes! - 1) * laneBytes!;
        return input.processBytes + hostBytes + lanes + cachedBytes + (spillTier === "ram" ? spilledBytes : 0);
      });
      assert.equal(plan.peak.ramBytes, Math.max(...ram));
      const all = new Map(
        input.phases.flatMap(({ passes }) =>
          passes.flatMap(({ segments }) =>
            segments.flatMap(({ blocks }) => blocks.map((b) => [b.key, b.deviceBytes] as const)),
          ),
        ),
      );
      const weightBytes = [...all.values()].reduce((sum, bytes) => sum + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT, 0);
      assert.equal(plan.weightBytes, weightBytes);
      plan.phases.forEach((done, p) => {
        const { passes } = input.phases[p]!;
        const keys = new Set(
          passes.flatMap(({ segments }) => segments.flatMap(({ blocks }) => blocks.map(({ key }) => key))),
        );
        const next = input.phases[p + 1]?.passes.flatMap(({ segments }) => segments.flatMap(({ blocks }) => blocks));
        if (next?.some(({ key }) => keys.has(key))) seen.sharing++;
        const places = [...done.residency.pinned, ...done.residency.streamed].map(({ key }) => key);
        assert.deepEqual([...places].sort(), [...keys].sort());
        assert.ok(done.reasons.length > 0 && done.reasons.every((reason) => reason.length > 10));
        assert.ok(done.cached.every(({ key }) => done.residency.streamed.some((block) => block.key === key)));
        if (!input.device.sharesHostMemory) assert.equal(done.spillTier, "ram");
        else assert.equal(done.cached.length, 0);
      });
      for (const pass of predictPlan(plan, input.phases)) {
        assert.ok(pass.totalMs >= pass.computeMs - 1e-9 && pass.waitMs >= 0, JSON.stringify(pass));
      }
      const report = reportPlan(plan, input.phases);
      report.phases.forEach(({ sharedBytes, pinnedBytes }, p) => {
        assert.ok(sharedBytes <= pinnedBytes && (p > 0 || sharedBytes === 0));
      });
      if (plan.keepsAll) {
        const firstBytes = report.phases.reduce(
          (sum, { pinnedBytes, sharedBytes }) => sum + pinnedBytes - sharedBytes,
          0,
        );
        assert.equal(firstBytes, plan.weightBytes, "a block that two phases use is reported twice");
      }
    }),
    RUNS,
  );
  const { planned, streaming, sharing, keeping, refused } = seen;
  assert.ok(planned > 1000 && streaming > 0.7 * planned && sharing > 0.5 * planned, JSON.stringify(seen));
  assert.ok(keeping > 60 && refused > 100, JSON.stringify(seen));
});

test("two parts of one plan never have the same id", () => {
  const pass = { id: "a", repeats: 1, cyclic: false, values: [], segments: [] };
  const one = { id: "p", title: "p", passes: [pass], links: [], hostBytes: 0, spilledBytes: 0 };
  const input = (phases: readonly PlanPhaseInput[]): PlanInput => ({
    device: { name: "null", alignmentBytes: ALIGNMENT, overheadBytes: 0, sharesHostMemory: true },
    machine: TEST_MACHINE,
    budgets: { deviceBytes: 1, ramBytes: 1 },
    processBytes: 0,
    phases,
  });
  makePlan(input([one, { ...one, id: "q", passes: [{ ...pass, id: "b" }] }]));
  assert.throws(() => makePlan(input([one, { ...one, passes: [] }])), RangeError);
  assert.throws(() => makePlan(input([one, { ...one, id: "q" }])), RangeError);
});

test("blocks that meet in a segment, or through others, are one group", () => {
  const segments = ["ab", "cd", "e", "", "bc"].map((keys) => ({
    name: keys,
    blocks: [...keys].map((key) => ({ key, deviceBytes: 100, storedBytes: 100 })),
    flops: 0,
    trafficBytes: 0,
    scratch: { sharedBytes: 0, privateBytes: 0 },
  }));
  const pass = { id: "a", repeats: 1, cyclic: true, values: [], segments };
  const phase = { id: "p", title: "p", passes: [pass], links: [], hostBytes: 0, spilledBytes: 0 };
  assert.deepEqual(
    [...blockGroups(phase)].map(([key, group]) => `${key}${group}`),
    ["a0", "b0", "c0", "d0", "e2"],
  );
  assert.equal(largestGroupBytes(phase, ALIGNMENT), 4 * 128);
});
