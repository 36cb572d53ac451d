/** @file A picture's format and size from its first bytes, and the sides that are too long whichever they are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readWebpTexts } from "../../src/image/metadata/webp-texts.ts";
import { MAX_PICTURE_SIDE, readPictureHeader } from "../../src/image/picture-header.ts";
import { memorySource } from "../../src/source/memory.ts";

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

/** The file's head of one chunk (RFC 9649, RFC 6386 9.1). */
function webp(kind: "VP8 " | "VP8L" | "VP8X", width: number, height: number): Uint8Array<ArrayBuffer> {
  const body = Buffer.alloc(10);
  if (kind === "VP8 ") {
    body.set([0, 0, 0, 0x9d, 0x01, 0x2a]);
    // The two bits above a side say how it is shown.
    body.writeUInt16LE(width | 0x4000, 6);
    body.writeUInt16LE(height | 0x8000, 8);
  } else if (kind === "VP8L") {
    body[0] = 0x2f;
    // Behind both sides: that it has alpha.
    body.writeUInt32LE(((width - 1) | ((height - 1) << 14) | (1 << 28)) >>> 0, 1);
  } else {
    body.writeUIntLE(width - 1, 4, 3);
    body.writeUIntLE(height - 1, 7, 3);
  }
  const head = Buffer.from(`RIFF\0\0\0\0WEBP${kind}\x0a\0\0\0`, "latin1");
  head.writeUInt32LE(22, 4);
  return new Uint8Array(Buffer.concat([head, body]));
}

test("a WebP's sides, each bit of them, by its three kinds of header: where pixels are read and where texts are", async () => {
  for (const kind of ["VP8 ", "VP8L", "VP8X"] as const) {
    // 16383 is the format's own limit.
    for (let bit = 1; bit < 2 ** 14; bit *= 2) {
      for (const [width, height] of [
        [bit, 1],
        [2, bit + 1],
        [16_383 & (bit - 1) || 1, 16_383 & ~(bit - 1) || 1],
      ] as const) {
        if (width > 16_383 || height > 16_383 || width * height > 2 ** 26) continue;
        const file = webp(kind, width, height);
        assert.deepEqual(readPictureHeader(file, "a.webp"), { format: "WebP", width, height, animated: false }, kind);
        const texts = await readWebpTexts(memorySource("a.webp", file));
        assert.deepEqual([texts.width, texts.height, texts.notes], [width, height, []], kind);
      }
    }
  }
});
