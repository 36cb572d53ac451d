/** @file Pictures as JPEG and WebP: what is written beside the pixels is read back by A1111's tools and by us, and equal pictures are equal files. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exifBlock } from "../../src/image/metadata/exif-block.ts";
import { readPictureTexts } from "../../src/image/metadata/picture-texts.ts";
import { encoderBytesPerPixel, type PictureEncoding } from "../../src/image/picture-writer.ts";
import { openPictureWriter } from "../../src/node/picture-writer.ts";
import { readPicture } from "../../src/node/pictures.ts";
import { memorySource } from "../../src/source/memory.ts";
import { sameBytes } from "../support/same.ts";

const SIZE = { width: 24, height: 16 };
const RGB = Uint8Array.from({ length: 3 * 24 * 16 }, (_, at) => (at * 7) % 256);
const INFOTEXT =
  'a "cat" & <b>, 山\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 24x16';
const JSON_TEXT = '{"version":"0.1.0","prompt":" a <b> & \\n\\u0001 c "}';
const TEXT = [
  { keyword: "parameters", text: INFOTEXT },
  { keyword: "solvay", text: JSON_TEXT },
];
const CHOICES = [
  ["jpeg", {}],
  ["webp", {}],
  ["webp", { lossless: true }],
] as const;

/** piexif.dump({"Exif": {UserComment: piexif.helper.UserComment.dump("aé\nSteps: 3", encoding="unicode")}}) of piexif 1.1.3, as A1111 calls it. */
const PIEXIF =
  "457869660000" +
  "4d4d002a00000008000187690004000000010000001a00000000000192860007" +
  "0000001e00000028554e49434f444500006100e9000a00530074006500700073003a00200033";

test("an infotext in EXIF is piexif's, byte for byte", () => {
  const block = exifBlock([{ keyword: "parameters", text: "aé\nSteps: 3" }]);
  assert.equal(Buffer.from(block!).toString("hex"), PIEXIF);
});

for (const [format, how] of CHOICES) {
  const name = `${format}${"lossless" in how ? ", lossless" : ""}`;
  test(`${name}: texts come back, equal pictures give equal files, pixels are near or the same`, async () => {
    const writer = await openPictureWriter({ format, ...how });
    const bytes = await writer.write({ ...SIZE, rgb: RGB, text: TEXT });
    sameBytes(await writer.write({ ...SIZE, rgb: RGB, text: TEXT }), bytes, "written again");
    const read = await readPictureTexts(memorySource("x", bytes));
    assert.deepEqual([read.width, read.height, read.notes], [24, 16, []]);
    assert.deepEqual(read.texts, [
      { keyword: "UserComment", text: INFOTEXT },
      { keyword: "solvay", text: JSON_TEXT },
    ]);
    assert.match(writer.encoder!, /^sharp \d+\.\d+\.\d+$/);
    const { rgb } = await readPicture(bytes, { name: "x" });
    if ("lossless" in how) sameBytes(rgb, RGB, "pixels");
    else assert.equal(rgb.length, RGB.length);
  });
}

test("alpha: a WebP keeps it, behind a JPEG there is white", async () => {
  const alpha = new Uint8Array(24 * 16);
  alpha[0] = 255;
  const picture = { ...SIZE, rgb: new Uint8Array(RGB.length), alpha, text: TEXT };
  for (const lossless of [true, false]) {
    const webp = await (await openPictureWriter({ format: "webp", lossless })).write(picture);
    const read = await readPicture(webp, { name: "x", alpha: "apart" });
    sameBytes(read.alpha!, alpha, "alpha");
    assert.equal((await readPictureTexts(memorySource("x", webp))).texts.length, 2);
  }
  const jpeg = await (await openPictureWriter({ format: "jpeg" })).write(picture);
  const { rgb } = await readPicture(jpeg, { name: "x" });
  assert.ok(rgb.at(-1)! > 250, `${rgb.at(-1)}`);
});

test("behind a JPEG's every pixel there is as much white as its own alpha leaves", async () => {
  // Blocks of 8 x 8, as JPEG has them, each of one cover: black on white is 255 less the cover.
  const coverAt = (x: number, y: number) => (Math.floor(y / 8) * 3 + Math.floor(x / 8)) * 51;
  const alpha = Uint8Array.from({ length: 24 * 16 }, (_, at) => coverAt(at % 24, Math.floor(at / 24)));
  const writer = await openPictureWriter({ format: "jpeg", quality: 100 });
  const { rgb } = await readPicture(await writer.write({ ...SIZE, rgb: new Uint8Array(RGB.length), alpha, text: [] }), {
    name: "x",
  });
  for (const [at, value] of rgb.entries())
    assert.ok(Math.abs(value - (255 - alpha[Math.floor(at / 3)]!)) <= 3, `${at}: ${value}`);
});

test("a JPEG says which texts it can't hold, and is written without them; quality makes it smaller", async () => {
  const long = [{ keyword: "parameters", text: "é".repeat(32_800) }];
  const jpeg = await openPictureWriter({ format: "jpeg" });
  assert.deepEqual(jpeg.lost(long), ["texts of 65654 bytes are too long for a JPEG (allowed 65533)"]);
  const bytes = await jpeg.write({ ...SIZE, rgb: RGB, text: [...long, TEXT[1]!] });
  const { texts } = await readPictureTexts(memorySource("x", bytes));
  assert.deepEqual(texts, [{ keyword: "solvay", text: JSON_TEXT }]);
  const webp = await openPictureWriter({ format: "webp" });
  assert.deepEqual(webp.lost([...long, { keyword: "two words", text: "" }]), [
    'the text "two words" has no place in a JPEG or WebP',
  ]);
  for (const format of ["jpeg", "webp"] as const) {
    const sizeAt = async (quality: number) =>
      (await (await openPictureWriter({ format, quality })).write({ ...SIZE, rgb: RGB, text: [] })).length;
    assert.ok((await sizeAt(20)) < (await sizeAt(95)), format);
  }
});

test("what an encoder takes is known by format", () => {
  const of = (format: PictureEncoding, lossless = false) => encoderBytesPerPixel({ format, lossless });
  assert.deepEqual([of("png"), of("jpeg"), of("webp"), of("webp", true)], [9, 16, 22, 50]);
});
