/** @file Where weights pass on their way to the card: readers and checks never see mapped memory, from which cards are read slowly; and nothing of what passed before. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stagingBytes } from "../../src/backend/webgpu/lower/upload-plan.ts";
import { createWebGpuDevice } from "../../src/backend/webgpu/run/device.ts";
import { MAP, USAGE } from "../../src/backend/webgpu/run/gpu-flags.ts";
import type { GpuArena } from "../../src/backend/webgpu/run/memory.ts";
import { ReadBuffers } from "../../src/backend/webgpu/run/read-buffers.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { findTestAdapter } from "./software-vulkan.ts";

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: adapter.skip };

test(
  "all reads go to plain memory, of as many pieces as RAM is planned for, and what is staged is in the device's own memory",
  options,
  async () => {
    const opened = await openDawn(adapter.name);
    const mapped = new Set<ArrayBufferLike>();
    let stagedBytes = 0;
    const createBuffer = opened.device.createBuffer.bind(opened.device);
    Object.defineProperty(opened.device, "createBuffer", {
      value: (descriptor: GPUBufferDescriptor) => {
        const buffer = createBuffer(descriptor);
        if (/^(staging|landing|repacking)/.test(descriptor.label ?? "")) stagedBytes += descriptor.size;
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
    // And of the device's memory no more than it says that it takes besides arenas.
    assert.equal(stagedBytes, stagingBytes(staging));
    assert.ok(device.overheadBytes >= stagedBytes, `${device.overheadBytes}`);
  },
);

test(
  "what follows a tensor's last value up to its word is zero, whatever passed through the same memory before",
  options,
  async () => {
    const opened = await openDawn(adapter.name);
    await using device = await createWebGpuDevice(opened, { staging: { slots: 1, slotBytes: 65536 } });
    using arena = await device.createArena(65536, "weights");
    const put = async (shape: readonly number[], value: number) => {
      const storedBytes = 2 * shape.reduce((product, dim) => product * dim, 1);
      const span = { arena, offsetBytes: 0, lengthBytes: 4 * Math.ceil(storedBytes / 4) };
      const read = async (_: number, into: Uint8Array) => void into.fill(value);
      const tensors = [{ name: "w", stored: { dtype: "f16" as const, shape }, storedOffsetBytes: 0, span }];
      await device.upload({ label: "block", storedBytes, tensors, read });
    };
    for (const shape of [[3], [5, 1], [3, 3, 1, 3], [1, 3, 3, 3]]) {
      const count = shape.reduce((product, dim) => product * dim, 1);
      await put([20_000], 0x3c);
      await put([20_000], 0x3c);
      await put(shape, 0x11);
      await device.settle();
      const bytes = 2 * (count + 1);
      const back = opened.device.createBuffer({ size: bytes, usage: USAGE.mapRead | USAGE.copyTarget });
      const encoder = opened.device.createCommandEncoder();
      encoder.copyBufferToBuffer((arena as GpuArena).buffer, 0, back, 0, bytes);
      opened.device.queue.submit([encoder.finish()]);
      await back.mapAsync(MAP.read);
      const halves = [...new Uint16Array(back.getMappedRange())];
      assert.deepEqual(halves, [...Array<number>(count).fill(0x1111), 0], `[${shape}]`);
      back.destroy();
    }
  },
);

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
