/** @file The ring of memory that decoded tensors pass through. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PAGE_BYTES } from "../../src/store/fs.ts";
import { ringBytes, WeightRing } from "../../src/store/import/weight-ring.ts";
import { randomOf } from "./store-fixture.ts";

test("parts never overlap, stay where they are until they are given back, and lie in the ring's memory", () => {
  const random = randomOf(5);
  const largestBytes = 40_000;
  const memory = new Uint8Array(ringBytes(largestBytes));
  const ring = new WeightRing(largestBytes, memory);
  const held: { readonly weights: Uint16Array; readonly mark: number }[] = [];
  let waits = 0;
  for (let mark = 1; mark < 3000; mark++) {
    while (!ring.hasRoom) {
      // Not always in the order in which they were taken.
      const at = random() < 0.8 ? 0 : Math.floor(random() * held.length);
      const [{ weights, mark: own }] = held.splice(at, 1) as [(typeof held)[number]];
      assert.ok(weights.every((value) => value === own));
      ring.give(weights);
      waits++;
    }
    const elements = 1 + Math.floor(random() * (largestBytes / 2));
    const startByte = 64 * Math.floor(random() * 1000);
    const weights = ring.take(elements, startByte);
    assert.equal(weights.length, elements);
    assert.equal(weights.buffer, memory.buffer);
    assert.equal((weights.byteOffset - memory.byteOffset) % PAGE_BYTES, startByte % PAGE_BYTES);
    weights.fill(mark);
    held.push({ weights, mark });
  }
  assert.ok(waits > 1000);
});

test("an empty ring takes the largest tensor twice, and what is larger gets memory of its own", () => {
  const ring = new WeightRing(10_000, new Uint8Array(ringBytes(10_000)));
  const [first, second] = [ring.take(5000, 4032), ring.take(5000, 4032)];
  assert.equal(first.buffer, second.buffer);
  assert.equal(ring.hasRoom, false);
  const own = ring.take(50_000);
  assert.notEqual(own.buffer, first.buffer);
  ring.give(own);
  ring.give(second);
  assert.equal(ring.hasRoom, false);
  ring.give(first);
  assert.equal(ring.hasRoom, true);
  assert.throws(() => ring.give(first), /given back twice/);
});
