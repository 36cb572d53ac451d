/** @file A picture's format and size from its first bytes, and the sides that are too long whichever they are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_PICTURE_SIDE, readPictureHeader } from "../../src/image/picture-header.ts";

function png(width: number, height: number): Uint8Array {
  const bytes = Buffer.alloc(49);
  bytes.write("\x89PNG\r\n\x1a\n", 0, "latin1");
  bytes.writeUInt32BE(13, 8);
  bytes.write("IHDR", 12);
  bytes.writeUInt32BE(width, 16);
  bytes.writeUInt32BE(height, 20);
  bytes.write("IDAT", 37);
  return bytes;
}

test("a side may be as long as the limit, and no longer (E_IMAGE_SIZE)", () => {
  const side = MAX_PICTURE_SIDE;
  for (const [width, height] of [
    [side, 1],
    [1, side],
  ] as const) {
    const { format, ...size } = readPictureHeader(png(width, height), "a.png");
    assert.deepEqual([format, size], ["PNG", { width, height, animated: false }]);
    const longer = png(width === 1 ? 1 : width + 1, height === 1 ? 1 : height + 1);
    assert.throws(() => readPictureHeader(longer, "a.png"), { code: "E_IMAGE_SIZE" });
  }
});

test("a JPEG's markers may have more than one FF before them", () => {
  const jpeg = Uint8Array.from([
    ...[0xff, 0xd8, 0xff, 0xff, 0xff, 0xe0, 0, 4, 1, 2],
    ...[0xff, 0xff, 0xc2, 0, 11, 8, 0, 3, 0, 5, 1, 0, 0, 0],
  ]);
  const { width, height } = readPictureHeader(jpeg, "a.jpg");
  assert.deepEqual([width, height], [5, 3]);
});
