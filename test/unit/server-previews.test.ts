/** @file A served preview's size: a pixel a cell is enlarged, what a tiny decoder made is as large as the picture already. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodePng } from "../../src/image/png.ts";
import { previewPng } from "../../src/server/work/previews.ts";

test("previews are enlarged up to 1024 pixels a side, and never past what they are then", async () => {
  const sizes = [
    [8, 8, 64, 64],
    [128, 96, 1024, 768],
    [256, 128, 1024, 512],
    [1024, 512, 1024, 512],
    [1536, 8, 1536, 8],
  ] as const;
  for (const [width, height, wide, high] of sizes) {
    const { png, ...size } = await previewPng({ width, height, rgb: new Uint8Array(3 * width * height).fill(7) }, 8);
    assert.deepEqual(size, { width: wide, height: high });
    const decoded = await decodePng(png);
    assert.deepEqual([decoded.width, decoded.height, decoded.pixels[0]], [wide, high, 7]);
  }
});
