/** @file Which pictures may share passes, and what their plan then counts: of all amounts the largest, of what graphs are made from all the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type JobShape, joinedShape, type TextShape } from "../../src/models/job-shape.ts";

const text = (encodes: number, tellings: number, heldChunks: number): TextShape => ({
  ...{ chunks: 2, clipSkips: [0, 1], learned: 3, encodes, tellings, heldChunks },
});
const control = (component: string, calls: number) => ({
  ...{ component, network: { kind: "controlnet" }, guess: false, rows: 2, calls },
});
const SHAPE = {
  ...{ batch: 2, width: 64, height: 128, modelCalls: 4, historyLength: 1, fp32: false, preview: "colours" },
  text: text(2, 1, 5),
  adapters: { set: { id: "loras" }, changes: 1 },
  controls: [control("depth", 4), control("pose", 2)],
  hires: { width: 128, height: 256, modelCalls: 3, enlarges: "latent", text: text(4, 6, 2) },
  refined: { modelCalls: 2, historyLength: 0, batch: 2, text: text(1, 1, 9) },
  imagePrompts: [{ network: { kind: "ip" }, encoder: "e", adapter: "a", pictures: 1, masked: false, negatives: 1 }],
  pictures: { encoded: 1, masked: false },
} as unknown as JobShape;

test("pictures side by side: of calls, kept latents, prompts, changes of strengths and host memory the most of any", () => {
  const other: JobShape = {
    ...SHAPE,
    ...{ modelCalls: 2, historyLength: 3, encoderBytesPerPixel: 22, text: text(1, 7, 6) },
    adapters: { ...SHAPE.adapters!, changes: 4 },
    controls: [control("depth", 1), control("pose", 3)],
    hires: { ...SHAPE.hires!, text: text(5, 1, 1) },
    refined: { ...SHAPE.refined!, text: text(1, 2, 8) },
  };
  const most: JobShape = {
    ...SHAPE,
    // A PNG, as the first is, takes 9 bytes a pixel.
    ...{ modelCalls: 4, otherCalls: [2], historyLength: 3, encoderBytesPerPixel: 22, text: text(2, 7, 6) },
    adapters: { ...SHAPE.adapters!, changes: 4 },
    controls: [control("depth", 4), control("pose", 3)],
    hires: { ...SHAPE.hires!, text: text(5, 6, 2) },
    refined: { ...SHAPE.refined!, text: text(1, 2, 9) },
  };
  assert.deepEqual(joinedShape([SHAPE, other]), most);
  // Whichever is first.
  assert.deepEqual(joinedShape([other, SHAPE]), most);
  const fewest = { ...SHAPE, modelCalls: 1 };
  assert.deepEqual(joinedShape([other, fewest, SHAPE, other])!.otherCalls, [2, 1]);
  const losslessWebp = joinedShape([SHAPE, { ...SHAPE, encoderBytesPerPixel: 50 }]);
  assert.equal(losslessWebp!.encoderBytesPerPixel, 50);
  assert.equal(joinedShape([{ ...SHAPE, encoderBytesPerPixel: 4 }, SHAPE])!.encoderBytesPerPixel, 9);
});

test("one picture, or several of one shape, keep it; none have none", () => {
  assert.deepEqual(joinedShape([SHAPE]), SHAPE);
  assert.deepEqual(joinedShape([SHAPE, SHAPE]), SHAPE);
  assert.equal(joinedShape([]), undefined);
});

test("pictures whose graphs differ in anything share no pass", () => {
  const { text: _, ...untold } = SHAPE;
  const others: Readonly<Record<string, Partial<JobShape>>> = {
    batch: { batch: 1 },
    width: { width: 128 },
    height: { height: 64 },
    "all in fp32": { fp32: true },
    "how previews are made": { preview: undefined },
    "chunks of prompts": { text: { ...SHAPE.text!, chunks: 1 } },
    "layers of encoders": { text: { ...SHAPE.text!, clipSkips: [0] } },
    "vectors of learned words": { text: { ...SHAPE.text!, learned: 4 } },
    "no learned words": { text: { ...SHAPE.text!, learned: undefined } as unknown as TextShape },
    "another set of adapters": { adapters: { set: { id: "others" } as never, changes: 1 } },
    "no adapters": { adapters: undefined },
    "adapters of encoders alone": { encoderAdapters: { id: "others" } as never },
    "another network that steers": { controls: [control("depth", 4), control("lines", 2)] },
    "networks in another order": { controls: [control("pose", 4), control("depth", 2)] },
    "one network fewer": { controls: [control("depth", 4)] },
    "steered in guess mode": { controls: [{ ...control("depth", 4), guess: true }, control("pose", 2)] },
    "a union's other mode": { controls: [{ ...control("depth", 4), mode: 1 }, control("pose", 2)] },
    "another second size": { hires: { ...SHAPE.hires!, width: 192 } },
    "other calls of a second pass": { hires: { ...SHAPE.hires!, modelCalls: 2 } },
    "prompts of a second pass": { hires: { ...SHAPE.hires!, text: { ...text(4, 6, 2), chunks: 1 } } },
    "no second pass": { hires: undefined },
    "a refiner's part": { refined: { ...SHAPE.refined!, modelCalls: 1 } },
    "prompts of a refiner": { refined: { ...SHAPE.refined!, text: { ...text(1, 1, 9), learned: 1 } } },
    "pictures as prompts": { imagePrompts: [{ ...SHAPE.imagePrompts![0]!, pictures: 2 }] },
    "a mask": { pictures: { encoded: 1, masked: true } },
  };
  for (const [what, changed] of Object.entries(others)) {
    assert.equal(joinedShape([SHAPE, { ...SHAPE, ...changed }]), undefined, what);
    assert.equal(joinedShape([{ ...SHAPE, ...changed }, SHAPE]), undefined, what);
  }
  assert.equal(joinedShape([SHAPE, untold]), undefined, "no prompts");
});
