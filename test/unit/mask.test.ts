/** @file Masks and grown pictures, by arithmetic on small ones. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { blurredMask, grownMask, grownPicture } from "../../src/image/mask.ts";
import { hardMask, latentMask, maskedDecoded } from "../../src/pipeline/inpainting.ts";
import { marginsOf, naturalSize } from "../../src/pipeline/job-pictures.ts";

test("a picture grows by its outermost pixels, at each side by itself", () => {
  const rgb = Uint8Array.from({ length: 2 * 2 * 3 }, (_, i) => i);
  const grown = grownPicture({ width: 2, height: 2, rgb }, { left: 1, top: 0, right: 2, bottom: 1 });
  assert.deepEqual([grown.width, grown.height], [5, 3]);
  const firsts = Array.from({ length: 15 }, (_, pixel) => grown.rgb[3 * pixel]);
  assert.deepEqual(firsts, [0, 0, 3, 3, 3, 6, 6, 9, 9, 9, 6, 6, 9, 9, 9]);
});

test("its mask is white in the margins and fades over 16 pixels beside those that there are", () => {
  const mask = grownMask({ width: 20, height: 1 }, { left: 2, top: 0, right: 0, bottom: 0 });
  assert.deepEqual([...mask.subarray(0, 4)], [255, 255, Math.round((255 * 31) / 32), Math.round((255 * 29) / 32)]);
  assert.deepEqual([mask[2 + 15], mask[2 + 16], mask[21]], [Math.round(255 / 32), 0, 0]);
  const own = new Uint8Array(20);
  own[19] = 200;
  assert.equal(grownMask({ width: 20, height: 1 }, { left: 2, top: 0, right: 0, bottom: 0 }, own)[21], 200);
});

test("a blurred point is a Gaussian of 2 int(2.5 blur + 0.5) + 1 taps; an even mask stays even, to its edges", () => {
  const [side, middle] = [15, 7];
  const point = new Uint8Array(side * side);
  point[middle * side + middle] = 255;
  const blurred = blurredMask(point, side, side, 1);
  const taps = Array.from({ length: 7 }, (_, i) => Math.exp(-((i - 3) ** 2) / 2));
  const total = taps.reduce((sum, tap) => sum + tap, 0);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const share = ((taps[y - middle + 3] ?? 0) * (taps[x - middle + 3] ?? 0)) / total ** 2;
      assert.ok(Math.abs(blurred[y * side + x]! - 255 * share) <= 0.51, `${x}, ${y}`);
    }
  }
  assert.deepEqual(blurredMask(new Uint8Array(6).fill(77), 3, 2, 4), new Uint8Array(6).fill(77));
});

test("a cell of the latent takes the mask of its first pixel; black and white are cut at half", () => {
  const mask = Uint8Array.from({ length: 4 * 4 }, (_, i) => i * 17);
  const pictures = { width: 4, height: 4, rgb: new Uint8Array(48), mask };
  assert.deepEqual(
    [...latentMask(pictures, [1, 4, 2, 2])],
    [0, 34, 136, 170].map((value) => Math.fround(value / 255)),
  );
  assert.deepEqual([...hardMask(pictures).mask!], [...new Array(8).fill(0), ...new Array(8).fill(255)]);
  const decoded = new Float32Array(48).fill(1);
  assert.equal(
    maskedDecoded(decoded, pictures).reduce((sum, value) => sum + value, 0),
    3 * 8,
  );
  // 128 is white, for both.
  const half = { width: 2, height: 1, rgb: new Uint8Array(6), mask: Uint8Array.of(127, 128) };
  assert.deepEqual([...hardMask(half).mask!], [0, 255]);
  assert.deepEqual([...maskedDecoded(new Float32Array(6).fill(1), half)], [1, 0, 1, 0, 1, 0]);
});

test("a job without a size takes the picture's own, with its margins, cut to whole multiples of 8", () => {
  const init = { width: 101, height: 7, rgb: new Uint8Array(0) };
  assert.deepEqual(naturalSize({ init }, {}), { width: 96, height: 8 });
  assert.deepEqual(naturalSize({ init }, { outpaint: "8, 0,3,10" }), { width: 112, height: 16 });
  for (const wrong of ["", "1,2,3", "0,0,0,0", "1,2,3,4,5", "1,-2,3,4", "1,2,3,9999", "a,b,c,d"]) {
    assert.throws(() => marginsOf(wrong), /E_JOB outpaint: four numbers of pixels/, wrong);
  }
});

test("a blur of an odd number reaches as far as A1111's: 2 int(2.5 blur + 0.5) + 1 taps", () => {
  const line = new Uint8Array(9);
  line[4] = 255;
  // exp(-d^2 / 2) for d up to 3, of their sum 2.50596.
  assert.deepEqual([...blurredMask(line, 9, 1, 1)], [0, 1, 14, 62, 102, 62, 14, 1, 0]);
});

test("each side fades and stays as the one across from it: a mask of mirrored margins is the mirrored mask", () => {
  const [width, height] = [40, 21];
  for (const [left, right, top, bottom] of [
    [3, 0, 0, 0],
    [0, 0, 5, 0],
    [1, 2, 7, 0],
  ] as const) {
    const own = Uint8Array.from({ length: width * height }, (_, i) => (i * 37) % 251);
    const there = grownMask({ width, height }, { left, right, top, bottom }, own);
    const turned = grownMask(
      { width, height },
      { left: right, right: left, top: bottom, bottom: top },
      own.toReversed(),
    );
    assert.deepEqual(turned, there.toReversed());
  }
});

test("beyond its edges a mask is blurred as if it were mirrored there, the outermost pixel not twice", () => {
  // A line, and the same with its mirrored neighbours in full: within, both have one blur. A column the same.
  const line = [200, 10, 0, 255, 90, 30, 140, 7, 66, 180, 255, 0, 31];
  const reach = 5; // 2.5 * 2 taps at each side
  const wide = [...line.slice(1, 1 + reach).toReversed(), ...line, ...line.slice(-1 - reach, -1).toReversed()];
  const within = blurredMask(Uint8Array.from(wide), wide.length, 1, 2).subarray(reach, reach + line.length);
  assert.deepEqual(blurredMask(Uint8Array.from(line), line.length, 1, 2), within);
  assert.deepEqual(blurredMask(Uint8Array.from(line), 1, line.length, 2), within);
});
