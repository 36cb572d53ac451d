/** @file fp16 and bf16 widened in place: every pattern, as the plain conversion has it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { f16ToNumber, toFloat32, widenInPlace } from "../../src/tensor/dtype.ts";

for (const dtype of ["f16", "bf16"] as const) {
  test(`${dtype}: all 65,536 patterns widen in place to the same bits`, () => {
    const halves = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
    const memory = new Uint8Array(65536 * 4);
    memory.set(new Uint8Array(halves.buffer), 65536 * 2);
    widenInPlace(dtype, memory);
    const expected = toFloat32(dtype, new Uint8Array(halves.buffer));
    assert.ok(Buffer.from(memory.buffer).equals(Buffer.from(expected.buffer)));
    // By arithmetic: bf16 is the upper half of fp32.
    const upper = Buffer.alloc(4);
    const byHand = (bits: number) => {
      upper.writeUInt16LE(bits, 2);
      return dtype === "f16" ? f16ToNumber(bits) : upper.readFloatLE();
    };
    assert.ok(expected.every((value, bits) => Object.is(value, byHand(bits))));
  });
}
