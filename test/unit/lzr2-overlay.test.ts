/** @file An artifact over a model's weights: which are replaced, which stay, what is counted, and what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type OverlayOptions, overlayLzr2 } from "../../src/checkpoint/lzr2-overlay.ts";
import type { TensorTable } from "../../src/container/table.ts";
import { memorySource } from "../../src/source/memory.ts";
import { bytesOf } from "../support/table-bytes.ts";
import { artifactBytes, f16Bits, type RawRecord } from "./lzr2-fixture.ts";

const SHAPES: readonly (readonly [string, readonly number[]])[] = [
  ["a.weight", [2, 2]],
  ["b.weight", [1, 3]],
  ["c.weight", [2]],
  ["d.weight", [2]],
];
/** Rows of `scale` times -1, 0, 1, ...: codes 0, 1 and 2 of dimension 1. */
const A: RawRecord = {
  key: "a.weight",
  shape: [2, 2],
  scale: [1, 2],
  indices: [0, 2, 2, 1],
  overlay: [
    [0, 1, 5],
    [2, 0, 9],
    [0, 7, 9],
  ],
};
const B: RawRecord = { key: "b.weight", shape: [1, 3], indices: [0, 1, 2], overlay: [[1, 0, 9]] };
const C: RawRecord = { key: "c.weight", shape: [2], tf: 0 };

function base(): TensorTable {
  return new Map(
    SHAPES.map(([name, shape]) => {
      const eights = f16Bits(new Array<number>(shape.reduce((x, dim) => x * dim, 1)).fill(8));
      const bytes = Uint8Array.from(new Uint8Array(eights.buffer));
      const source = memorySource("model", bytes);
      return [name, { name, dtype: "f16", shape, source, startByte: 0, endByte: bytes.length }];
    }),
  );
}

const overlay = (records: readonly RawRecord[], options: Partial<OverlayOptions> = {}) =>
  overlayLzr2(memorySource("test.lzr2", artifactBytes(...records)), {
    base: base(),
    schema: new Map(SHAPES),
    compat: false,
    ...options,
  });

async function numbersOf(table: TensorTable): Promise<Record<string, number[]>> {
  const all = await bytesOf(table);
  return Object.fromEntries(
    [...all].map(([name, bytes]) => [name, [...new Float16Array(Uint8Array.from(bytes).buffer)]]),
  );
}

test("named weights are replaced, all others stay, and the model's own table is as it was", async () => {
  const model = base();
  const seen: unknown[] = [];
  const got = (await overlay([A, B, C], { base: model, onRecord: (...record) => seen.push(record) }))!;
  assert.deepEqual(await numbersOf(got.table), {
    "a.weight": [-1, 5, 2, 0],
    "b.weight": [-1, 0, 1],
    "c.weight": [8, 8],
    "d.weight": [8, 8],
  });
  const { table, ...counts } = got;
  // Seven weights of two bytes; rows 2 and column 7 of one record, row 1 of the other, are nowhere.
  const expected = { heldBytes: 14, applied: 2, untouched: 1, missing: ["d.weight"], skippedOverlayRows: 3 };
  assert.deepEqual(counts, expected);
  assert.deepEqual(
    [...table.values()].map(({ name, dtype, shape }) => [name, dtype, shape]),
    SHAPES.map(([name, shape]) => [name, "f16", shape]),
  );
  const ends = [[A], [A, B], [A, B, C]].map((records) => artifactBytes(...records).length);
  assert.deepEqual(seen, [
    [1, "a.weight", ends[0]],
    [2, "b.weight", ends[1]],
    [3, "c.weight", ends[2]],
  ]);
  assert.deepEqual(await numbersOf(model), await numbersOf(base()));
});

test("decoded weights stay within their limit, all together", async () => {
  assert.equal((await overlay([A, B, C], { limitBytes: 14 }))!.heldBytes, 14);
  assert.equal(await overlay([A, B, C], { limitBytes: 13 }), undefined);
});

test("what is no parameter, has another shape, or is nothing at all is refused; an abort is heard", async () => {
  const refused: readonly (readonly [readonly RawRecord[], string, RegExp])[] = [
    [[A, { ...B, key: "x.weight" }], "E_SCHEMA", /"x\.weight" is no parameter of this UNet at byte \d+/],
    [[{ ...C, key: "y.weight" }], "E_SCHEMA", /"y\.weight" is no parameter/],
    [[{ ...B, shape: [3] }], "E_SCHEMA", /shape \[3\], expected \[1,3\]/],
    [[{ ...C, shape: [1, 2] }], "E_SCHEMA", /shape \[1,2\], expected \[2\]/],
    [[{ ...C, tf: 2 }], "E_LZR_TYPE", /tf 2/],
    [[], "E_LZR_EMPTY", /no record/],
  ];
  for (const [records, code, message] of refused) await assert.rejects(overlay(records), { code, message });
  const kept = (await overlay([{ ...C, tf: 2 }], { compat: true }))!;
  assert.deepEqual([kept.applied, kept.untouched], [0, 1]);
  const stop = new Error("stop");
  await assert.rejects(overlay([A], { signal: AbortSignal.abort(stop) }), stop);
});
