/** @file Measured rates: the prediction becomes what was measured, short runs tell nothing, damaged files remember nothing. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { loadRates, saveRates } from "../../src/node/machine-rates.ts";
import type { Machine } from "../../src/plan/machine.ts";
import type { PlanInput } from "../../src/plan/plan-input.ts";
import { makePlan } from "../../src/plan/planner.ts";
import { predictPlan } from "../../src/plan/predict.ts";
import { measuredRates, ratedMachine, workSize } from "../../src/plan/rates.ts";
import { TEST_MACHINE } from "../graph-run.ts";

const MACHINE: Machine = { ...TEST_MACHINE, kind: "host" };

/** One segment bound by arithmetic (300 ms at 100 GFLOP/s), one by memory (200 ms at 10 GB/s). */
function input(machine = MACHINE): PlanInput {
  const segment = (name: string, flops: number, trafficBytes: number) => ({
    ...{ name, flops, trafficBytes, scratch: { sharedBytes: 0, privateBytes: 0 } },
    blocks: [{ key: name, deviceBytes: 6400, storedBytes: 6400 }],
  });
  const step = {
    ...{ id: "step", repeats: 10, cyclic: true, values: [] },
    segments: [segment("a", 3e10, 0), segment("b", 0, 2e9)],
  };
  const small = { id: "small", repeats: 1, cyclic: false, values: [], segments: [segment("c", 1e9, 0)] };
  return {
    device: { name: "cpu", alignmentBytes: 64, overheadBytes: 0, sharesHostMemory: true },
    machine,
    budgets: { deviceBytes: 1e9, ramBytes: 1000 },
    processBytes: 0,
    phases: [{ id: "p", title: "p", passes: [small, step], links: [], hostBytes: 0, spilledBytes: 0 }],
  };
}

const pass = { pass: "step", runs: 10, waitMs: 500, diskBytes: 0 };

test("with measured rates, the step is predicted as it went", () => {
  const before = input();
  const measured = [{ ...pass, totalMs: 2500 + 500 }];
  const rates = measuredRates(makePlan(before), before.phases, measured)!;
  // Planned 500 ms a step, done in 250.
  assert.deepEqual(rates, { gflops: 200, memoryGBps: 20, diskGBps: undefined });
  assert.equal(workSize(before.phases), "1e10");
  const machine = ratedMachine(MACHINE, { "1e10": rates }, before.phases);
  assert.equal(machine.basis, "a test, as measured here: 200 GFLOP/s, 20.0 GB/s memory, 2.0 GB/s disk");
  const after = input(machine);
  assert.equal(predictPlan(makePlan(after), after.phases).find(({ id }) => id === "step")!.computeMs, 250);
  // Measured again, they stay.
  assert.deepEqual(measuredRates(makePlan(after), after.phases, measured), rates);
});

test("bands are measured together and predicted one by one", () => {
  const whole = input();
  const [small, step] = whole.phases[0]!.passes;
  const bands = [
    { ...step!, id: "step:band0", repeats: 4 },
    { ...step!, id: "step:band1", repeats: 6, segments: step!.segments.slice(0, 1) },
  ];
  const phases = [{ ...whole.phases[0]!, passes: [small!, ...bands] }];
  // 4 runs of 500 ms and 6 of 300 ms were planned: 3800 ms, done in 1900.
  const rates = measuredRates(makePlan({ ...whole, phases }), phases, [{ ...pass, totalMs: 1900 + 500 }])!;
  assert.ok(Math.abs(rates.gflops - 200) < 1e-9 && Math.abs(rates.memoryGBps - 20) < 1e-9);
});

test("rates of work of another size are not used; what was too short, or hidden, tells nothing", () => {
  const { phases } = input();
  assert.equal(ratedMachine(MACHINE, { "1e12": { gflops: 1, memoryGBps: 1 } }, phases), MACHINE);
  const plan = makePlan(input());
  assert.equal(measuredRates(plan, phases, [{ ...pass, totalMs: 1400 }]), undefined);
  assert.equal(measuredRates(plan, phases, []), undefined);
  const read = (diskBytes: number, waitMs: number) =>
    measuredRates(plan, phases, [{ ...pass, totalMs: 4000, diskBytes, waitMs }])?.diskGBps;
  assert.equal(read(1e6, 2000), undefined);
  assert.equal(read(8e9, 900), undefined);
  assert.equal(read(8e9, 1000), 2);
});

test("measured memory is the link only where the device computes in host memory", () => {
  const { phases } = input();
  const table = { "1e10": { gflops: 200, memoryGBps: 20 } };
  for (const [kind, linkGBps] of [
    ["host", 20],
    ["card", 12],
    ["described", 12],
  ] as const) {
    const rated = ratedMachine({ ...MACHINE, kind, linkGBps: 12, diskGBps: 3 }, table, phases);
    assert.deepEqual([rated.memoryGBps, rated.linkGBps, rated.diskGBps], [20, linkGBps, 3]);
  }
});

test("the heaviest pass is the one with the most to do in all its runs", () => {
  const [phase] = input().phases;
  const [small, step] = phase!.passes;
  const large = { ...small!, segments: small!.segments.map((segment) => ({ ...segment, flops: 2.9e11 })) };
  // 3e10 ten times.
  assert.equal(workSize([{ ...phase!, passes: [large, step!] }]), "1e10");
  assert.equal(workSize([{ ...phase!, passes: [{ ...large, repeats: 2 }, step!] }]), "1e11");
});

test("rates are kept by device and size of work; damaged ones are forgotten", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "solvay-rates-"));
  try {
    assert.deepEqual(await loadRates(folder, "cpu"), {});
    await saveRates(folder, "cpu", "1e12", { gflops: 200, memoryGBps: 20, diskGBps: 3 });
    await saveRates(folder, "cpu", "1e9", { gflops: 50, memoryGBps: 5 });
    await saveRates(folder, "card", "1e12", { gflops: 3000, memoryGBps: 200 });
    assert.deepEqual(await loadRates(folder, "cpu"), {
      "1e12": { gflops: 200, memoryGBps: 20, diskGBps: 3 },
      "1e9": { gflops: 50, memoryGBps: 5 },
    });
    const file = path.join(folder, "rates.json");
    const odd = {
      a: { gflops: -1, memoryGBps: 1 },
      b: 7,
      c: { gflops: 1 },
      e: { gflops: 1e-310, memoryGBps: 1 },
      f: { gflops: 1, memoryGBps: 1e300 },
      d: { gflops: 1, memoryGBps: 2, diskGBps: "x" },
    };
    await writeFile(file, JSON.stringify({ cpu: odd }));
    assert.deepEqual(await loadRates(folder, "cpu"), { d: { gflops: 1, memoryGBps: 2 } });
    await writeFile(file, "{");
    assert.deepEqual(await loadRates(folder, "cpu"), {});
  } finally {
    await rm(folder, { recursive: true });
  }
});
