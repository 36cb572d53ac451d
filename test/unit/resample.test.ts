/** @file Pictures and planes of other sizes, against Pillow and PyTorch (scripts/golden/picture_golden.py). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { type Interpolation, interpolate } from "../../src/image/interpolate.ts";
import { greyOf } from "../../src/image/picture.ts";
import { type Filter, resample, resampleBytes } from "../../src/image/resample.ts";
import { allocatedBytes } from "../support/allocated.ts";
import { sameBytes } from "../support/same.ts";

interface Golden {
  readonly source: { readonly width: number; readonly height: number; readonly rgb: string; readonly grey: string };
  readonly resampled: readonly {
    readonly mode: "RGB" | "L";
    readonly filter: Filter;
    readonly width: number;
    readonly height: number;
    readonly bytes: string;
  }[];
  readonly planes: { readonly width: number; readonly height: number; readonly values: readonly number[] };
  readonly interpolated: readonly {
    readonly mode: Interpolation;
    readonly width: number;
    readonly height: number;
    readonly values: readonly number[];
  }[];
}

type Size = { readonly width: number; readonly height: number };

const golden = JSON.parse(
  readFileSync(new URL("../../fixtures/pictures/golden.json", import.meta.url), "utf8"),
) as Golden;
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
const { width, height } = golden.source;
const rgb = bytesOf(golden.source.rgb);
const grey = bytesOf(golden.source.grey);

test("grey is Pillow's", () => sameBytes(greyOf({ width, height, rgb }), grey));

for (const { mode, filter, bytes, ...size } of golden.resampled) {
  test(`${filter}, ${mode}, ${width}x${height} to ${size.width}x${size.height}: Pillow's bytes`, () => {
    const [source, channels] = mode === "RGB" ? [rgb, 3] : [grey, 1];
    sameBytes(resample({ width, height, channels, bytes: source }, size, filter), bytesOf(bytes));
  });
}

test("the same size is a copy", () => {
  const copy = resample({ width, height, channels: 3, bytes: rgb }, { width, height }, "lanczos");
  sameBytes(copy, rgb);
  assert.notEqual(copy.buffer, rgb.buffer);
});

test("what is counted for another size holds what it takes: the picture between the passes, whichever is first, and the result", () => {
  for (const [from, to] of [
    [
      [4, 40],
      [30, 5],
    ],
    [
      [40, 4],
      [5, 30],
    ],
    [
      [40, 30],
      [5, 7],
    ],
    [
      [3, 5],
      [20, 30],
    ],
    [
      [20, 20],
      [20, 3],
    ],
    [
      [20, 20],
      [3, 20],
    ],
  ] as const) {
    const [source, size] = [from, to].map(([across, down]) => ({ width: across, height: down })) as [Size, Size];
    for (const channels of [1, 3]) {
      const pixels = { ...source, channels, bytes: new Uint8Array(source.width * source.height * channels) };
      for (const filter of ["nearest", "lanczos"] as const) {
        const { uint8 } = allocatedBytes(() => resample(pixels, size, filter));
        assert.ok(
          uint8 > 0 && uint8 <= resampleBytes(pixels, size),
          `${filter} ${JSON.stringify([from, to])}: ${uint8}`,
        );
      }
    }
  }
});

for (const { mode, values, ...size } of golden.interpolated) {
  test(`${mode}, ${size.width}x${size.height}: PyTorch's values`, () => {
    const { planes } = golden;
    const source = { width: planes.width, height: planes.height, values: Float32Array.from(planes.values) };
    const found = interpolate(source, size, mode);
    assert.equal(found.length, values.length);
    // Nearest copies; bilinear sums four products in fp32 in another order than a vectorised kernel may.
    const allowed = mode === "bilinear" ? 1e-6 : 0;
    for (const [i, value] of found.entries()) {
      const expected = Math.fround(values[i]!);
      assert.ok(Math.abs(value - expected) <= allowed, `value ${i}: ${value}, expected ${expected}`);
    }
  });
}
