/** @file A queue that was full a moment ago is not asked again for as many jobs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../../src/errors.ts";
import { FullQueue } from "../../src/server/full-queue.ts";

test("as many jobs are refused for a moment, fewer and later ones are asked for", () => {
  let nowMs = 1000;
  const full = new FullQueue(() => nowMs);
  const fields = { code: "E_QUEUE_FULL", problem: "the queue is full", next: "try again later" };
  full.requireRoom(5);
  full.refused(3, new UsageError(fields));
  full.requireRoom(2);
  for (const count of [3, 10]) assert.throws(() => full.requireRoom(count), { code: "E_QUEUE_FULL" });
  nowMs += 200;
  full.requireRoom(3);
  // Another key's share, or a fault, says nothing of the queue.
  full.refused(1, new UsageError({ ...fields, code: "E_QUEUE_SHARE" }));
  full.refused(1, new Error("x"));
  full.requireRoom(1);
});
