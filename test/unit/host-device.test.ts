/** @file Uploads to memory of the host's own: weights are read into the place that they are used in, and nowhere else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Arena } from "../../src/backend/device.ts";
import { HostDevice } from "../../src/backend/host-device.ts";
import type { HostMemory } from "../../src/backend/host-memory.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";

test("bf16 for a backend that takes fp32 is read into its own span and widened there", async () => {
  await using device = new HostDevice(createReferenceBackend());
  const arena = await device.createArena(256, "weights");
  const stored = { dtype: "bf16", shape: [3] } as const;
  const span = { arena, offsetBytes: 64, lengthBytes: device.weightBytes(stored) };
  const read = async (offset: number, into: Uint8Array) => {
    assert.equal(into.buffer, (arena as HostMemory).buffer);
    assert.equal(offset, 6);
    into.set(new Uint8Array(Uint16Array.of(0x3f80, 0xc000, 0x3dcc).buffer));
  };
  await device.upload({
    label: "block",
    storedBytes: 12,
    tensors: [{ name: "w", stored, storedOffsetBytes: 6, span }],
    read,
  });
  const values = new Float32Array((arena as HostMemory).buffer, 64, 3);
  // 0x3dcc: 2^-4 * (1 + 76 / 128).
  assert.deepEqual([...values], [1, -2, (1 + 76 / 128) / 16]);
});

/** Three f32 values each; in the file 64 bytes apart, with nothing after the last. */
const STORED = { dtype: "f32", shape: [3] } as const;

test("tensors that lie in memory as in the file come by one read, which ends with the file's bytes", async () => {
  await using device = new HostDevice(createReferenceBackend());
  const arena = await device.createArena(320, "weights");
  const reads: [offset: number, into: number, length: number][] = [];
  const read = async (offset: number, into: Uint8Array) => void reads.push([offset, into.byteOffset, into.byteLength]);
  const tensors = (places: readonly (readonly [arena: Arena, offsetBytes: number])[]) =>
    places.map(([at, offsetBytes], i) => ({
      ...{ name: `w${i}`, stored: STORED, storedOffsetBytes: 64 * i },
      span: { arena: at, offsetBytes, lengthBytes: 64 },
    }));
  const upload = async (places: readonly (readonly [arena: Arena, offsetBytes: number])[]) => {
    reads.length = 0;
    await device.upload({ label: "block", storedBytes: 64 + 12, tensors: tensors(places), read });
    return [...reads];
  };
  assert.deepEqual(
    await upload([
      [arena, 128],
      [arena, 192],
    ]),
    [[0, 128, 64 + 12]],
  );
  // Else each has a read of its own, of just its bytes: further apart, or in another memory.
  const apart = [
    [0, 128, 12],
    [64, 256, 12],
  ];
  assert.deepEqual(
    await upload([
      [arena, 128],
      [arena, 256],
    ]),
    apart,
  );
  const other = await device.createArena(320, "others");
  assert.deepEqual(
    await upload([
      [arena, 128],
      [other, 192],
    ]),
    [
      [0, 128, 12],
      [64, 192, 12],
    ],
  );
});

test("a value's memory is as long as the value, and no other length is written there", async () => {
  await using device = new HostDevice(createReferenceBackend());
  const g = new GraphBuilder("g");
  const x = g.input("x", [2, 3]);
  g.output(
    "y",
    g.segment("s", () => g.node("scale", [x], { factor: 2 })),
  );
  const graph = g.build();
  assert.equal(device.activationBytes(graph, x.id), 24);
  const arena = await device.createArena(128, "values");
  const span = { arena, offsetBytes: 64, lengthBytes: 24 };
  await device.write(graph, x.id, span, Float32Array.of(1, 2, 3, 4, 5, 6));
  for (const wrong of [5, 7]) {
    await assert.rejects(device.write(graph, x.id, span, new Float32Array(wrong)), RangeError);
  }
  const read = new Float32Array(6);
  await device.read(graph, x.id, span, read);
  assert.deepEqual([...read], [1, 2, 3, 4, 5, 6]);
});

test("what a backend takes for itself is a segment's own scratch, by the weights as they are stored", () => {
  const asked: unknown[] = [];
  const backend = {
    ...createReferenceBackend(),
    scratchBytes: (...of: unknown[]) => {
      asked.push(...of);
      return 77;
    },
  };
  const g = new GraphBuilder("g");
  g.output(
    "y",
    g.segment("s", () => g.node("linear", [g.input("x", [1, 3]), g.weight("w", [2, 3])], {})),
  );
  const graph = g.build();
  const weights = [{ dtype: "f16", shape: [2, 3] }] as const;
  const device = new HostDevice(backend);
  assert.deepEqual(device.scratchBytes(graph, graph.segments[0]!, weights), { sharedBytes: 0, privateBytes: 77 });
  assert.deepEqual(asked, [graph, graph.segments[0], weights]);
});
