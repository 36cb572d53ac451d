/** @file Compiled segments on the device: of one picture size at a time, of a few plans, and known to be whole only while they are there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobShape } from "../../src/models/job-shape.ts";
import { CompiledPlans } from "../../src/pipeline/compiled-plans.ts";
import type { Plan } from "../../src/plan/plan.ts";

const TEXT = { chunks: 1, clipSkips: [0], encodes: 2, tellings: 1, heldChunks: 0 };
const SHAPE: JobShape = { batch: 2, width: 64, height: 64, modelCalls: 10, historyLength: 1, fp32: false, text: TEXT };

function studio() {
  const device = { releases: 0, release: async () => void device.releases++ };
  const compiled = new CompiledPlans();
  /** Begins a plan of its own. */
  const begin = async (shape: Partial<JobShape> = {}) => {
    const plan = {} as Plan;
    await compiled.begin({ plan, shape: { ...SHAPE, ...shape } }, device);
    return plan;
  };
  return { device, compiled, begin };
}

test("what is compiled stays for jobs of the same graphs, and goes before those of others come", async () => {
  for (const [shape, goes] of [
    [{}, false],
    [{ modelCalls: 30, otherCalls: [20] }, false],
    [{ encoderBytesPerPixel: 4 }, false],
    [{ text: { ...TEXT, encodes: 9, tellings: 4, heldChunks: 2 } }, false],
    [{ text: undefined }, false],
    [{ text: { ...TEXT, chunks: 2 } }, true],
    [{ text: { ...TEXT, clipSkips: [1] } }, true],
    [{ width: 128 }, true],
    [{ height: 128 }, true],
    [{ batch: 1 }, true],
    [{ fp32: true }, true],
    [{ hires: { width: 128, height: 128, modelCalls: 5, enlarges: "latent" } }, true],
    [{ pictures: { encoded: 1, masked: false } }, true],
  ] satisfies [Partial<JobShape>, boolean][]) {
    const { device, compiled, begin } = studio();
    const first = await begin();
    compiled.complete(first);
    const other = await begin(shape);
    assert.equal(device.releases, goes ? 1 : 0, JSON.stringify(shape));
    assert.equal(compiled.isWhole(other), false);
    await compiled.begin({ plan: first, shape: SHAPE }, device);
    // It had gone with its segments, and makes the other one go.
    assert.deepEqual([compiled.isWhole(first), device.releases], goes ? [false, 2] : [true, 0]);
  }
});

test("no more than four plans are held at once; one that is held begins again as it is", async () => {
  const { device, compiled, begin } = studio();
  const plans = [await begin(), await begin(), await begin(), await begin()];
  for (const plan of plans) compiled.complete(plan);
  for (const plan of plans) await compiled.begin({ plan, shape: SHAPE }, device);
  assert.deepEqual([device.releases, plans.every((plan) => compiled.isWhole(plan))], [0, true]);
  const fifth = await begin();
  assert.equal(device.releases, 1);
  compiled.complete(fifth);
  // The others went all together.
  await compiled.begin({ plan: plans[0]!, shape: SHAPE }, device);
  assert.deepEqual([compiled.isWhole(plans[0]!), compiled.isWhole(fifth), device.releases], [false, true, 1]);
});

test("what the device gave back is not whole any more, though its plan is begun", async () => {
  const { device, compiled, begin } = studio();
  const [one, two] = [await begin(), await begin({ modelCalls: 5 })];
  compiled.complete(one);
  assert.deepEqual([compiled.isWhole(one), compiled.isWhole(two)], [true, false]);
  await compiled.release(device);
  assert.deepEqual([compiled.isWhole(one), device.releases], [false, 1]);
  compiled.complete(one);
  compiled.clear();
  await compiled.begin({ plan: one, shape: SHAPE }, device);
  assert.deepEqual([compiled.isWhole(one), device.releases], [false, 1]);
});
