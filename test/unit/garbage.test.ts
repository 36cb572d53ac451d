/** @file When what images leave behind is collected. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createGarbageCollector } from "../../src/node/garbage.ts";

test("garbage is collected once there are 8 MiB of them, beside what is still held", () => {
  const MiB = 1024 ** 2;
  let [held, left, collections] = [20 * MiB, 0, 0];
  const tidy = createGarbageCollector(
    () => held + left,
    () => {
      collections++;
      left = 0;
    },
  );
  const image = (heldBytes: number, leftBytes: number) => {
    held += heldBytes;
    left += leftBytes;
    tidy();
    return collections;
  };
  assert.equal(image(0, 7 * MiB), 0);
  assert.equal(image(0, 1 * MiB), 1);
  // What is held now is no leaving.
  assert.equal(image(6 * MiB, 2 * MiB), 2);
  assert.equal(image(0, 7 * MiB), 2);
});

test("the collector is V8's own: what nobody holds is gone", () => {
  const tidy = createGarbageCollector();
  const lost = (() => new WeakRef(new Uint8Array(16 * 1024 ** 2)))();
  return new Promise<void>((resolve) => {
    // A WeakRef holds its target until the turn of the event loop is over.
    setImmediate(() => {
      tidy();
      assert.equal(lost.deref(), undefined);
      resolve();
    });
  });
});
