/** @file Tensors read as one: one above the other, side by side, along a diagonal; the same in whatever pieces they are read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { adaptedLayer } from "../../src/adapters/adapted-layer.ts";
import { blockDiagonal } from "../../src/adapters/block-diagonal.ts";
import { joinedTensor } from "../../src/adapters/joined-tensor.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { tensorOf, valuesOf } from "../support/adapters.ts";

/** Small whole numbers, which every dtype has. */
const counted = (shape: number[], from: number, dtype: "f32" | "f16" = "f16") =>
  tensorOf(
    "t",
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => from + i),
    dtype,
  );

/** Fails where pieces of some size are not the whole. */
async function requirePieces({ source, endByte }: TensorEntry): Promise<void> {
  const whole = new Uint8Array(endByte);
  await source.read(0, whole);
  for (const size of [1, 7, 26, 101]) {
    const pieces = new Uint8Array(endByte).fill(255);
    for (let at = 0; at < endByte; at += size) await source.read(at, pieces.subarray(at, Math.min(endByte, at + size)));
    assert.deepEqual(pieces, whole, `${size}`);
  }
}

for (const dtype of ["f16", "f32"] as const) {
  test(`f16 beside ${dtype}: rows below one another, columns beside one another`, async () => {
    const rows = joinedTensor([counted([2, 3], 0), counted([1, 3], 100, dtype), counted([3, 3], 200)], "rows");
    assert.deepEqual([rows.dtype, rows.shape], [dtype, [6, 3]]);
    const expected = [0, 1, 2, 3, 4, 5, 100, 101, 102, 200, 201, 202, 203, 204, 205, 206, 207, 208];
    assert.deepEqual([...(await valuesOf(rows))], expected);
    await requirePieces(rows);
    const columns = joinedTensor([counted([3, 2], 0), counted([3, 1], 100, dtype), counted([3, 3], 200)], "columns");
    assert.deepEqual([columns.dtype, columns.shape], [dtype, [3, 6]]);
    const beside = [0, 1, 100, 200, 201, 202, 2, 3, 101, 203, 204, 205, 4, 5, 102, 206, 207, 208];
    assert.deepEqual([...(await valuesOf(columns))], beside);
    await requirePieces(columns);
  });
}

test("blocks of a diagonal, some of them, with zeros between", async () => {
  const diagonal = blockDiagonal(counted([4, 2, 2], 1, "f32"), 1, 2);
  assert.deepEqual([...(await valuesOf(diagonal))], [5, 6, 0, 0, 7, 8, 0, 0, 0, 0, 9, 10, 0, 0, 11, 12]);
  await requirePieces(diagonal);
});

test("a rotation of many small blocks is several narrow matrices, not one as wide as the layer", () => {
  const rotation = {
    kind: "rotation",
    onInput: false,
    factors: [{ blocks: counted([64, 10, 10], 0), stride: 1 }],
  } as const;
  const { rotations } = adaptedLayer("layer", [{ adapter: 0, change: rotation }], undefined, new Map());
  // 8 blocks of 10 are at most 128 wide, and divide 64.
  assert.equal(rotations[0]!.factors[0]!.parts.length, 8);
});
