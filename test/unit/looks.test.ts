/** @file Rests between Dawn's looks: before those alone, and each look comes after its rest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { promisify } from "node:util";
import { restBetweenLooks, restingImmediate } from "../../src/node/gpu/looks.ts";

test("a native function of no arguments is called after a rest, everything else as it was", () => {
  const log: string[] = [];
  const queue: (() => void)[] = [];
  const plain = (callback: (...args: unknown[]) => void, ...args: unknown[]) => queue.push(() => callback(...args));
  const later = restingImmediate(plain, () => log.push("rest"));
  const said = log.push.bind(log) as (...args: unknown[]) => void;
  assert.equal(
    later(() => log.push("ours")),
    1,
  );
  later(said, "with an argument");
  later(said);
  assert.deepEqual(log, []);
  for (const turn of queue) turn();
  assert.deepEqual(log, ["ours", "with an argument", "rest"]);
});

test("a thread that rests has a setImmediate in all its forms", async () => {
  restBetweenLooks();
  const once = globalThis.setImmediate;
  restBetweenLooks();
  assert.equal(globalThis.setImmediate, once);
  assert.equal(await promisify(setImmediate)("value"), "value");
  assert.equal(await new Promise((resolve) => setImmediate(resolve, "last")), "last");
  clearImmediate(setImmediate(() => assert.fail("it was taken back")));
  await new Promise((resolve) => setImmediate(resolve));
});
