/** @file Euler steps, guidance and timestep embeddings against diffusers. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { timestepEmbedding } from "../../src/models/embedding.ts";
import { combineGuidance, mixedParts } from "../../src/sampler/guidance.ts";
import { euler, eulerStep } from "../../src/sampler/methods/euler.ts";
import { denoisedFrom, type PredictionType, scaleModelInput } from "../../src/sampler/prediction.ts";
import type { SamplerState } from "../../src/sampler/sampler.ts";
import type { NoiseSchedule } from "../../src/sampler/schedule.ts";

interface Golden {
  readonly steps: readonly {
    readonly predictionType: PredictionType;
    readonly scale: number;
    readonly trajectory: readonly (Record<"sample" | "scaled" | "uncond" | "cond" | "guided" | "after", number[]> &
      Record<"sigma" | "sigmaNext", number>)[];
  }[];
  readonly embeddings: readonly { t: number; dim: number; flip: boolean; shift: number; values: number[] }[];
}

const path = new URL("../../fixtures/schedule/golden.json", import.meta.url);
const golden = JSON.parse(readFileSync(path, "utf8")) as Golden;
const array = (values: readonly number[]): Float32Array => Float32Array.from(values);

for (const { predictionType, scale, trajectory } of golden.steps) {
  test(`${predictionType}: every step is bit-equal to diffusers'`, () => {
    for (const step of trajectory) {
      const { sigma, sigmaNext } = step;
      const sample = array(step.sample);
      assert.deepEqual(scaleModelInput(sample, sigma), array(step.scaled));
      const prediction = combineGuidance(array(step.uncond), array(step.cond), scale);
      assert.deepEqual(prediction, array(step.guided));
      const denoised = denoisedFrom(prediction, sample, sigma, predictionType);
      assert.deepEqual(eulerStep(sample, denoised, sigma, sigmaNext), array(step.after));
      assert.deepEqual(sample, array(step.sample), "the sample is left alone");
    }
  });
}

test("parts of a prompt: each by its weight, one alone too; of weight 1 it is its own answer", () => {
  const uncond = array([1, 2]);
  const [one, other] = [array([3, 6]), array([0, 4])];
  assert.equal(mixedParts(uncond, [one], [1]), one);
  assert.deepEqual(mixedParts(uncond, [one], [2]), array([5, 10]));
  assert.deepEqual(mixedParts(uncond, [one], [0]), uncond);
  assert.deepEqual(mixedParts(uncond, [one, other], [0.5, -1]), array([1 + 1 + 1, 2 + 2 - 2]));
  assert.deepEqual(uncond, array([1, 2]), "what was given is left alone");
});

test("rescaled guidance has the prompt's own deviation, or as much of it as is asked for", () => {
  const [uncond, cond] = [array([0, 0]), array([1, 3])];
  const guided = (rescale: number) => [...combineGuidance(uncond, cond, 4, rescale)].map((value) => +value.toFixed(5));
  assert.deepEqual(guided(0), [4, 12]);
  assert.deepEqual(guided(1), [1, 3]);
  assert.deepEqual(guided(0.5), [2.5, 7.5]);
});

/** torch takes exp from MKL, which is at times one fp32 rounding off; the angle carries it `t` times. */
const FREQUENCY_ROUNDING = 2 ** -23;

test("timestep embeddings equal diffusers' within 1e-6 and one rounding of the frequency", () => {
  for (const { t, dim, flip, shift, values } of golden.embeddings) {
    const found = timestepEmbedding([t], dim, { flipSinToCos: flip, freqShift: shift });
    assert.equal(found.length, dim);
    values.forEach((value, at) => {
      const tolerance = 1e-6 + FREQUENCY_ROUNDING * Math.abs(t);
      assert.ok(
        Math.abs(found[at]! - value) <= tolerance,
        `t ${t}, dim ${dim}, place ${at}: ${found[at]} is not ${value}`,
      );
    });
  }
});

test("several timesteps are embedded as rows", () => {
  const options = { flipSinToCos: true, freqShift: 0 };
  const both = timestepEmbedding([3, 7], 8, options);
  assert.deepEqual(both.slice(0, 8), timestepEmbedding([3], 8, options));
  assert.deepEqual(both.slice(8), timestepEmbedding([7], 8, options));
});

test("as a sampler, Euler asks once a step, at the step's own noise level, and keeps no history", async () => {
  const schedule = { sigmas: Float32Array.of(4, 2, 0) } as NoiseSchedule;
  const asked: number[] = [];
  const noise = () => assert.fail("Euler draws no noise");
  let state: SamplerState = { step: 0, x: Float32Array.of(8, -4), history: [] };
  while (state.step < 2) {
    const expected = euler.levels(schedule, state.step);
    const before = asked.length;
    const denoise = async (_: Float32Array, sigma: number) => {
      asked.push(sigma);
      return Float32Array.of(1, 1);
    };
    state = await euler.step(state, schedule, denoise, noise);
    assert.deepEqual(asked.slice(before), expected);
    assert.ok(state.history.length <= euler.historyLength);
  }
  // 8 -> 8 + (8 - 1) / 4 * (2 - 4) = 4.5 -> 4.5 + (4.5 - 1) / 2 * (0 - 2) = 1; -4 -> -1.5 -> 1.
  assert.deepEqual(state.x, Float32Array.of(1, 1));
  assert.deepEqual(asked, [4, 2]);
});
