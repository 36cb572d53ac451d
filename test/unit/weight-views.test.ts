/** @file Tensors that are read otherwise than they lie: which bytes, in any piece, and what their sources still tell. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { widenedFp8 } from "../../src/checkpoint/fp8.ts";
import { rowsOf, transposed, VIEW_BYTES } from "../../src/checkpoint/views.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { memorySource } from "../../src/source/memory.ts";
import type { ByteSource } from "../../src/source/source.ts";

/** A tensor of 32-bit integers 0, 1, 2, ... that ends where its source ends, behind `before` bytes of something else. */
function counted(shape: readonly number[], before: number): TensorEntry & { readonly asked: [number, number][] } {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const bytes = new Uint8Array(before + 4 * count).fill(0xee);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) view.setUint32(before + 4 * i, i, true);
  const asked: [number, number][] = [];
  const source: ByteSource = {
    ...memorySource("file", bytes),
    file: { path: "/model/file", stamp: "7" },
    read: async (startByte, into, signal) => {
      asked.push([startByte, into.byteLength]);
      await memorySource("file", bytes).read(startByte, into, signal);
    },
  };
  return { name: "w", dtype: "f32", shape, source, startByte: before, endByte: bytes.length, asked };
}

async function wordsOf({ source, startByte, endByte }: TensorEntry): Promise<number[]> {
  const bytes = new Uint8Array(endByte - startByte);
  await source.read(startByte, bytes);
  return [...new Uint32Array(bytes.buffer)];
}

test("rows of a tensor, and rows of those: their bytes where the tensor begins", async () => {
  const whole = counted([6, 2, 2], 12);
  const rows = rowsOf(whole, 2, 5);
  assert.deepEqual([rows.shape, rows.startByte, rows.endByte], [[3, 2, 2], 12 + 2 * 16, 12 + 5 * 16]);
  assert.deepEqual(await wordsOf(rows), [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  const one = rowsOf(rows, 1, 2);
  assert.deepEqual(
    [one.shape, await wordsOf(one)],
    [
      [1, 2, 2],
      [12, 13, 14, 15],
    ],
  );
  assert.deepEqual(await wordsOf(rowsOf(counted([4], 4), 1, 3)), [1, 2]);
});

test("a transposed matrix: every piece of it, wherever it begins and ends", async () => {
  const turned = transposed(rowsOf(counted([5, 3], 8), 1, 5));
  assert.deepEqual([turned.shape, turned.startByte, turned.endByte], [[3, 4], 0, 48]);
  assert.deepEqual(await wordsOf(turned), [3, 6, 9, 12, 4, 7, 10, 13, 5, 8, 11, 14]);
  const whole = new Uint8Array(48);
  await turned.source.read(0, whole);
  for (let from = 0; from < 48; from++) {
    for (let to = from; to <= 48; to++) {
      const piece = new Uint8Array(to - from).fill(0xee);
      await turned.source.read(from, piece);
      assert.deepEqual(piece, whole.slice(from, to), `${from}..${to}`);
    }
  }
});

test("a matrix larger than what is held at a time: read once, within its bytes, as many rows as there is room for", async () => {
  // Rows of 120,000 bytes: two at a time, and one at the end.
  const [rows, columns] = [5, 30_000];
  const stored = counted([rows, columns], 16);
  const got = await wordsOf(transposed(stored));
  assert.equal(
    got.findIndex((value, i) => value !== (i % rows) * columns + Math.floor(i / rows)),
    -1,
  );
  assert.deepEqual(stored.asked, [
    [16, 240_000],
    [240_016, 240_000],
    [480_016, 120_000],
  ]);
  assert.ok(240_000 <= VIEW_BYTES);
});

test("views tell the file that they read from, and hear an abort", async () => {
  const stored = counted([4, 4], 0);
  const eight = { ...stored, dtype: "F8_E4M3" as const, shape: [8, 8] };
  const views = { transposed: transposed(stored), widened: widenedFp8(eight), both: transposed(widenedFp8(eight)) };
  const stop = new Error("stop");
  for (const [name, { source, endByte }] of Object.entries(views)) {
    assert.deepEqual([source.name, source.file], ["file", { path: "/model/file", stamp: "7" }], name);
    assert.equal(source.byteLength, endByte, name);
    await assert.rejects(source.read(0, new Uint8Array(endByte), AbortSignal.abort(stop)), stop, name);
  }
});
