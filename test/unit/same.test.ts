/** @file The comparisons that tests use for what is long: what they refuse, and in how many words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sameBytes, sameOutputs, sameValues } from "../support/same.ts";

test("equal bytes and numbers pass, NaN and a Buffer's bytes too", () => {
  sameBytes(Buffer.of(1, 2), Uint8Array.of(1, 2));
  sameBytes(new Uint8Array(), Buffer.alloc(0));
  sameValues(Float32Array.of(Number.NaN, -0), Float32Array.of(Number.NaN, -0));
  sameOutputs(new Map([["y", Float32Array.of(1)]]), new Map([["y", Float32Array.of(1)]]));
});

test("a difference is told by its place, count and size, in one line however long the arrays are", () => {
  const long = new Uint8Array(20_000_000);
  const other = Uint8Array.from(long);
  other[3] = 9;
  other[19_999_999] = 200;
  assert.throws(() => sameBytes(other, long, "pictures"), {
    name: "AssertionError",
    message: "pictures: 2 of 20000000 differ, by up to 200; first at 3: 9, expected 0",
  });
});

test("another length, type, sign of zero, NaN or name is a difference", () => {
  assert.throws(() => sameBytes(Uint8Array.of(1), Uint8Array.of(1, 2)), /1 long, expected 2; 0 of 1 differ/);
  assert.throws(() => sameBytes(Uint8Array.of(1, 2), Uint8Array.of(1)), /2 long, expected 1/);
  assert.throws(() => sameValues(Float32Array.of(1, 2), Float32Array.of(1)), /2 long, expected 1/);
  assert.throws(() => sameValues(Uint8Array.of(1), Uint16Array.of(1)), /values: Uint8Array, expected Uint16Array/);
  assert.throws(() => sameValues(Float32Array.of(-0), Float32Array.of(0)), /1 of 1 differ, by up to 0; first at 0/);
  assert.throws(
    () => sameValues(Float32Array.of(1, Number.NaN), Float32Array.of(1, 1)),
    /by up to NaN; first at 1: NaN/,
  );
  const y = new Map([["y", Float32Array.of(1)]]);
  assert.throws(() => sameOutputs(new Map(), y), /outputs: there are ; expected y/);
  assert.throws(
    () => sameOutputs(new Map([["y", Float32Array.of(2)]]), y, "tile 3"),
    /^AssertionError.*: tile 3 y: 1 of 1/,
  );
});
