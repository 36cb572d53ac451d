/** @file A part of the steps: which calls of the model are told to it, which draws of noise it takes, and where it goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Course, courseOf, denoise } from "../../src/pipeline/denoising.ts";
import type { SamplerState } from "../../src/sampler/sampler.ts";
import type { PhaseRun } from "../../src/stream/phase.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

const checkpoint = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)));
const LATENT = [1, 4, 2, 2] as const;

/** Its states, the places of the draws it took, and the call of the model that it said comes first. */
async function made(course: Course, more: { readonly firstPlace?: number; readonly from?: SamplerState } = {}) {
  const places: number[] = [];
  const states: SamplerState[] = [];
  let firstCall: number | undefined;
  const noise = {
    normal(place: number, count: number) {
      places.push(place);
      return Float32Array.from({ length: count }, (_, i) => Math.sin(place * 100 + i));
    },
  };
  const stage = {
    latentShape: LATENT,
    denoiser: async (_: PhaseRun, told: { readonly calls: Course["calls"]; readonly firstCall: number }) => {
      assert.equal(told.calls, course.calls);
      firstCall = told.firstCall;
      return async (x: Float32Array) => x.map((value) => value / 2);
    },
  };
  const start = new Float32Array(16).fill(1);
  const options = { guide: {} as never, noise, start, ...more };
  for await (const state of denoise(stage as never, {} as PhaseRun, course, options)) states.push(state);
  return { places, states, firstCall };
}

test("a part of the steps takes the draws after those before it, one after the other, wherever it begins and goes on", async () => {
  const course = courseOf(checkpoint, { sampler: "euler-a", steps: 6 }, { firstStep: 2, endStep: 5 });
  assert.deepEqual([course.steps, course.drawCount], [6, 3]);
  assert.deepEqual(
    course.calls.map(({ step }) => step),
    [2, 3, 4],
  );
  const whole = await made(course);
  assert.deepEqual(whole.places, [1, 2, 3]);
  assert.deepEqual((await made(course, { firstPlace: 7 })).places, [7, 8, 9]);
  for (const [at, from] of whole.states.entries()) {
    const rest = await made(course, { from });
    assert.deepEqual(rest.places, [1, 2, 3].slice(at + 1));
    assert.deepEqual(rest.states, whole.states.slice(at + 1));
  }
  // At the last of all steps diffusers draws, too, and adds none of it: that draw is counted, not made.
  const last = courseOf(checkpoint, { sampler: "euler-a", steps: 6 }, { firstStep: 4 });
  assert.equal(last.drawCount, 2);
  assert.deepEqual((await made(last)).places, [1]);
});

test("of samplers that ask twice a step, the first call told is the first of the step to come", async () => {
  const course = courseOf(checkpoint, { sampler: "heun", steps: 5 }, { firstStep: 1, endStep: 4 });
  assert.deepEqual(
    course.calls.map(({ step }) => step),
    [1, 1, 2, 2, 3, 3],
  );
  const { states, firstCall, places } = await made(course);
  assert.deepEqual([firstCall, places], [0, []]);
  assert.equal((await made(course, { from: states[0]! })).firstCall, 2);
  assert.equal((await made(course, { from: states[1]! })).firstCall, 4);
});
