/** @file In which steps what steers by shares of them counts: adapters, ControlNets and image prompts alike, as diffusers' control_guidance_start and _end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AdapterSet } from "../../src/adapters/adapter-set.ts";
import type { Course } from "../../src/pipeline/denoising.ts";
import { adaptersShape, strengthsOf } from "../../src/pipeline/job-adapters.ts";
import { controlInputs } from "../../src/pipeline/job-controls.ts";
import { imagePromptInputs } from "../../src/pipeline/job-image-prompt.ts";

const NONE = new AdapterSet([], () => undefined);
const PICTURE = { width: 1, height: 1, rgb: new Uint8Array(3) };
const course = (firstStep: number, endStep: number) => ({ firstStep, endStep }) as Course;

/** Whether each step counts, by all three. */
function counted(start: number, end: number, made: Course): string {
  const adapters = { set: NONE, uses: [{ file: "a", from: start, to: end }] };
  const found = [
    strengthsOf(adapters, made)!.map(([strength]) => strength),
    controlInputs([{ use: { file: "a", start, end } } as never], [PICTURE], made)[0]!.weights,
    imagePromptInputs([{} as never], [{ use: { file: "a", start, end }, masks: [] } as never], made, "first")[0]!
      .weights,
  ].map((weights) => weights.join(""));
  assert.deepEqual(found, [found[0], found[0], found[0]]);
  return found[0]!;
}

test("a step counts where all of it lies between, of the steps that are made", () => {
  assert.equal(counted(0, 1, course(0, 5)), "11111");
  assert.equal(counted(0.4, 0.8, course(0, 5)), "00110");
  assert.equal(counted(0.25, 0.7, course(0, 5)), "00100");
  assert.equal(counted(0.9, 1, course(0, 5)), "00000");
  assert.equal(counted(0.5, 1, course(2, 6)), "000011");
});

test("changes of strength between steps are counted, the last one too: each is one more upload", () => {
  const changes = (from: number, to: number) =>
    adaptersShape({ set: NONE, uses: [{ file: "a", from, to }] }, course(1, 6))!.changes;
  assert.deepEqual([changes(0, 1), changes(0.8, 1), changes(0.2, 0.8)], [0, 1, 2]);
});
