/** @file A picture as an image encoder sees it: the middle of the longer side, whichever it is. A side that has the encoder's pixels is not resized. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { resampleBytes } from "../../src/image/resample.ts";
import { seeingBytes, seenPicture } from "../../src/pipeline/job-image-prompt.ts";

const NETWORK = { kind: "ip", side: 2, mean: [0, 0, 0], deviation: [1, 1, 1] } as never;

test("the middle of a tall and of a wide picture", () => {
  // Rows, or columns, of 0, 51, ... 255: of six the middle two are 102 and 153.
  const tall = { width: 2, height: 6, rgb: Uint8Array.from({ length: 36 }, (_, i) => 51 * Math.floor(i / 6)) };
  const wide = { width: 6, height: 2, rgb: Uint8Array.from({ length: 36 }, (_, i) => 51 * (Math.floor(i / 3) % 6)) };
  const plane = (values: readonly number[]) => Float32Array.from([...values, ...values, ...values]);
  assert.deepEqual(seenPicture(tall, NETWORK), plane([0.4, 0.4, 0.6, 0.6]));
  assert.deepEqual(seenPicture(wide, NETWORK), plane([0.4, 0.6, 0.4, 0.6]));
  const resizing = resampleBytes({ ...tall, channels: 3 }, { width: 2, height: 6 });
  assert.equal(seeingBytes(tall, NETWORK), resizing + tall.rgb.length);
});
