/** @file The ring of memory that decoded tensors pass through, and who holds its parts: the disk and the checksums. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PAGE_BYTES, type StoreFile } from "../../src/store/fs.ts";
import { TensorIntake } from "../../src/store/import/tensor-intake.ts";
import { ringBytes, WeightRing } from "../../src/store/import/weight-ring.ts";
import { layoutBlock } from "../../src/store/pack/block-layout.ts";
import type { PieceSum } from "../../src/store/pack/hasher.ts";
import { PlacedFile } from "../../src/store/pack/placed-file.ts";
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

/** A write and a checksum that end when they are told to. */
class Slow<T> {
  readonly begun: PromiseWithResolvers<T>[] = [];

  readonly begin = (): Promise<T> => {
    this.begun.push(Promise.withResolvers<T>());
    return this.begun.at(-1)!.promise;
  };
}

const turns = async () => {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
};

test("a tensor's memory is free once it is both written and hashed, in either order, and not before", async () => {
  for (const order of [
    ["write", "hash"],
    ["hash", "write"],
    ["hash"], // its bytes are in place already
  ]) {
    const tensors = ["a", "b", "c"].map((name) => ({ name, dtype: "f16" as const, shape: [5000] }));
    const [writes, hashes] = [new Slow<number>(), new Slow<readonly PieceSum[]>()];
    const file = { write: () => writes.begin() } as unknown as StoreFile;
    const placed = new PlacedFile(file, [layoutBlock({ graph: "g", label: "l", tensors })]);
    const ring = new WeightRing(10_000, new Uint8Array(ringBytes(10_000)));
    const hasher = { sums: () => hashes.begin(), async [Symbol.asyncDispose]() {} };
    const intake = new TensorIntake(placed, ring, hasher);
    for (const name of ["a", "b"]) {
      void intake.take(placed.places.get(name)!, intake.allocate(5000, name), !order.includes("write"));
    }
    let [hasRoom, isSettled] = [false, false];
    const room = intake.room().then(() => (hasRoom = true));
    const settled = intake.settled().then(() => (isSettled = true));
    for (const [i, what] of order.entries()) {
      await turns();
      assert.equal(hasRoom, false, `before ${what} of ${order}`);
      if (what === "write") writes.begun[0]!.resolve(10_000);
      else hashes.begun[0]!.resolve([{ crc: i }]);
    }
    await room;
    assert.equal(writes.begun.length, order.includes("write") ? 2 : 0);
    await turns();
    assert.equal(isSettled, false, "the second is under way");
    hashes.begun[1]!.resolve([{ crc: 1 }]);
    writes.begun[1]?.resolve(10_000);
    await settled;
  }
});
