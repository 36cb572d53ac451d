/** @file How large an enlarged picture becomes, and how often its network runs for it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runSizes, upscaledSize } from "../../src/pipeline/upscale-sizes.ts";

const size = (width: number, height: number) => ({ width, height });

test("a size that is given is the result's; else a scale; else the network's own", () => {
  const source = size(15, 9);
  for (const [wanted, expected] of [
    [{}, size(60, 36)],
    [{ scale: 2 }, size(30, 18)],
    [{ scale: 1.5 }, size(23, 14)], // 22.5 and 13.5
    [{ scale: 0.5 }, size(8, 5)],
    [{ width: 31, height: 7 }, size(31, 7)],
    [{ width: 31, height: 7, scale: 2 }, size(31, 7)],
  ] as const) {
    assert.deepEqual(upscaledSize(source, wanted, 4), expected, JSON.stringify(wanted));
  }
});

test("a network runs until both sides are large enough, once at least and three times at most", () => {
  for (const [target, scale, widths] of [
    [size(20, 10), 2, [10]],
    [size(21, 10), 2, [10, 20]],
    [size(10, 11), 2, [10, 20]],
    [size(40, 1), 2, [10, 20]],
    [size(41, 1), 2, [10, 20, 40]],
    [size(9999, 9999), 2, [10, 20, 40]],
    [size(5, 2), 4, [10]],
    // One that cleans, and does not enlarge.
    [size(99, 99), 1, [10]],
  ] as const) {
    assert.deepEqual(
      runSizes(size(10, 5), target, scale),
      widths.map((width) => size(width, width / 2)),
      JSON.stringify([target, scale]),
    );
  }
});
