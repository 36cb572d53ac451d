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

/** Bytes of a tensor as it is stored, and as kernels read it: images of convolutions [Co, Ci, taps] as [Co, taps, Ci], f64 as f32. */
function storedAndHeld(dtype: "f16" | "f32" | "f64", shape: readonly number[], seed: number) {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const [, channels = 1, ...sides] = shape.length === 4 ? shape : [];
  const taps = sides.reduce((product, side) => product * side, 1);
  const numbers = Array.from({ length: count }, (_, i) => (i * 40_503 + seed * 7919) % 65_521);
  const ordered = numbers.map((_, i) => {
    const [row, place] = [Math.floor(i / (taps * channels)), i % (taps * channels)];
    return numbers[row * taps * channels + (place % channels) * taps + Math.floor(place / channels)]!;
  });
  const bytesOf = (values: readonly number[], type: "f16" | "f32" | "f64") => {
    if (type === "f16") return new Uint8Array(Uint16Array.from(values).buffer);
    // A third has no end in binary: f32 rounds it.
    const thirds = values.map((value) => value / 3);
    return new Uint8Array((type === "f32" ? Float32Array.from(thirds) : Float64Array.from(thirds)).buffer);
  };
  return { stored: bytesOf(numbers, dtype), held: bytesOf(ordered, dtype === "f64" ? "f32" : dtype) };
}

test(
  "weights of any type lie as kernels read them: through several slots, beside others in one, convolutions with channels last",
  options,
  async () => {
    const opened = await openDawn(adapter.name);
    const bound = new Set<string>();
    const bind = opened.device.createBindGroup.bind(opened.device);
    opened.device.createBindGroup = (descriptor) => {
      const [, out] = [...descriptor.entries].map(({ resource }) => resource as GPUBufferBinding);
      bound.add(`${out!.offset} ${out!.size}`);
      return bind(descriptor);
    };
    await using device = await createWebGpuDevice(opened, { staging: { slots: 2, slotBytes: 65536 } });
    const kinds = [
      ["f16", [3]],
      ["f16", [70, 64, 3, 3]],
      ["f64", [10_001]],
      ["f64", [5, 3, 3, 3]],
      ["f16", [3, 5, 3, 3]],
      ["f32", [20_003]],
      ["f32", [4, 3, 2, 3]],
      ["f16", [6, 5, 1, 1]],
      ["f16", [7, 1, 3, 3]],
    ] as const;
    const weights = kinds.map(([dtype, shape], i) => ({ dtype, shape, ...storedAndHeld(dtype, shape, i) }));
    const block = new Uint8Array(await new Blob(weights.map(({ stored }) => stored)).arrayBuffer());
    const lengths = weights.map(({ dtype, shape }) => device.weightBytes({ dtype, shape }));
    const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
    using arena = await device.createArena(sum(lengths), "weights");
    const offsets = lengths.map((_, i) => sum(lengths.slice(0, i)));
    const tensors = weights.map(({ dtype, shape, stored }, i) => ({
      name: `w${i}`,
      stored: { dtype, shape },
      storedOffsetBytes: sum(weights.slice(0, i).map((before) => before.stored.length)),
      span: { arena, offsetBytes: offsets[i]!, lengthBytes: lengths[i]! },
      bytes: stored.length,
    }));
    const read = async (startByte: number, into: Uint8Array) =>
      into.set(block.subarray(startByte, startByte + into.length));
    // What lay in the place of the larger convolution before was shorter: as where blocks of weights come one after the other.
    const shorter = { ...tensors[1]!, stored: { dtype: "f16" as const, shape: [2, 2, 3, 3] } };
    shorter.span = { ...shorter.span, lengthBytes: 256 };
    await device.upload({ label: "before", storedBytes: 72, tensors: [shorter], read });
    await device.upload({ label: "block", storedBytes: block.length, tensors, read });
    await device.settle();
    const back = opened.device.createBuffer({ size: sum(lengths), usage: USAGE.mapRead | USAGE.copyTarget });
    const encoder = opened.device.createCommandEncoder();
    encoder.copyBufferToBuffer((arena as GpuArena).buffer, 0, back, 0, sum(lengths));
    opened.device.queue.submit([encoder.finish()]);
    await back.mapAsync(MAP.read);
    const found = new Uint8Array(back.getMappedRange());
    weights.forEach(({ dtype, shape, held }, i) => {
      const own = found.subarray(offsets[i], offsets[i]! + held.length);
      const other = own.findIndex((byte, at) => byte !== held[at]);
      assert.equal(other, -1, `${dtype} [${shape}]: byte ${other} is ${own[other]}, expected ${held[other]}`);
    });
    back.destroy();
    // Cards read and write what is bound, whatever the kernel asks for.
    const spans = [1, 3, 4, 6].map((i) => `${offsets[i]} ${lengths[i]}`);
    assert.deepEqual([...bound].sort(), [`${offsets[1]} 256`, ...spans].sort());
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
