/** @file Euler steps, guidance and timestep embeddings against diffusers. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { PredictionType } from "../../src/sampler/config.ts";
import { timestepEmbedding } from "../../src/sampler/embedding.ts";
import { combineGuidance, eulerStep, scaleModelInput } from "../../src/sampler/euler.ts";

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
      const after = eulerStep({ prediction, sample, sigma, sigmaNext, predictionType });
      assert.deepEqual(after, array(step.after));
      assert.deepEqual(sample, array(step.sample), "the sample is left alone");
      eulerStep({ prediction, sample, sigma, sigmaNext, predictionType, into: sample });
      assert.deepEqual(sample, after, "the same in place");
    }
  });
}

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
