/** @file Pictures on a sheet: each in its block, row and column, four pixels between them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { contactSheet, sheetLayout } from "../../src/image/contact-sheet.ts";

test("blocks of two rows and three columns without legends: every picture is in its place, what is missing stays white", () => {
  const legends = { columns: ["", "", ""], rows: ["", ""], blocks: ["", ""] };
  const layout = sheetLayout(legends, { width: 2, height: 1 });
  // Three cells of 2 and two gaps; four rows of 1 and three gaps.
  assert.deepEqual([layout.width, layout.height], [14, 16]);
  const picture = (grey: number) => ({ width: 2, height: 1, rgb: new Uint8Array(6).fill(grey) });
  const pictures = Array.from({ length: 12 }, (_, i) => (i === 7 ? undefined : picture(i)));
  const { rgb } = contactSheet(layout, pictures);
  const greys = Array.from({ length: 12 }, (_, i) => rgb[3 * (5 * Math.floor(i / 3) * 14 + 6 * (i % 3) + 1)]);
  assert.deepEqual(greys, [0, 1, 2, 3, 4, 5, 6, 255, 8, 9, 10, 11]);
  // All else is white.
  assert.equal(rgb.filter((value) => value !== 255).length, 11 * 6);
});
