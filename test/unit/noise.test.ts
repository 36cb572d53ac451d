/** @file The noise generator against torch.randn on the CPU. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { torchRandn } from "../../src/sampler/noise.ts";

interface Row {
  readonly seed: number;
  readonly count: number;
  readonly indices: readonly number[];
  readonly values: readonly number[];
}

const rows = JSON.parse(readFileSync(new URL("../../fixtures/noise/golden.json", import.meta.url), "utf8")) as Row[];

for (const seed of new Set(rows.map((row) => row.seed))) {
  test(`seed ${seed}: equal to torch.randn within 1e-6`, () => {
    for (const { count, indices, values } of rows.filter((row) => row.seed === seed)) {
      const noise = torchRandn(seed, count);
      assert.equal(noise.length, count);
      indices.forEach((at, index) => {
        const difference = Math.abs(noise[at]! - values[index]!);
        assert.ok(difference <= 1e-6, `count ${count}, element ${at}: ${noise[at]} is not ${values[index]}`);
      });
    }
  });
}

test("a seed that is no integer in 0..2^53-1 is refused", () => {
  for (const seed of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => torchRandn(seed, 4), RangeError);
});

test("no request gives no numbers", () => assert.equal(torchRandn(1, 0).length, 0));
