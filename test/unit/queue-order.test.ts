/** @file What waits in another order: the claims' order follows, with few changes, and newcomers stay behind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { movedBefore, newPriorities, type Waiting } from "../../src/server/queue/queue-order.ts";

/** As next-job.ts claims: by priority, then in the order of asking, whatever priority came since. */
function claimOrder(order: readonly Waiting[], changed: ReadonlyMap<string, number>): string {
  const rows = order.map(({ id, number, priority }) => ({
    id,
    priority: changed.get(id) ?? priority,
    number,
  }));
  return rows
    .toSorted((a, b) => b.priority - a.priority || a.number - b.number)
    .map(({ id }) => id)
    .join("");
}

const queue = (...priorities: readonly number[]) =>
  priorities.map((priority, number) => ({ id: "abcdefgh"[number]!, number, priority }));

test("one comes before another, and no more changes than must", () => {
  const order = movedBefore(queue(0, 0, 0), "c", "b");
  assert.deepEqual(
    [...newPriorities(order)],
    [
      ["c", 1],
      ["a", 2],
    ],
  );
  assert.equal(claimOrder(order, newPriorities(order)), "acb");
  assert.deepEqual([...newPriorities(movedBefore(queue(0, 0, 0), "c", "a"))], [["c", 1]]);
  // At the end: those that pass it are raised, so that who asks later comes behind it.
  assert.deepEqual(
    [...newPriorities(movedBefore(queue(0, 0, 0), "a", undefined))],
    [
      ["c", 1],
      ["b", 2],
    ],
  );
  assert.deepEqual([...newPriorities(movedBefore(queue(0, 0), "a", "b"))], []);
  assert.deepEqual([...newPriorities(movedBefore(queue(0, 0), "x", "b"))], []);
});

test("whatever is moved, it is claimed in that order", () => {
  const priorities = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 2, maxLength: 8 });
  fc.assert(
    fc.property(priorities, fc.nat(7), fc.nat(8), (found, from, to) => {
      const order = movedBefore(queue(...found), "abcdefgh"[from]!, "abcdefgh"[to]);
      assert.equal(claimOrder(order, newPriorities(order)), order.map(({ id }) => id).join(""));
    }),
  );
});
