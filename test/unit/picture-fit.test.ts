/** @file Pictures of one shape in places of another, as sd-webui-controlnet's detectmap_proc: by its arithmetic, medians by numpy 2.2. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fittedSize, laidInto } from "../../src/image/picture-fit.ts";
import { controlPictures } from "../../src/pipeline/job-controls.ts";

/** Grey, so that one number tells a pixel. */
const grey = (...values: number[]) => Uint8Array.from(values.flatMap((value) => [value, value, value]));
const greyOf = (rgb: Uint8Array) => [...rgb.filter((_, i) => i % 3 === 0)];

test("sizes before the cut or the frame: the larger and the smaller ratio, rounded as numpy rounds", () => {
  const [wide, square] = [
    { width: 400, height: 150 },
    { width: 256, height: 256 },
  ];
  assert.deepEqual(fittedSize(wide, square, "stretch"), square);
  // 400 x 256 / 150 = 682.67; 150 x 256 / 400 = 96.
  assert.deepEqual(fittedSize(wide, square, "crop"), { width: 683, height: 256 });
  assert.deepEqual(fittedSize(wide, square, "fill"), { width: 256, height: 96 });
  // 2.5 becomes 2.
  assert.deepEqual(fittedSize({ width: 4, height: 5 }, { width: 2, height: 10 }, "fill"), { width: 2, height: 2 });
});

test("cropped to the middle, laid into a frame of the edge's median", () => {
  const wide = { width: 5, height: 2, rgb: grey(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) };
  assert.deepEqual(greyOf(laidInto(wide, { width: 2, height: 2 })), [2, 3, 7, 8]);
  // Of 1..10 and 1, 6, 5, 10, once more each: numpy.median gives 5.5, as a byte 5.
  const framed = [5, 5, 5, 5, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 5, 5, 5, 5, 5];
  assert.deepEqual(greyOf(laidInto(wide, { width: 5, height: 4 })), framed);
  const tall = { width: 1, height: 3, rgb: grey(10, 20, 40) };
  // 10, 40, 10, 20, 40, 10, 20, 40: 20.
  assert.deepEqual(greyOf(laidInto(tall, { width: 4, height: 3 })), [20, 10, 20, 20, 20, 20, 20, 20, 20, 40, 20, 20]);
});

test("a control's picture is prepared before its frame: the frame is no edge", () => {
  const source = { width: 8, height: 4, rgb: grey(...Array.from({ length: 32 }, (_, i) => (i % 8 < 4 ? 0 : 255))) };
  const size = { width: 8, height: 8 };
  const { first } = controlPictures(source, { file: "c", preprocess: "invert", fit: "fill" }, size, undefined);
  const row = [255, 255, 255, 255, 0, 0, 0, 0];
  // As many of each at the edge: the median of 0 and 255 is 127.5.
  const frame = Array(8).fill(127);
  assert.deepEqual(greyOf(first!.rgb), [frame, frame, row, row, row, row, frame, frame].flat());
  const crop = controlPictures(source, { file: "c", fit: "crop" }, { width: 4, height: 4 }, undefined);
  assert.deepEqual(greyOf(crop.first!.rgb), Array(4).fill([0, 0, 255, 255]).flat());
});
