/** @file Overlays cell by cell: which were written before is known for each of them, however they come (runs, single cells, wide rows). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OverlayTarget, overlayRowBytes } from "../../src/codec/overlay.ts";
import { Scratch } from "../../src/codec/scratch.ts";
import { numberToF16 } from "../../src/tensor/dtype.ts";
import { randomOf } from "./store-fixture.ts";

type Row = readonly [row: number, column: number, value: number];

/** Overlay rows as they are packed. */
function packed(rows: readonly Row[], rowBytes: 8 | 12): Uint32Array {
  const view = new DataView(new ArrayBuffer(rows.length * rowBytes));
  for (const [i, [row, column, value]] of rows.entries()) {
    const at = i * rowBytes;
    if (rowBytes === 8) {
      view.setUint16(at, row, true);
      view.setUint16(at + 2, column, true);
    } else {
      view.setUint32(at, row, true);
      view.setUint32(at + 4, column, true);
    }
    view.setFloat32(at + rowBytes - 4, value, true);
  }
  return new Uint32Array(view.buffer);
}

const cells = (columns: number, from: number, to: number, value: number): Row[] =>
  Array.from({ length: to - from }, (_, i) => [Math.floor((from + i) / columns), (from + i) % columns, value]);

const f16 = numberToF16;

/** Of one matrix row, so that runs may be as long as the whole. */
const COLUMNS = 1000;

function target(rows = 1, columns = COLUMNS): OverlayTarget {
  return new OverlayTarget(new Uint16Array(rows * columns), rows, columns, new Scratch());
}

test("a run marks each of its cells, and none beside it: the first, the last, and each word between", () => {
  const random = randomOf(4);
  for (let round = 0; round < 120; round++) {
    // Runs that begin and end within words of 32 cells, at their edges, and fill some.
    const from = round % 3 === 0 ? 32 * Math.floor(random() * 8) : Math.floor(random() * 256);
    const to = from + 64 + (round % 3 === 1 ? 32 * Math.floor(random() * 8) : Math.floor(random() * 256));
    const overlay = target();
    assert.equal(overlay.apply(packed(cells(COLUMNS, from, to, 1), 8), to - from, 8), -1);
    for (let cell = Math.max(0, from - 40); cell < to + 40; cell++) {
      const inside = cell >= from && cell < to;
      assert.equal(overlay.weight[cell], inside ? f16(1) : 0, `${cell} of ${from}..${to}`);
      // The same value again is none; another one is a conflict where the run was, and only there.
      assert.equal(overlay.apply(packed([[0, cell, inside ? 1 : 0]], 8), 1, 8), -1);
      const before = new OverlayTarget(overlay.weight.slice(), 1, COLUMNS, new Scratch());
      assert.equal(before.apply(packed([[0, cell, 2]], 8), 1, 8), -1);
    }
    const again = target();
    again.apply(packed(cells(COLUMNS, from, to, 1), 8), to - from, 8);
    for (let cell = Math.max(0, from - 40); cell < to + 40; cell++) {
      const inside = cell >= from && cell < to;
      assert.equal(again.apply(packed([[0, cell, 2]], 8), 1, 8), inside ? 0 : -1, `${cell} of ${from}..${to}`);
    }
  }
});

test("a run over cells of which one was written: a conflict if values differ, none if they don't, told at its row", () => {
  const [from, to] = [37, 301];
  for (let cell = from - 2; cell < to + 2; cell++) {
    for (const same of [true, false]) {
      const overlay = target();
      overlay.apply(packed([[0, cell, 1]], 8), 1, 8);
      const inside = cell >= from && cell < to;
      const found = overlay.apply(packed(cells(COLUMNS, from, to, same ? 1 : 3), 8), to - from, 8);
      assert.equal(found, inside && !same ? cell - from : -1, `${cell} ${same}`);
    }
  }
});

test("all overlays agree with a slow reader: runs, gaps, cells twice, cells outside, both widths", () => {
  const random = randomOf(8);
  const [rows, columns] = [3, 210];
  let conflicts = 0;
  for (let round = 0; round < 400; round++) {
    const list: Row[] = [];
    const written = new Map<number, number>();
    const pieces = 1 + Math.floor(random() * 6);
    for (let piece = 0; piece < pieces; piece++) {
      const start = Math.floor(random() * rows * columns);
      const length = random() < 0.5 ? 1 + Math.floor(random() * 5) : 60 + Math.floor(random() * 140);
      for (let cell = start; cell < Math.min(start + length, rows * columns); cell++) {
        // Mostly what is there already, where something is.
        const known = written.get(cell);
        const value = known !== undefined && random() < 0.995 ? known : Math.floor(random() * 4);
        if (known === undefined) written.set(cell, value);
        list.push([Math.floor(cell / columns), cell % columns, value]);
      }
      if (random() < 0.3) list.push(random() < 0.5 ? [rows, 0, 9] : [0, columns, 9]);
    }
    for (const rowBytes of [8, 12] as const) {
      const first = new Map<number, number>();
      let [conflict, skipped] = [-1, 0];
      for (const [i, [row, column, value]] of list.entries()) {
        if (row >= rows || column >= columns) {
          skipped++;
          continue;
        }
        const known = first.get(row * columns + column);
        if (known !== undefined && known !== value) {
          conflict = i;
          break;
        }
        first.set(row * columns + column, value);
      }
      const overlay = target(rows, columns);
      assert.equal(overlay.apply(packed(list, rowBytes), list.length, rowBytes), conflict, `round ${round}`);
      if (conflict >= 0) {
        conflicts++;
        continue;
      }
      assert.equal(overlay.skippedRows, skipped);
      for (let cell = 0; cell < rows * columns; cell++) assert.equal(overlay.weight[cell], f16(first.get(cell) ?? 0));
    }
  }
  assert.ok(conflicts > 30 && conflicts < 1100, `${conflicts}`);
});

test("values that are no number are seen wherever they stand: in a run, its ends, alone, in wide rows", () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -70000]) {
    for (const at of [0, 1, 63, 99]) {
      const run = cells(COLUMNS, 5, 105, 1).map((row, i): Row => (i === at ? [row[0], row[1], value] : row));
      for (const rowBytes of [8, 12] as const) {
        const overlay = target();
        overlay.apply(packed(run, rowBytes), run.length, rowBytes);
        assert.equal(overlay.sawNonFinite, true, `${value} at ${at}`);
      }
    }
  }
  const sound = target();
  sound.apply(packed(cells(COLUMNS, 5, 105, -65504), 8), 100, 8);
  assert.equal(sound.sawNonFinite, false);
});

test("rows grow to 12 bytes by rows or by blocks, whichever is more", () => {
  assert.equal(overlayRowBytes(65535, 1, 1), 8);
  assert.equal(overlayRowBytes(65536, 1, 1), 12);
  assert.equal(overlayRowBytes(1, 16383, 4), 8);
  assert.equal(overlayRowBytes(1, 16384, 4), 12);
});
