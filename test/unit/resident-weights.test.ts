/** @file Blocks of weights that pass through a ring: which are read ahead, what may be overwritten when, and what counts as there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Arena, BlockUpload, Device } from "../../src/backend/device.ts";
import type { BlockReader } from "../../src/stream/blocks.ts";
import { ResidentWeights, type WeightUse } from "../../src/stream/weights.ts";

const BLOCK_BYTES = 64;
const arena = {} as Arena;

/** Blocks named by a letter and the slot in which each has its place: "a0". They arrive, or fail, when they are told to. */
function ring() {
  const places = new Map<string, { arena: Arena; offsetBytes: number; lengthBytes: number }>();
  const underWay = new Map<string, PromiseWithResolvers<void>>();
  const begun: string[] = [];
  const device = {
    alignmentBytes: 64,
    weightBytes: () => BLOCK_BYTES,
    upload: async ({ label }: BlockUpload) => {
      begun.push(label);
      const gate = Promise.withResolvers<void>();
      underWay.set(label, gate);
      await gate.promise;
    },
  } as unknown as Device;
  const use = (...keys: string[]): WeightUse => ({
    reader: {} as BlockReader,
    blocks: keys.map((key) => {
      places.set(key, { arena, offsetBytes: Number(key.slice(1)) * BLOCK_BYTES, lengthBytes: BLOCK_BYTES });
      const stored = { dtype: "f32", shape: [16] } as const;
      return { key, storedBytes: BLOCK_BYTES, tensors: [{ name: `${key}.w`, stored, offsetBytes: 0 }] };
    }),
  });
  const clock = { now: () => 0, onLoad: () => {} };
  const memory = { places, arrived: new Map(), onArrived: () => {} };
  const weights = new ResidentWeights(device, memory, clock, new AsyncDisposableStack());
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const arrive = async (...keys: string[]) => {
    for (const key of keys) underWay.get(key)!.resolve();
    await turn();
  };
  const fail = (key: string) => underWay.get(key)!.reject(new Error(`no ${key}`));
  return { weights, use, begun, arrive, fail, turn };
}

test("reads go ahead in the order of use, two at a time, and none past one that has no room", async () => {
  const { weights, use, begun, arrive } = ring();
  const order = [use("a0"), use("b1"), use("c2"), use("d0"), use("e3")];
  weights.ahead(order);
  assert.deepEqual(begun, ["a0", "b1"]);
  weights.ahead(order);
  await arrive("a0");
  weights.ahead(order);
  assert.deepEqual(begun, ["a0", "b1", "c2"]);
  await arrive("b1", "c2");
  // d waits for a's place; e, which has its own, comes after it.
  weights.ahead(order);
  assert.deepEqual(begun, ["a0", "b1", "c2"]);
  weights.computed("a0");
  weights.ahead(order.slice(1));
  assert.deepEqual(begun, ["a0", "b1", "c2", "d0", "e3"]);
});

test("a block is not overwritten while it is used, nor when it has been computed but comes next", async () => {
  const { weights, use, begun, arrive, turn } = ring();
  const first = weights.weights(use("a0"), []);
  await turn();
  await arrive("a0");
  assert.deepEqual([...(await first).keys()], ["a0.w"]);
  weights.computed("a0");
  // It is there, and is used again: not until that has ended may c come.
  weights.ahead([use("a0"), use("c0")]);
  assert.deepEqual(begun, ["a0"]);
  weights.computed("a0");
  assert.deepEqual([...(await weights.weights(use("a0"), [use("c0")])).keys()], ["a0.w"]);
  assert.deepEqual(begun, ["a0"]);
  weights.computed("a0");
  weights.ahead([use("c0")]);
  assert.deepEqual(begun, ["a0", "c0"]);
});

test("what is still on its way is not there, and counts neither as resident nor as bytes", async () => {
  const { weights, use, arrive } = ring();
  weights.ahead([use("a0"), use("b1")]);
  assert.deepEqual([weights.keys, weights.residentBytes], [{ resident: [], loading: ["a0", "b1"] }, 0]);
  await arrive("b1");
  assert.deepEqual([weights.keys, weights.residentBytes], [{ resident: ["b1"], loading: ["a0"] }, BLOCK_BYTES]);
});

test("a read that fails is told to whoever waits for that block, and to nobody who wants its place", async () => {
  const { weights, use, begun, arrive, fail, turn } = ring();
  const ahead = weights.weights(use("a0"), []);
  await turn();
  const after = weights.weights(use("c0"), []);
  await turn();
  assert.deepEqual(begun, ["a0"], "its place is taken until then");
  fail("a0");
  await assert.rejects(ahead, /no a0/);
  await turn();
  await arrive("c0");
  assert.deepEqual([...(await after).keys()], ["c0.w"]);
  assert.deepEqual(weights.keys, { resident: ["c0"], loading: [] });
  weights.computed("c0");
  const again = weights.weights(use("a0"), []);
  await turn();
  await arrive("a0");
  assert.deepEqual([...(await again).keys()], ["a0.w"]);
});
