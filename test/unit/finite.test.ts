/** @file NaN and infinities are found: every 16-bit pattern, at every place of a word, aligned or not; the edges of fp32. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DeviceError } from "../../src/errors.ts";
import { requireFiniteResult } from "../../src/models/finite.ts";
import { firstNonFinite } from "../../src/tensor/finite.ts";

for (const [dtype, mask] of [
  ["f16", 0x7c00],
  ["bf16", 0x7f80],
] as const) {
  test(`${dtype}: all 65,536 patterns, word by word and value by value`, () => {
    const room = new Uint16Array(12);
    for (let pattern = 0; pattern < 65536; pattern++) {
      const index = pattern % 8;
      const expected = (pattern & mask) === mask ? { index, count: 1 } : undefined;
      // From an odd place on, words don't fit, and values are looked at one by one.
      for (const start of [0, 1]) {
        // Neighbours with as many bits as a finite number can have.
        room.fill(0xffff & ~(mask & -mask));
        room[start + index] = pattern;
        const bytes = new Uint8Array(room.buffer, start * 2, 16);
        assert.deepEqual(firstNonFinite(dtype, bytes), expected, `${pattern.toString(16)} from ${start}`);
      }
    }
  });
}

test("fp32: the edges, and the count of several", () => {
  const values = new Float32Array(40_000).fill(3.4028234663852886e38);
  const bytes = new Uint8Array(values.buffer);
  assert.equal(firstNonFinite("f32", bytes), undefined);
  values[39_999] = Number.NEGATIVE_INFINITY;
  assert.deepEqual(firstNonFinite("f32", bytes), { index: 39_999, count: 1 });
  values[17_000] = Number.NaN;
  assert.deepEqual(firstNonFinite("f32", bytes), { index: 17_000, count: 2 });
  assert.deepEqual(firstNonFinite("f32", bytes.subarray(0, 4 * 17_001)), { index: 17_000, count: 1 });
  assert.equal(firstNonFinite("i32", bytes), undefined);
  assert.equal(firstNonFinite("f32", new Uint8Array(0)), undefined);
});

const SPOILED = Float32Array.of(1, 2, Number.NEGATIVE_INFINITY);
type Again = Parameters<typeof requireFiniteResult>[2];
const told = (again: Again, signal?: AbortSignal) =>
  requireFiniteResult(SPOILED, "the result", again, signal).then(
    () => assert.fail("it is no number"),
    (error: unknown) => error as Error,
  );

test("a result that is no number is told with the first segment that made one, found by computing again", async () => {
  await requireFiniteResult(Float32Array.of(1, -2), "the result", () => assert.fail("looked without need"), undefined);
  const seen: string[] = [];
  const found = await told(async (onSegment) => {
    for (const [name, value] of [
      ["a", 1],
      ["b", Number.NaN],
      ["c", Number.NaN],
    ] as const) {
      seen.push(name);
      onSegment(name, Float32Array.of(value));
    }
  });
  assert.ok(found instanceof DeviceError && found.code === "E_NAN");
  assert.match(found.message, /the result is not a number at element 2 of 3, first in b\./);
  assert.deepEqual(seen, ["a", "b"]);
});

test("where the look fails, the result is told without a place; where it was stopped, the stop", async () => {
  const failing = async () => {
    throw new Error("the device broke meanwhile");
  };
  assert.match((await told(failing)).message, /at element 2 of 3\./);
  assert.match((await told(async () => {})).message, /at element 2 of 3\./);
  const stop = new AbortController();
  const stopped = async () => {
    stop.abort(new Error("enough"));
    throw stop.signal.reason;
  };
  assert.equal((await told(stopped, stop.signal)).message, "enough");
});
