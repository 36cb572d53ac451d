/** @file The ring of staging slots on fake buffers: who gets a slot, when it comes back, and what an abort or a failure leaves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DeviceHealth, lostError } from "../../src/backend/webgpu/run/device-health.ts";
import { StagingRing } from "../../src/backend/webgpu/run/staging.ts";

/** A mistake that leaves somebody waiting is told soon. */
const options = { timeout: 20_000 };
const PATIENCE_MS = 5000;
const turn = () => new Promise<void>((next) => setImmediate(next));

function ring(slots: number) {
  const maps: { readonly buffer: number; readonly done: () => void }[] = [];
  let made = 0;
  const destroyed: number[] = [];
  const createBuffer = ({ size }: GPUBufferDescriptor) => {
    const buffer = made++;
    return {
      getMappedRange: () => new ArrayBuffer(size),
      mapAsync: () => new Promise<void>((done) => maps.push({ buffer, done })),
      destroy: () => destroyed.push(buffer),
      number: buffer,
    };
  };
  const health = new DeviceHealth(PATIENCE_MS);
  const slotsOf = new StagingRing({ createBuffer } as unknown as GPUDevice, health, slots, 64);
  return { ring: slotsOf, health, maps, destroyed };
}

const outcomeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "got one",
    (error: unknown) => (error as Error).message,
  );

test("slots are given in the order of asking, and come back when the device is done with them", options, async () => {
  const { ring: slots, maps } = ring(2);
  const first = await slots.take();
  await slots.take();
  const order: number[] = [];
  const third = slots.take();
  void third.then(() => order.push(3));
  void slots.take().then(() => order.push(4));
  await turn();
  assert.deepEqual(order, []);
  slots.submitted(first, 48);
  await turn();
  assert.deepEqual(order, []);
  assert.equal(slots.returnedBytes, 0);
  maps[0]!.done();
  await turn();
  assert.deepEqual(order, [3]);
  // What was carried, not what a slot holds.
  assert.equal(slots.returnedBytes, 48);
  const slot = await third;
  assert.equal(slot.buffer, first.buffer);
  assert.notEqual(slot.bytes, first.bytes, "mapped anew");
  slots.give(slot);
  await turn();
  assert.deepEqual(order, [3, 4]);
});

test("an abort ends the waiting, and the slot goes to who waits next", options, async () => {
  const { ring: slots } = ring(1);
  const only = await slots.take();
  const stop = new AbortController();
  const aborted = outcomeOf(slots.take(stop.signal));
  const next = outcomeOf(slots.take());
  stop.abort(new Error("enough"));
  assert.equal(await aborted, "enough");
  slots.give(only);
  assert.equal(await next, "got one");
  assert.equal(await outcomeOf(slots.take(AbortSignal.abort(new Error("before")))), "before");
});

test("a slot that is given in the turn of the abort is not lost", options, async () => {
  const { ring: slots } = ring(1);
  const only = await slots.take();
  const stop = new AbortController();
  const aborted = outcomeOf(slots.take(stop.signal));
  stop.abort(new Error("enough"));
  slots.give(only);
  assert.equal(await aborted, "enough");
  await turn();
  assert.equal(await outcomeOf(slots.take()), "got one");
});

test("a device that is gone gives no slots, and whoever waits hears why", options, async () => {
  const { ring: slots, health, destroyed } = ring(1);
  await slots.take();
  const waiting = outcomeOf(slots.take());
  health.fail(lostError("unknown", "hung"));
  assert.match(await waiting, /E_GPU_LOST/);
  assert.match(await outcomeOf(slots.take()), /E_GPU_LOST/);
  slots.destroy();
  assert.deepEqual(destroyed, [0]);
  const unused = ring(1);
  unused.health.fail(lostError("unknown", "hung"));
  assert.match(await outcomeOf(unused.ring.take()), /E_GPU_LOST/);
});
