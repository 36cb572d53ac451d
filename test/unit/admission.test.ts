/** @file Requests that are begun a few at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Admission } from "../../src/server/admission.ts";

test("four in a turn, the others in their order in later ones, and at once again where few come", () => {
  const turns: (() => void)[] = [];
  const begun: number[] = [];
  const admission = new Admission((callback) => turns.push(callback));
  const begin = (...numbers: number[]) => {
    for (const number of numbers) admission.begin(() => begun.push(number));
  };
  begin(1, 2, 3, 4, 5, 6, 7);
  assert.deepEqual(begun, [1, 2, 3, 4]);
  turns.shift()!();
  // One that comes now waits behind those before it.
  begin(8, 9);
  assert.deepEqual(begun, [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(turns.length, 1);
  turns.shift()!();
  assert.deepEqual(begun, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  turns.shift()!();
  assert.equal(turns.length, 0);
  begin(10);
  assert.deepEqual(begun.at(-1), 10);
});
