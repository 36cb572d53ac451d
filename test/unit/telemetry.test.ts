/** @file Sums of timings by pass and segment, against numbers added by hand, and their picture for people. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Telemetry } from "../../src/stream/telemetry.ts";
import { telemetryText } from "../../src/terminal/telemetry-text.ts";

function sample(): Telemetry {
  const telemetry = new Telemetry();
  const load = { storedBytes: 100, diskBytes: 80, readMs: 4, decodeMs: 3, uploadMs: 1 };
  telemetry.beginPass("step", [0]);
  telemetry.load({ key: "m/a", ...load });
  telemetry.segment({
    pass: "step",
    pictures: [0],
    segment: "a",
    keys: ["m/a"],
    waitMs: 5,
    computeMs: 10,
    endedMs: 15,
    weightBytes: 50,
  });
  telemetry.segment({
    pass: "step",
    pictures: [0],
    segment: "n",
    keys: [],
    waitMs: 0,
    computeMs: 1,
    endedMs: 16,
    weightBytes: 50,
  });
  telemetry.endPass("step", 30, [0]);
  telemetry.beginPass("step", [0]);
  telemetry.load({ key: "m/a", ...load, diskBytes: 0 });
  telemetry.segment({
    pass: "step",
    pictures: [0],
    segment: "a",
    keys: ["m/a"],
    waitMs: 2,
    computeMs: 10,
    endedMs: 30,
    weightBytes: 100,
  });
  telemetry.endPass("step", 40, [0]);
  // The same block, used by another pass, and read during it.
  telemetry.beginPass("band", [0]);
  telemetry.load({ key: "m/a", ...load });
  telemetry.segment({
    pass: "band",
    pictures: [0],
    segment: "b",
    keys: ["m/a"],
    waitMs: 0,
    computeMs: 3,
    endedMs: 40,
    weightBytes: 0,
  });
  telemetry.endPass("band", 11, [0]);
  // Cut off: no run.
  telemetry.beginPass("step", [0]);
  return telemetry;
}

test("totals by pass and by segment", () => {
  const telemetry = sample();
  assert.equal(telemetry.waitMs, 7);
  const none = { loads: 0, loadedBytes: 0, diskBytes: 0, readMs: 0, decodeMs: 0, uploadMs: 0 };
  assert.deepEqual(telemetry.totals(), [
    {
      pass: "step",
      runs: 2,
      totalMs: 70,
      computeMs: 21,
      waitMs: 7,
      loads: 2,
      loadedBytes: 200,
      diskBytes: 80,
      readMs: 8,
      decodeMs: 6,
      uploadMs: 2,
    },
    {
      pass: "band",
      runs: 1,
      totalMs: 11,
      computeMs: 3,
      waitMs: 0,
      loads: 1,
      loadedBytes: 100,
      diskBytes: 80,
      readMs: 4,
      decodeMs: 3,
      uploadMs: 1,
    },
  ]);
  assert.deepEqual(telemetry.segmentTotals(), [
    {
      ...{ pass: "step", segment: "a", blocks: ["m/a"], runs: 2, computeMs: 20, waitMs: 7, longestWaitMs: 5 },
      ...{ loads: 3, loadedBytes: 300, diskBytes: 160, readMs: 12, decodeMs: 9, uploadMs: 3 },
    },
    { pass: "step", segment: "n", blocks: [], runs: 1, computeMs: 1, waitMs: 0, longestWaitMs: 0, ...none },
    { pass: "band", segment: "b", blocks: ["m/a"], runs: 1, computeMs: 3, waitMs: 0, longestWaitMs: 0, ...none },
  ]);
  telemetry.clear();
  assert.deepEqual([telemetry.totals(), telemetry.segmentTotals(), telemetry.residency()], [[], [], []]);
});

test("a load counts for the pass that uses its block, though it came before that pass or before any", () => {
  const telemetry = new Telemetry();
  const load = { storedBytes: 100, diskBytes: 100, readMs: 1, decodeMs: 0, uploadMs: 0 };
  const run = (pass: string, key: string) =>
    telemetry.segment({
      pass,
      pictures: [0],
      segment: "s",
      keys: [key],
      waitMs: 0,
      computeMs: 1,
      endedMs: 1,
      weightBytes: 0,
    });
  for (let image = 0; image < 2; image++) {
    telemetry.clear();
    telemetry.load({ key: "m/a", ...load });
    telemetry.beginPass("first", [0]);
    run("first", "m/a");
    telemetry.load({ key: "m/b", ...load });
    telemetry.load({ key: "m/vain", ...load });
    telemetry.endPass("first", 1, [0]);
    telemetry.beginPass("second", [0]);
    run("second", "m/b");
    telemetry.endPass("second", 1, [0]);
    const bytes = telemetry.totals().map(({ pass, loadedBytes }) => [pass, loadedBytes]);
    assert.deepEqual(bytes, [
      ["first", 200],
      ["second", 100],
    ]);
    assert.equal(telemetry.loaded.bytes, 300);
  }
});

test("residency over time: all samples of a short run, a bounded number of a long one", () => {
  assert.deepEqual(
    sample()
      .residency()
      .map(({ atMs, weightBytes }) => [atMs, weightBytes]),
    [
      [0, 50],
      [1, 50],
      [15, 100],
      [25, 0],
    ],
  );
  const long = new Telemetry();
  for (let i = 0; i < 10_000; i++) {
    long.segment({
      pass: "p",
      pictures: [0],
      segment: `${i}`,
      keys: [],
      waitMs: 0,
      computeMs: 1,
      endedMs: i,
      weightBytes: i,
    });
  }
  const samples = long.residency();
  assert.equal(samples.length, 313); // every 32nd
  assert.deepEqual(samples[312], { atMs: 9984, weightBytes: 9984 });
});

test("the text names what waited, with its rate, and draws the residency", () => {
  const telemetry = sample();
  const text = telemetryText({
    type: "telemetry",
    segments: telemetry.segmentTotals(),
    residency: telemetry.residency(),
  });
  const [head, first] = text.split("\n");
  assert.equal(head, "Segments that waited longest (3 of 3):");
  assert.match(
    first!,
    /step m\/a x2 {2}wait 7\.0 ms \(longest 5\.0 ms\), compute 20 ms, 3 loads: read 12 ms at 0\.01 MB\/s/,
  );
  // Half, then all of it, then none.
  assert.match(text.split("\n").at(-1)!, /^ {2}▅+█+▁$/);
});
