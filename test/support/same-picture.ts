/** @file How near a picture comes to a reference's: every value within 2/255, PSNR at least 50 dB. */
import assert from "node:assert/strict";
import { decodePng } from "../../src/image/png.ts";

const MAX_DIFFERENCE = 2;
const MIN_PSNR_DB = 50;

/** Fails, with the largest difference and the PSNR, where two PNGs' pictures are not the same so far. */
export async function requireSamePicture(
  found: Uint8Array<ArrayBuffer>,
  expected: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const [a, b] = [await decodePng(found), await decodePng(expected)];
  assert.deepEqual([a.width, a.height], [b.width, b.height]);
  let largest = 0;
  let squares = 0;
  for (let i = 0; i < b.pixels.length; i++) {
    const difference = Math.abs(a.pixels[i]! - b.pixels[i]!);
    largest = Math.max(largest, difference);
    squares += difference ** 2;
  }
  const psnrDb = 10 * Math.log10(255 ** 2 / Math.max(squares / b.pixels.length, Number.MIN_VALUE));
  assert.ok(
    largest <= MAX_DIFFERENCE && psnrDb >= MIN_PSNR_DB,
    `largest difference ${largest}, PSNR ${psnrDb.toFixed(1)} dB`,
  );
}
