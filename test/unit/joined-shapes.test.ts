/** @file Jobs side by side: which may share passes, and what one plan for all of them counts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { atStep } from "../../src/models/conditioning.ts";
import { type JobShape, joinedShape } from "../../src/models/job-shape.ts";

const TEXT = { chunks: 1, clipSkips: [0], encodes: 2, tellings: 1, heldChunks: 0 };
const SHAPE: JobShape = { batch: 2, width: 64, height: 64, modelCalls: 10, historyLength: 1, fp32: false, text: TEXT };
/** Adapters are told apart by what a set is written as. */
const adapters = (set: string, changes = 0) => ({ set: set as never, changes });
const control = (component: string, calls: number) =>
  ({ component, guess: false, rows: 2, calls, network: {} }) as never;
const HIRES = { width: 128, height: 128, modelCalls: 5, enlarges: "latent", text: TEXT, batch: 2 } as const;
const REFINED = { modelCalls: 3, historyLength: 1, text: TEXT, batch: 2 } as const;

test("jobs whose graphs differ in anything share no pass", () => {
  const full: JobShape = {
    ...SHAPE,
    pictures: { encoded: 1, masked: false },
    hires: { ...HIRES, adapters: adapters("a") },
    refined: REFINED,
    adapters: adapters("a"),
    encoderAdapters: "a" as never,
    controls: [control("c", 10)],
    imagePrompts: [{ component: "i" } as never],
    preview: "colours",
  };
  const others: Partial<JobShape>[] = [
    { batch: 1 },
    { width: 128 },
    { height: 128 },
    { fp32: true },
    { text: undefined },
    { text: { ...TEXT, chunks: 2 } },
    { text: { ...TEXT, clipSkips: [1] } },
    { text: { ...TEXT, learned: 3 } },
    { pictures: undefined },
    { pictures: { encoded: 1, masked: true } },
    { hires: undefined },
    { hires: { ...full.hires!, width: 96 } },
    { hires: { ...full.hires!, enlarges: "picture" } },
    { hires: { ...full.hires!, adapters: adapters("b") } },
    { hires: { ...full.hires!, text: { ...TEXT, chunks: 2 } } },
    { hires: { ...full.hires!, text: { ...TEXT, learned: 1 } } },
    { refined: undefined },
    { refined: { ...REFINED, text: { ...TEXT, clipSkips: [0, 1] } } },
    { adapters: undefined },
    { adapters: adapters("b") },
    { encoderAdapters: "b" as never },
    { controls: [] },
    { controls: [control("d", 10)] },
    { controls: [control("c", 10), control("c", 10)] },
    { imagePrompts: [{ component: "j" } as never] },
    { preview: undefined },
  ];
  assert.ok(joinedShape([full, structuredClone(full)]), "equal ones");
  for (const other of others) {
    for (const shapes of [
      [full, { ...full, ...other }],
      [{ ...full, ...other }, full],
      [full, full, { ...full, ...other }],
    ]) {
      assert.equal(joinedShape(shapes), undefined, JSON.stringify(other));
    }
  }
});

test("of what pictures take by themselves, one plan for all counts the most, whichever of them it is", () => {
  const text = (encodes: number, tellings: number, heldChunks: number) => ({ ...TEXT, encodes, tellings, heldChunks });
  const shapes: JobShape[] = [
    { ...SHAPE, modelCalls: 10, historyLength: 1, text: text(2, 9, 1), adapters: adapters("a", 0) },
    { ...SHAPE, modelCalls: 30, historyLength: 0, text: text(7, 1, 0), adapters: adapters("a", 4) },
    { ...SHAPE, modelCalls: 20, historyLength: 3, text: text(3, 2, 5), adapters: adapters("a", 1) },
  ].map((shape, i) => ({
    ...shape,
    hires: { ...HIRES, text: text(i, 2 - i, 3 * i) },
    refined: { ...REFINED, text: text(5 - i, i, 1) },
    controls: [control("c", 10 + i), control("d", 5 - i)],
  }));
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
  ]) {
    assert.deepEqual(joinedShape(order.map((i) => shapes[i]!)), {
      ...SHAPE,
      modelCalls: 30,
      otherCalls: [20, 10],
      historyLength: 3,
      text: text(7, 9, 5),
      adapters: adapters("a", 4),
      hires: { ...HIRES, text: text(2, 2, 6) },
      refined: { ...REFINED, text: text(5, 2, 1) },
      controls: [control("c", 12), control("d", 5)],
    });
  }
});

test("pictures that are written otherwise share passes; the plan has room for the one whose writing takes most", () => {
  const bytesOf = (...all: (number | undefined)[]) =>
    joinedShape(all.map((encoderBytesPerPixel) => ({ ...SHAPE, encoderBytesPerPixel })))!.encoderBytesPerPixel;
  const png = bytesOf(undefined, 0)!;
  assert.ok(png > 0, "a PNG's, where nothing is said");
  assert.equal(bytesOf(png + 1, undefined), png + 1);
  assert.equal(bytesOf(undefined, png + 1, png), png + 1);
  assert.equal(bytesOf(4, 4), 4);
});

test("pictures that ask the model equally often have no other calls", () => {
  assert.deepEqual(joinedShape([SHAPE, SHAPE]), SHAPE);
  assert.deepEqual(joinedShape([SHAPE]), SHAPE);
  assert.equal(joinedShape([]), undefined);
});

test("what is given by step: its own, and the last one for all later steps", () => {
  assert.deepEqual(
    [0, 1, 2, 3, 9].map((step) => atStep(["a", "b", "c"], step)),
    ["a", "b", "c", "c", "c"],
  );
  assert.equal(atStep(["a"], 5), "a");
});
