/** @file The noise generator against torch.randn on the CPU. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { torchNoise, torchRandn } from "../../src/sampler/noise.ts";
import { noiseOf } from "../../src/sampler/noise-source.ts";
import { philoxNoise } from "../../src/sampler/philox.ts";

interface Row {
  readonly seed: number;
  readonly count: number;
  readonly indices: readonly number[];
  readonly values: readonly number[];
}

/** Of one generator's draws. */
interface PlacedRow extends Row {
  readonly place: number;
}

const read = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../fixtures/noise/${name}.json`, import.meta.url), "utf8"));
const rows = read("golden") as Row[];
const placed = read("successive") as PlacedRow[];

for (const seed of new Set(rows.map((row) => row.seed))) {
  test(`seed ${seed}: equal to torch.randn within 1e-6`, () => {
    for (const row of rows.filter((row) => row.seed === seed)) requireEqual(torchRandn(seed, row.count), row);
  });
}

function requireEqual(
  noise: Float32Array,
  { count, indices, values }: Row,
  what = "the first draw",
  within = 1e-6,
): void {
  assert.equal(noise.length, count);
  indices.forEach((at, index) => {
    const difference = Math.abs(noise[at]! - values[index]!);
    assert.ok(difference <= within, `${what}: count ${count}, element ${at}: ${noise[at]} is not ${values[index]}`);
  });
}

const PLACES: readonly (readonly [string, readonly number[]])[] = [
  ["in order", [0, 1, 2, 3, 4]],
  ["with gaps", [0, 2, 4]],
  ["resumed at 3", [3, 4]],
  ["backwards, and one twice", [4, 2, 2, 1, 3, 0]],
];

for (const [what, places] of PLACES) {
  test(`draws of one generator ${what}: equal to torch.randn within 1e-6`, () => {
    const runs = Map.groupBy(placed, ({ seed, count }) => `${seed} ${count}`);
    for (const run of runs.values()) {
      const { seed, count } = run[0]!;
      const source = torchNoise(seed);
      for (const place of places) {
        requireEqual(source.normal(place, count), run.find((row) => row.place === place)!, `draw ${place}`);
      }
    }
  });
}

test("nobody's changes to a draw show in another", () => {
  const source = torchNoise(3);
  const first = source.normal(0, 20);
  const copy = Float32Array.from(first);
  first.fill(0);
  assert.deepEqual(source.normal(0, 20), copy);
});

test("a seed that is no integer in 0..2^53-1 is refused", () => {
  for (const seed of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => torchRandn(seed, 4), RangeError);
});

test("a seed of more than 53 bits is given by its digits; its low 32 bits count, as in torch", () => {
  assert.deepEqual(torchRandn("18446744073709551615", 20), torchRandn(2 ** 32 - 1, 20));
  assert.deepEqual(torchRandn("9007199254740993", 20), torchRandn(1, 20));
  for (const seed of ["-1", "1.5", "", "x"]) assert.throws(() => torchRandn(seed, 4), RangeError);
});

test("no request gives no numbers", () => assert.equal(torchRandn(1, 0).length, 0));

test("draws of declared sizes, then of one: equal to those of one generator, in any order", () => {
  const sized = read("sized") as PlacedRow[];
  const leading = sized.slice(0, 4).map(({ count }) => count);
  for (const order of [
    [0, 1, 2, 3, 4, 5],
    [5, 1, 4],
  ]) {
    const source = torchNoise(3, leading);
    for (const place of order) requireEqual(source.normal(place, sized[place]!.count), sized[place]!, `draw ${place}`);
  }
});

test("philox: equal to torch's CUDA generator as A1111 writes it out, each draw by itself", () => {
  for (const row of read("philox") as PlacedRow[]) {
    requireEqual(philoxNoise(row.seed).normal(row.place, row.count), row, `seed ${row.seed}, draw ${row.place}`);
  }
  // Published in modules/rng_philox.py for torch.randn((3, 4), device="cuda") of seed 0.
  const published = [-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564];
  const found = philoxNoise(0).normal(0, 12);
  published.forEach((value, at) => {
    assert.ok(Math.abs(found[at]! - value) < 1e-6, `${found[at]} is not ${value}`);
  });
});

test("a variation: the first noise alone goes over to the subseed's, as A1111 mixes them", () => {
  const rows = read("variations") as (Row & { readonly subseed: number; readonly share: number })[];
  const first = { place: 1, shape: [1, 4, 6, 5] };
  for (const { subseed, share, ...row } of rows) {
    // The first latent's noise comes after another draw: here of no values, so that it is the seed's first.
    const job = { seed: row.seed, subseed, subseedStrength: share };
    // torch takes the angles in fp32.
    requireEqual(noiseOf(job, [0], first).normal(1, row.count), row, `strength ${share}`, 1e-5);
    assert.deepEqual(noiseOf(job, [], first).normal(2, 40), torchNoise(row.seed).normal(2, 40));
    assert.deepEqual(
      noiseOf({ ...job, subseedStrength: 0 }, [], first).normal(1, 40),
      torchNoise(row.seed).normal(1, 40),
    );
  }
  const drawn = noiseOf({ seed: 1, rng: "philox", subseed: 2, subseedStrength: 1 }, [], first).normal(1, 120);
  const other = philoxNoise(2).normal(0, 120);
  drawn.forEach((value, at) => {
    assert.ok(Math.abs(value - other[at]!) < 1e-5, `element ${at}`);
  });
});
