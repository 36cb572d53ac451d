/** @file Uploads to memory of the host's own: weights are read into the place that they are used in, and nowhere else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HostDevice } from "../../src/backend/host-device.ts";
import type { HostMemory } from "../../src/backend/host-memory.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";

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
