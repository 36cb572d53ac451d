/** @file Where weights pass on their way to the card: readers and checks never see mapped memory, from which cards are read slowly. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWebGpuDevice } from "../../src/backend/webgpu/run/device.ts";
import { ReadBuffers } from "../../src/backend/webgpu/run/read-buffers.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { findTestAdapter } from "./software-vulkan.ts";

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: adapter.skip };

test("all reads go to plain memory, of as many pieces as RAM is planned for", options, async () => {
  const opened = await openDawn(adapter.name);
  const mapped = new Set<ArrayBufferLike>();
  const createBuffer = opened.device.createBuffer.bind(opened.device);
  Object.defineProperty(opened.device, "createBuffer", {
    value: (descriptor: GPUBufferDescriptor) => {
      const buffer = createBuffer(descriptor);
      const getMappedRange = buffer.getMappedRange.bind(buffer);
      Object.defineProperty(buffer, "getMappedRange", {
        value: (...range: [number?, number?]) => {
          const memory = getMappedRange(...range);
          mapped.add(memory);
          return memory;
        },
      });
      return buffer;
    },
  });
  const staging = { slots: 3, slotBytes: 65536 };
  await using device = await createWebGpuDevice(opened, { staging });
  const storedBytes = 5 * staging.slotBytes;
  using arena = await device.createArena(storedBytes, "weights");
  const stored = { dtype: "f16" as const, shape: [storedBytes / 2] };
  const span = { arena, offsetBytes: 0, lengthBytes: storedBytes };
  const read = async (_startByte: number, into: Uint8Array) => {
    seen.add(into.buffer);
  };
  const seen = new Set<ArrayBufferLike>();
  const tensors = [{ name: "w", stored, storedOffsetBytes: 0, span }];
  const upload = () => device.upload({ label: "block", storedBytes, tensors, read });
  await Promise.all([upload(), upload(), upload()]);
  await device.settle();
  assert.ok(mapped.size >= staging.slots);
  assert.ok(seen.size > 0);
  for (const memory of seen) assert.ok(!mapped.has(memory));
  const taken = [...seen].reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert.equal(taken, device.hostBytes);
});

test("buffers are lent to one at a time, and come back after failures", async () => {
  const buffers = new ReadBuffers(1, 8);
  const order: string[] = [];
  const first = buffers.lend(async (buffer) => {
    order.push("first");
    await new Promise((resume) => setImmediate(resume));
    order.push("first ends");
    buffer[0] = 1;
    throw new Error("a bad read");
  });
  const second = buffers.lend(async (buffer) => {
    order.push("second");
    return buffer[0];
  });
  await assert.rejects(first, /a bad read/);
  assert.equal(await second, 1);
  assert.deepEqual(order, ["first", "first ends", "second"]);
});
