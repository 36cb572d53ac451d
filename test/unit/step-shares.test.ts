/** @file In which steps what steers by shares of them counts: adapters, ControlNets and image prompts alike, as diffusers' control_guidance_start and _end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AdapterSet } from "../../src/adapters/adapter-set.ts";
import type { Course } from "../../src/pipeline/denoising.ts";
import { adaptedPrompt, adaptersShape, strengthsOf } from "../../src/pipeline/job-adapters.ts";
import { controlInputs, controlPictures, controlShapes, preparationBytes } from "../../src/pipeline/job-controls.ts";
import { imagePromptInputs, imagePromptShapes } from "../../src/pipeline/job-image-prompt.ts";

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
  // Of any of several adapters; those that change together are one upload.
  const uses = [{ file: "a" }, { file: "b", from: 0.2 }, { file: "c", from: 0.2, to: 0.8 }];
  assert.equal(adaptersShape({ set: NONE, uses }, course(1, 6))!.changes, 2);
});

test("an adapter's weight is the network's and the encoders' where they have none of their own", () => {
  const uses = [
    { file: "a" },
    { file: "b", weight: 0.5 },
    { file: "c", weight: 0.5, unet: 2 },
    { file: "d", weight: 0.5, te: 0 },
  ];
  assert.deepEqual(strengthsOf({ set: NONE, uses }, course(0, 1)), [[1, 0.5, 2, 0.5]]);
  const set = (id: string, ...components: string[]) =>
    ({ components: new Map(components.map((name) => [name, {}])), toJSON: () => id }) as unknown as AdapterSet;
  const prompt = { tokens: {}, clipSkip: 0 };
  const both = set("both", "unet", "textEncoder2");
  const told = (strengths: readonly number[], of = "both") => ({ ...prompt, adapters: { set: of, strengths } });
  assert.deepEqual(adaptedPrompt(prompt, { set: both, uses }), told([1, 0.5, 0.5, 0]));
  // What reads as without adapters is remembered as without.
  assert.equal(adaptedPrompt(prompt, { set: both, uses: uses.slice(3) }), prompt);
  assert.equal(adaptedPrompt(prompt, { set: set("unet", "unet"), uses }), prompt);
  assert.equal(adaptedPrompt(prompt, undefined), prompt);
  // Where passes have other ones, the encoders have those of all passes.
  const encoders = { set: set("all", "textEncoder"), uses: uses.slice(1, 2) };
  assert.deepEqual(adaptedPrompt(prompt, { set: both, uses, encoders }), told([0.5], "all"));
});

test("a ControlNet is asked where it counts, once at least in the plan; told of no negative prompt where it guesses", () => {
  const made = { ...course(1, 5), calls: [1, 1, 2, 3, 3, 4].map((step) => ({ step })) } as unknown as Course;
  const network = {} as never;
  const shapeOf = (use: object) =>
    controlShapes([{ use: { file: "c", ...use }, component: "c", network }], made, { batch: 5, negatives: 2 })[0]!;
  const whole = { component: "c", network, guess: false, rows: 5, calls: 6 };
  assert.deepEqual(shapeOf({}), whole);
  assert.deepEqual(shapeOf({ start: 0.25 }), { ...whole, calls: 4 });
  assert.deepEqual(shapeOf({ end: 0.75, weight: -1 }), { ...whole, calls: 5 });
  assert.deepEqual(shapeOf({ start: 0.9 }), { ...whole, calls: 1 });
  assert.deepEqual(shapeOf({ weight: 0 }), { ...whole, calls: 1 });
  assert.deepEqual(shapeOf({ guess: true, mode: "depth" }), { ...whole, guess: true, mode: 1, rows: 3 });
  assert.deepEqual(shapeOf({ mode: "openpose" }), { ...whole, mode: 0 });
  const prompts = [
    { network, encoder: "e", adapter: "a", pictures: [1, 2], masks: [] },
    { pictures: [1], masks: [1] },
  ];
  assert.deepEqual(
    imagePromptShapes(prompts as never, 2).map(({ negatives, pictures, masked }) => [negatives, pictures, masked]),
    [
      [2, 2, false],
      [2, 1, true],
    ],
  );
});

test("each ControlNet looks at its own picture, in planes of 0..1, at the sizes of the passes that it steers", () => {
  const controls = [{ use: { file: "a" } }, { use: { file: "b" } }] as never;
  const pictures = [PICTURE, { width: 2, height: 1, rgb: Uint8Array.of(255, 51, 0, 102, 0, 204) }];
  const [first, second] = controlInputs(controls, pictures, course(0, 1));
  assert.deepEqual([...first!.picture], [0, 0, 0]);
  assert.deepEqual(second!.picture, Float32Array.of(1, 0.4, 0.2, 0, 0, 0.8));
  const [small, large] = [
    { width: 8, height: 8 },
    { width: 16, height: 16 },
  ];
  const widths = (pass: string | undefined, hires: typeof large | undefined) => {
    const found = controlPictures(PICTURE, { file: "a", ...(pass && { pass }) } as never, small, hires);
    return [found.first?.width, found.hires?.width];
  };
  assert.deepEqual(widths(undefined, large), [8, 16]);
  assert.deepEqual(widths("first", large), [8, undefined]);
  assert.deepEqual(widths("second", large), [undefined, 16]);
  for (const pass of [undefined, "first", "second"]) assert.deepEqual(widths(pass, undefined), [8, undefined]);
});

test("preparing takes the source, what it is resized to, Canny's arrays over that, and where it is laid into another shape", () => {
  const source = { width: 20, height: 10, rgb: new Uint8Array(600) };
  const place = { width: 8, height: 8 };
  // Rows first or columns first, and the result, by channel (resampleBytes); then 21 bytes a pixel.
  const of = (width: number, height: number) =>
    600 + (Math.max(width * 10, 20 * height) + 2 * width * height) * 3 + 21 * width * height;
  for (const [fit, bytes] of [
    [undefined, of(8, 8)],
    ["stretch", of(8, 8)],
    ["crop", of(16, 8) + 192],
    ["pad", of(8, 4) + 192],
  ] as const) {
    assert.equal(preparationBytes(source, { file: "a", fit } as never, place), bytes, fit);
  }
});
