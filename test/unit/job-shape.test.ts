/** @file Which pictures may share passes, and what their plan then counts: of all amounts the largest, of what graphs are made from all the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { atStep } from "../../src/models/conditioning.ts";
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
    "one network more": { controls: [control("depth", 4), control("pose", 2), control("pose", 2)] },
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
    "no picture to begin with": { pictures: undefined },
    "all of prompts": { text: undefined },
    "what enlarges between the passes": { hires: { ...SHAPE.hires!, enlarges: "picture" } },
    "adapters of the second pass": { hires: { ...SHAPE.hires!, adapters: { set: { id: "b" } as never, changes: 0 } } },
    "learned words of the second pass": { hires: { ...SHAPE.hires!, text: { ...text(4, 6, 2), learned: 1 } } },
    "no refiner": { refined: undefined },
    "layers of a refiner's encoder": { refined: { ...SHAPE.refined!, text: { ...text(1, 1, 9), clipSkips: [0] } } },
    "no networks that steer": { controls: [] },
    "another picture network": { imagePrompts: [{ component: "j" } as never] },
  };
  for (const [what, changed] of Object.entries(others)) {
    assert.equal(joinedShape([SHAPE, { ...SHAPE, ...changed }]), undefined, what);
    assert.equal(joinedShape([{ ...SHAPE, ...changed }, SHAPE]), undefined, what);
    assert.equal(joinedShape([SHAPE, SHAPE, { ...SHAPE, ...changed }]), undefined, what);
  }
  assert.equal(joinedShape([SHAPE, untold]), undefined, "no prompts");
  assert.ok(joinedShape([SHAPE, structuredClone(SHAPE)]), "equal ones");
});

const { batch, width, height, fp32 } = SHAPE;
const PLAIN: JobShape = { batch, width, height, fp32, modelCalls: 10, historyLength: 1, text: text(2, 1, 0) };
const adapters = (changes: number) => ({ set: SHAPE.adapters!.set, changes });

test("of what pictures take by themselves, one plan for all counts the most, whichever of them it is", () => {
  const shapes: JobShape[] = [
    { ...PLAIN, modelCalls: 10, historyLength: 1, text: text(2, 9, 1), adapters: adapters(0) },
    { ...PLAIN, modelCalls: 30, historyLength: 0, text: text(7, 1, 0), adapters: adapters(4) },
    { ...PLAIN, modelCalls: 20, historyLength: 3, text: text(3, 2, 5), adapters: adapters(1) },
  ].map((shape, i) => ({
    ...shape,
    hires: { ...SHAPE.hires!, text: text(i, 2 - i, 3 * i) },
    refined: { ...SHAPE.refined!, text: text(5 - i, i, 1) },
    controls: [control("depth", 10 + i), control("pose", 5 - i)] as never,
  }));
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
  ]) {
    assert.deepEqual(joinedShape(order.map((i) => shapes[i]!)), {
      ...PLAIN,
      modelCalls: 30,
      otherCalls: [20, 10],
      historyLength: 3,
      text: text(7, 9, 5),
      adapters: adapters(4),
      hires: { ...SHAPE.hires!, text: text(2, 2, 6) },
      refined: { ...SHAPE.refined!, text: text(5, 2, 1) },
      controls: [control("depth", 12), control("pose", 5)] as never,
    });
  }
});

test("pictures that are written otherwise share passes; the plan has room for the one whose writing takes most", () => {
  const bytesOf = (...all: (number | undefined)[]) =>
    joinedShape(all.map((encoderBytesPerPixel) => ({ ...PLAIN, encoderBytesPerPixel })))!.encoderBytesPerPixel;
  const png = bytesOf(undefined, 0)!;
  assert.ok(png > 0, "a PNG's, where nothing is said");
  assert.equal(bytesOf(png + 1, undefined), png + 1);
  assert.equal(bytesOf(undefined, png + 1, png), png + 1);
  assert.equal(bytesOf(4, 4), 4);
});

test("what is given by step: its own, and the last one for all later steps", () => {
  assert.deepEqual(
    [0, 1, 2, 3, 9].map((step) => atStep(["a", "b", "c"], step)),
    ["a", "b", "c", "c", "c"],
  );
  assert.equal(atStep(["a"], 5), "a");
});
