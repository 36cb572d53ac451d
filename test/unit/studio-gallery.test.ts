/** @file The studio's gallery without a browser: where pictures lie, which rows are in sight, and where keys lead. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { galleryLayout, moved, rowsBetween } from "../../studio/src/views/gallery/layout.ts";

const day = (name: string, ids: readonly number[]) => ({ day: name, ids, favourites: [] });
/** 4 columns of (634 - 3 * 6) / 4 = 154 pixels. */
const LAYOUT = galleryLayout([day("c", [9, 8, 7, 6, 5]), day("b", []), day("a", [4, 3])], 634);

test("rows stand below each other with their days' headings, every picture once and in its order", () => {
  const { rows, columns, cell, height, ids, rowOf } = LAYOUT;
  assert.deepEqual([columns, cell, height], [4, 154, 2 * 52 + 3 * 160]);
  const told = rows.map((row) => [
    row.top,
    row.height,
    ...(row.type === "heading" ? [row.day, row.count] : [row.first, row.ids]),
  ]);
  assert.deepEqual(told, [
    ...[
      [0, 52, "c", 5],
      [52, 160, 0, [9, 8, 7, 6]],
      [212, 160, 4, [5]],
    ],
    ...[
      [372, 52, "a", 2],
      [424, 160, 5, [4, 3]],
    ],
  ]);
  assert.deepEqual(ids, [9, 8, 7, 6, 5, 4, 3]);
  assert.deepEqual(
    [...rowOf],
    [
      [9, 1],
      [8, 1],
      [7, 1],
      [6, 1],
      [5, 2],
      [4, 4],
      [3, 4],
    ],
  );
  // A phone has three; one pixel less than five cells and their gaps is four.
  assert.deepEqual(
    [100, 763, 764].map((width) => galleryLayout([], width).columns),
    [3, 4, 5],
  );
});

test("the rows between two heights are all that reach into them", () => {
  for (let from = -20; from < 620; from += 4) {
    for (const to of [from + 1, from + 160, from + 700]) {
      const wanted = LAYOUT.rows.filter(({ top, height }) => top + height > from && top < to);
      assert.deepEqual(rowsBetween(LAYOUT, from, to), wanted, `${from} to ${to}`);
    }
  }
});

test("keys lead to neighbours, over headings, to the nearest of a shorter row, and never out of the gallery", () => {
  const cases = [
    ...([
      [9, "before", 9],
      [9, "after", 8],
      [6, "after", 5],
      [5, "before", 6],
      [3, "after", 3],
    ] as const),
    ...([
      [6, "down", 5],
      [5, "down", 4],
      [8, "up", 9],
      [4, "up", 5],
      [3, "up", 5],
    ] as const),
    ...([
      [7, "first", 9],
      [7, "last", 3],
      [undefined, "last", 9],
      [77, "after", 9],
    ] as const),
    ...([
      [9, "pageDown", 4],
      [3, "pageUp", 8],
    ] as const),
  ];
  for (const [from, move, to] of cases) assert.equal(moved(LAYOUT, from, move, 3), to, `${from} ${move}`);
});
