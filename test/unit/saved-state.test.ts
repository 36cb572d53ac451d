/** @file Which states a job goes on from: those of its steps, of the size of the pass that such a step is in, and of its sampler. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DescribedJob } from "../../src/models/family.ts";
import type { Leg, Route } from "../../src/pipeline/route.ts";
import { requireStateFits } from "../../src/pipeline/saved-state.ts";

const leg = (stepsBefore: number, historyLength: number) =>
  ({ stepsBefore, course: { sampler: { historyLength } } }) as Leg;
/** Latents of 4 values; those of a second pass have 16. */
const described = { latentShape: [1, 4, 1, 1], hires: { latentShape: [1, 4, 2, 2] } } as unknown as DescribedJob;

/** "ok", or what it is refused for. */
function verdict(route: Partial<Route>, step: number, values: number, kept: readonly number[] = []): string {
  const state = { step, x: new Float32Array(values), history: kept.map((length) => new Float32Array(length)) };
  try {
    requireStateFits(described, { first: leg(0, 1), steps: 10, firstDraws: 0, ...route }, state);
    return "ok";
  } catch (error) {
    const { code, problem } = error as { code: string; problem: string };
    assert.equal(code, "E_STATE");
    return /step|size|sampler/.exec(problem.split(": ")[1]!)![0];
  }
}

test("a step from the first to the last, a whole one", () => {
  for (const step of [1, 5, 10]) assert.equal(verdict({}, step, 4), "ok");
  for (const step of [0, -1, 11, 1.5, Number.NaN]) assert.equal(verdict({}, step, 4), "step");
});

test("latents are of the pass that the step was made in: the last step of one pass is still of its size", () => {
  const hires = leg(6, 1);
  for (const step of [1, 6])
    assert.deepEqual([verdict({ hires }, step, 4), verdict({ hires }, step, 16)], ["ok", "size"]);
  for (const step of [7, 10]) {
    assert.deepEqual([verdict({ hires }, step, 4), verdict({ hires }, step, 16)], ["size", "ok"]);
  }
  // A refiner goes on at the size that it got.
  const both = { hires, refined: leg(8, 1) };
  assert.deepEqual([verdict(both, 9, 4), verdict(both, 9, 16)], ["size", "ok"]);
  assert.deepEqual([verdict({ refined: leg(8, 1) }, 9, 4), verdict({ refined: leg(8, 1) }, 9, 16)], ["ok", "size"]);
  for (const values of [0, 3, 5]) assert.equal(verdict({}, 3, values), "size");
});

test("what is kept of steps before: as many as that pass's sampler keeps, each of the same size", () => {
  const route = { first: leg(0, 1), hires: leg(4, 2), refined: leg(8, 3) };
  for (const [step, values, most] of [
    [4, 4, 1],
    [5, 16, 2],
    [8, 16, 2],
    [9, 16, 3],
  ] as const) {
    assert.equal(verdict(route, step, values, new Array(most).fill(values)), "ok");
    assert.equal(verdict(route, step, values, new Array(most + 1).fill(values)), "sampler");
    assert.equal(verdict(route, step, values, [...new Array(most - 1).fill(values), values - 1]), "size");
  }
});
