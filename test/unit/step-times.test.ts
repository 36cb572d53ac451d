/** @file Times of steps, and turns, by a clock that the test moves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StepClock } from "../../src/engine/step-times.ts";
import { TurnQueue } from "../../src/engine/turn-queue.ts";

function bench() {
  const at = { nowMs: 1000, readBytes: 50, waitMs: 7 };
  const clock = new StepClock(() => ({ ...at }));
  const pass = (ms: number, readBytes = 0, waitMs = 0) => {
    at.nowMs += ms;
    at.readBytes += readBytes;
    at.waitMs += waitMs;
  };
  return { clock, pass };
}

test("a step's time, bytes and wait are its own; the rest is told by the mean of the phase's steps", () => {
  const { clock, pass } = bench();
  clock.attempt(0);
  clock.phase();
  pass(30, 4000, 9);
  clock.phase();
  pass(100, 500, 20);
  const first = { elapsedMs: 130, stepMs: 100, etaMs: 300, readBytes: 500, bytesPerSecond: 5000, waitMs: 20 };
  assert.deepEqual(clock.step(1, 4), first);
  pass(11, 70, 3);
  clock.stepShown(1);
  pass(200, 600, 30);
  const second = { elapsedMs: 341, stepMs: 200, etaMs: 311, readBytes: 600, bytesPerSecond: 3000, waitMs: 30 };
  assert.deepEqual(clock.step(2, 4), second);
  clock.stepShown(2);
  pass(10);
  assert.equal(clock.elapsedMs, 351);
});

test("an attempt that goes on after some steps counts only its own; one from the start all", () => {
  const { clock, pass } = bench();
  clock.attempt(0);
  clock.phase();
  for (let step = 1; step <= 3; step++) {
    pass(100);
    clock.step(step, 5);
    clock.stepShown(step);
  }
  pass(1000);
  clock.attempt(3);
  pass(50);
  clock.phase();
  pass(40);
  const { etaMs, stepMs, elapsedMs } = clock.step(4, 5);
  assert.deepEqual([etaMs, stepMs, elapsedMs], [40, 40, 1390]);
  clock.stepShown(4);
  clock.attempt(0);
  clock.phase();
  pass(60);
  assert.deepEqual(clock.step(1, 5).etaMs, 240);
  clock.stepShown(1);
  clock.phase();
  assert.equal(clock.step(2, 5).bytesPerSecond, 0);
  pass(10);
  assert.equal(clock.step(2, 5).etaMs, 30, "steps shown before the phase are none of its own");
});

test("turns are taken in their order, one at a time, however the one before ended", async () => {
  const turns = new TurnQueue();
  const log: string[] = [];
  const work = async (name: string, fails = false) => {
    using _ = await turns.take();
    log.push(`${name} begins`);
    await new Promise((resolve) => setImmediate(resolve));
    log.push(`${name} ends`);
    if (fails) throw new Error(name);
  };
  await Promise.allSettled([work("a"), work("b", true), work("c")]);
  assert.deepEqual(
    log,
    ["a", "b", "c"].flatMap((name) => [`${name} begins`, `${name} ends`]),
  );
  using _ = await turns.take();
});
