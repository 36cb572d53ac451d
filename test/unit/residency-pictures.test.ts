/**
 * @file Drawn examples of what stays and what streams, to read before src/plan/residency.ts. One letter is 64 bytes. Blocks are
 * written in the order of use, each with the milliseconds of compute until the next: "aaa 1". In a picture of memory, capitals
 * are pinned; then comes the ring, with a line for each block that passes through it; dots are free.
 *
 *     |BBBDD|aaa..|     b and d are pinned; a lies at the start of the ring,
 *           |...cc|     c at its end: c is read while a computes.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type CycleBlock, chooseResidency } from "../../src/plan/residency.ts";

const UNIT = 64;

/** "aaa 1, bb 2" or, with blocks that one segment needs together, "aaa+x 1, bb 2". */
function cycle(text: string): CycleBlock[] {
  return text.split(", ").flatMap((part, group) => {
    const [names = "", ms] = part.split(" ");
    return names.split("+").map((letters, i) => ({
      key: letters.slice(0, 1),
      deviceBytes: letters.length * UNIT,
      group,
      overlapMs: i === 0 ? Number(ms) : 0,
      usedOnce: false,
    }));
  });
}

/** Memory of `capacity` letters with what was chosen for it. */
function picture(text: string, capacity: number, pinnedFirst: readonly string[] = []): string {
  const residency = chooseResidency(cycle(text), capacity * UNIT, UNIT, pinnedFirst);
  if (!residency) return "refused";
  const { pinned, streamed, pinnedBytes, ringBytes } = residency;
  const [pins, ring] = [pinnedBytes / UNIT, ringBytes / UNIT];
  assert.ok(pins + ring <= capacity);
  const letters = (key: string, lengthBytes: number) => key.repeat(lengthBytes / UNIT);
  const first = pinned.map(({ key, lengthBytes }) => letters(key, lengthBytes).toUpperCase()).join("");
  const passing = streamed.map(({ key, offsetBytes, lengthBytes }) =>
    `${".".repeat(offsetBytes / UNIT)}${letters(key, lengthBytes)}`.padEnd(ring, "."),
  );
  const rows = passing.map((row, i) => `${i === 0 ? `|${first}` : " ".repeat(pins + 1)}|${row}|`);
  return rows.length === 0 ? `|${first}|` : rows.join("\n");
}

function draws(text: string, capacity: number, expected: string, pinnedFirst: readonly string[] = []): void {
  const lines = expected.split("\n").filter((line) => line.trim() !== "");
  const indent = Math.min(...lines.map((line) => line.search(/\S/)));
  const bar = lines.map((line) => line.slice(indent)).join("\n");
  assert.equal(picture(text, capacity, pinnedFirst), bar);
}

test("all resident: 3 + 2 + 4 = 9", () => {
  draws("aaa 1, bb 1, cccc 1", 9, "|AAABBCCCC|");
});

test("one letter short of ten: three blocks stream", () => {
  // One that streams alone needs a slot as large as itself: 8 pinned + 2 = 10. Two need two slots: 6 + 4 = 10. Three share
  // two slots: 4 pinned + 4 = 8, which fits in 9.
  draws(
    "aa 1, bb 1, cc 1, dd 1, ee 1",
    9,
    `
    |AADD|bb..|
         |..cc|
         |ee..|`,
  );
});

test("streams lie where compute is long", () => {
  // 16 letters of weights in 14: as above, three of them stream, 10 + 4. With even compute they are spread over the cycle ...
  draws(
    "aa 1, bb 1, cc 1, dd 1, ee 1, ff 1, gg 1, hh 1",
    14,
    `
    |AABBDDFFHH|cc..|
               |..ee|
               |gg..|`,
  );
  // ... and with 9 ms at d and at h, these two come first: their transfers are hidden best.
  draws(
    "aa 1, bb 1, cc 1, dd 9, ee 1, ff 1, gg 1, hh 9",
    14,
    `
    |AABBCCEEGG|dd..|
               |..ff|
               |hh..|`,
  );
});

test("a block larger than the rest stays while the small ones pass, as long as there is room for it beside a ring", () => {
  // 6 pinned + two slots of 1 = 8.
  draws(
    "a 1, b 1, cccccc 1, d 1, e 1",
    8,
    `
    |CCCCCC|a.|
           |.b|
           |d.|
           |.e|`,
  );
  // In 7 it can't stay: 6 + 2 = 8. It passes as all others do, each beside its neighbour: 6 + 1 = 7.
  draws(
    "a 1, b 1, cccccc 1, d 1, e 1",
    7,
    `
    ||a......|
     |......b|
     |cccccc.|
     |......d|
     |e......|`,
  );
});

test("one slot only: no room for two neighbours, 3 + 2 = 5, so that nothing is read ahead; less than the largest is refused", () => {
  draws(
    "aaa 1, bb 1, ccc 1",
    4,
    `
    ||aaa|
     |bb.|
     |ccc|`,
  );
  draws("aaa 1, bb 1, ccc 1", 2, "refused");
});

test("blocks that a segment needs together lie side by side, and beside those of the next segment", () => {
  // Pinned b leaves y alone in its turn: 2 + (3 + 1) + 1 = 7.
  draws(
    "aaa+x 1, bb+y 1, ccc+z 1",
    7,
    `
    |BB|aaa..|
       |...x.|
       |....y|
       |ccc..|
       |...z.|`,
  );
  // The largest segment's weights, 3 + 1, are the least that works.
  draws(
    "aaa+x 1, bb+y 1, ccc+z 1",
    4,
    `
    ||aaa.|
     |...x|
     |bb..|
     |..y.|
     |ccc.|
     |...z|`,
  );
  draws("aaa+x 1, bb+y 1, ccc+z 1", 3, "refused");
});

test("two phases over one network: what the tighter one pins, the other one pins as well, so that it stays in between", () => {
  // 8 pinned + 4 = 12. Alone, this phase lets d pass, where its compute is long ...
  draws(
    "aa 1, bb 1, cc 1, dd 9, ee 1, ff 1, gg 1, hh 9",
    12,
    `
    |AABBCCGG|dd..|
             |..ee|
             |ff..|
             |..hh|`,
  );
  // ... but the phase before has pinned b, c and d: they need not come again.
  draws(
    "aa 1, bb 1, cc 1, dd 9, ee 1, ff 1, gg 1, hh 9",
    12,
    `
    |AABBCCDD|ee..|
             |..ff|
             |gg..|
             |..hh|`,
    ["b", "c", "d"],
  );
});
