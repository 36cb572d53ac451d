/** @file Pictures that come in: Pillow's pixels of every kind, and hostile files. Fixtures by scripts/golden/picture_golden.py. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import sharp from "sharp";
import { ArtifactError, UsageError } from "../../src/errors.ts";
import { overWhite } from "../../src/image/picture.ts";
import { decodeBytes, MAX_PICTURE_BYTES, readPictureHeader } from "../../src/image/picture-header.ts";
import { checker } from "../../src/job/schema.ts";
import { valueFromText } from "../../src/job/text.ts";
import { readPictureBytes } from "../../src/node/picture-files.ts";
import { readPicture } from "../../src/node/pictures.ts";
import { sameBytes } from "../support/same.ts";
import { randomOf } from "../unit/store-fixture.ts";

interface Read {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly bytes: string;
}

const FIXTURES = new URL("../../fixtures/pictures/", import.meta.url);
const fixture = (name: string) => new Uint8Array(readFileSync(new URL(name, FIXTURES)));
const golden = JSON.parse(readFileSync(new URL("golden.json", FIXTURES), "utf8")) as {
  readonly read: Readonly<Record<string, Read>>;
};

/** What is said of each kind; the others pass without a word. */
const NOTES: Readonly<Record<string, readonly RegExp[]>> = {
  "alpha.png": [/transparent parts/],
  "alpha.webp": [/transparent parts/],
  "grey-alpha.png": [/transparent parts/],
  "palette-clear.png": [/transparent parts/],
  "frames.webp": [/animated WebP: its first frame/],
  "frames.png": [/animated PNG: its first frame/],
  "cmyk.jpg": [/CMYK/],
  "deep.png": [/cut to 8/],
  "other-profile.png": [/profile is passed over/],
  ...Object.fromEntries([2, 3, 4, 5, 6, 7, 8].map((n) => [`turned-${n}.jpg`, [new RegExp(`EXIF orientation ${n}`)]])),
  "turned-6.png": [/EXIF orientation 6/],
  "turned-6.webp": [/EXIF orientation 6/],
};

for (const [name, expected] of Object.entries(golden.read)) {
  test(`${name}: Pillow's pixels`, async () => {
    const { width, height, rgb, alpha, notes } = await readPicture(fixture(name), { name, alpha: "apart" });
    assert.deepEqual({ width, height }, { width: expected.width, height: expected.height });
    const pixels = new Uint8Array(Buffer.from(expected.bytes, "base64"));
    const channel = (from: number, count: number) =>
      Uint8Array.from({ length: width * height * count }, (_, at) => {
        return pixels[Math.floor(at / count) * expected.channels + from + (at % count)]!;
      });
    sameBytes(rgb, channel(0, 3));
    if (expected.channels === 4) sameBytes(alpha ?? new Uint8Array(0), channel(3, 1), "alpha");
    else assert.equal(alpha, undefined);
    const wanted = NOTES[name] ?? [];
    assert.equal(notes.length, wanted.length, notes.join("; "));
    for (const [i, pattern] of wanted.entries()) assert.match(notes[i]!, pattern);
  });
}

test("transparent parts become white, alpha stays known", async () => {
  const apart = await readPicture(fixture("alpha.png"), { name: "a", alpha: "apart" });
  const { rgb, alpha, notes } = await readPicture(fixture("alpha.png"), { name: "a" });
  sameBytes(alpha!, apart.alpha!);
  sameBytes(
    rgb,
    Uint8Array.from(apart.rgb, (value, at) => overWhite(value, alpha![Math.floor(at / 3)]!)),
  );
  assert.deepEqual([overWhite(10, 0), overWhite(10, 255), overWhite(0, 128), overWhite(200, 1)], [255, 10, 127, 255]);
  assert.match(notes.join(), /laid over white/);
});

const refused = (code: string, about: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ArtifactError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, about);
  return true;
};

test("every cut of a picture is refused, but behind its last pixel", async () => {
  for (const name of ["smooth-420.jpg", "alpha.png", "lossy.webp", "alpha.webp", "progressive.jpg"]) {
    const whole = fixture(name);
    for (let length = 0; length < whole.length - 16; length += 13) {
      await assert.rejects(
        readPicture(whole.slice(0, length), { name }),
        refused(length < 12 ? "E_IMAGE_KIND" : "E_IMAGE", /./),
      );
    }
  }
});

test("changed bytes give a picture of the told size or a refusal, never another error", async () => {
  const random = randomOf(11);
  for (const name of ["turned-6.jpg", "palette.png", "lossy.webp", "turned-6.webp", "frames.webp"]) {
    for (let round = 0; round < 60; round++) {
      const bytes = fixture(name);
      for (let flips = 0; flips < 4; flips++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      try {
        const { width, height, rgb } = await readPicture(bytes, { name });
        assert.equal(rgb.length, width * height * 3);
      } catch (error) {
        assert.ok(error instanceof ArtifactError, `${name}: ${String(error)}`);
      }
    }
  }
});

function png(width: number, height: number): Uint8Array<ArrayBuffer> {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(data.length, 0);
    ends.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from("89504e470d0a1a0a", "hex");
  const parts = [signature, chunk("IHDR", header), chunk("IDAT", Buffer.alloc(9)), chunk("IEND", Buffer.alloc(0))];
  return new Uint8Array(Buffer.concat(parts));
}

test("huge dimensions are refused from the header, before anything is allocated", async () => {
  const before = process.memoryUsage().rss;
  for (const [width, height] of [
    [100_000, 100_000],
    [2 ** 32 - 1, 1],
    [16_384, 16_384],
    [16_385, 1],
  ] as const) {
    await assert.rejects(readPicture(png(width, height), { name: "bomb.png" }), refused("E_IMAGE_SIZE", /too large/));
  }
  const jpeg = fixture("smooth-420.jpg");
  const at = Buffer.from(jpeg).indexOf(Buffer.from("ffc0", "hex"));
  new DataView(jpeg.buffer).setUint32(at + 5, 0xffff_ffff);
  await assert.rejects(readPicture(jpeg, { name: "bomb.jpg" }), refused("E_IMAGE_SIZE", /65535 x 65535/));
  const webp = fixture("turned-6.webp");
  webp.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 24);
  await assert.rejects(readPicture(webp, { name: "bomb.webp" }), refused("E_IMAGE_SIZE", /16777216 x 16777216/));
  assert.ok(process.memoryUsage().rss - before < 64e6);
  await assert.rejects(readPicture(png(0, 5), { name: "none.png" }), refused("E_IMAGE", /0 x 5/));
});

test("a header that claims less than its pixels are is not believed", async () => {
  // The canvas of an extended WebP is 1 x 1, its picture 29 x 21.
  const webp = fixture("turned-6.webp");
  webp.set([0, 0, 0, 0, 0, 0], 24);
  await assert.rejects(readPicture(webp, { name: "small.webp" }), refused("E_IMAGE", /./));
});

test("other formats never reach a decoder", async () => {
  const text = (content: string) => new Uint8Array(Buffer.from(content, "latin1"));
  const svg = text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>');
  await assert.rejects(readPicture(svg, { name: "x.png" }), refused("E_IMAGE_KIND", /an SVG/));
  await assert.rejects(readPicture(text("GIF89a"), { name: "x" }), refused("E_IMAGE_KIND", /a GIF/));
  await assert.rejects(readPicture(text("%PDF-1.7 ............"), { name: "x" }), refused("E_IMAGE_KIND", /a PDF/));
  await assert.rejects(readPicture(new Uint8Array(0), { name: "x" }), refused("E_IMAGE_KIND", /empty/));
  // Not only by us: sharp's own loaders of them are shut.
  await assert.rejects(sharp(svg).raw().toBuffer(), /unsupported image format/);
  // It keeps no memory that a budget doesn't know of, and takes one core.
  const { memory, files, items } = sharp.cache();
  assert.deepEqual([memory.max, files.max, items.max, sharp.concurrency()], [0, 0, 0, 1]);
});

test("EXIF that goes deep, points everywhere or never ends costs nothing", async () => {
  const jpeg = Buffer.from(fixture("turned-6.jpg"));
  const exif = jpeg.indexOf("Exif");
  // Each directory's next one is itself; offsets point behind the end.
  for (const fill of [0x08, 0xff, 0x00, 0x2a]) {
    const bent = new Uint8Array(jpeg);
    bent.fill(fill, exif + 14, exif + 30);
    const { width, height } = await readPicture(bent, { name: "deep.jpg" });
    assert.equal(width * height, 29 * 21);
  }
  // 60 segments of 64 KiB of nested directories before the picture.
  const body = Buffer.alloc(65_533, Buffer.from("4d4d002a00000008", "hex"));
  body.write("Exif\0\0", 0, "latin1");
  const segment = Buffer.concat([Buffer.from([0xff, 0xe1, 0xff, 0xff]), body]);
  const many = Buffer.concat([jpeg.subarray(0, 2), ...Array.from({ length: 60 }, () => segment), jpeg.subarray(2)]);
  const found = await readPicture(new Uint8Array(many), { name: "many.jpg" });
  assert.equal(found.width * found.height, 29 * 21);
});

test("what decoding takes is known from the header", () => {
  const header = readPictureHeader(fixture("turned-6.jpg"), "x");
  assert.deepEqual(header, { format: "JPEG", width: 29, height: 21, animated: false });
  assert.equal(decodeBytes(header), 29 * 21 * 24);
  assert.equal(readPictureHeader(fixture("lossy.webp"), "x").width, 29);
  assert.equal(readPictureHeader(fixture("turned-6.webp"), "x").height, 21);
});

test("a job's picture is a file, its bytes or an asset", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "solvay-pictures-"));
  try {
    const bytes = fixture("grey.png");
    await writeFile(path.join(folder, "a.png"), bytes);
    const read = (text: string, assets?: (sha256: string) => Promise<Uint8Array<ArrayBuffer> | undefined>) =>
      readPictureBytes("--init-image", text, { cwd: folder, ...(assets && { assets }) });
    sameBytes((await read("a.png")).bytes, bytes);
    const url = `data:image/png;base64,${Buffer.from(bytes).toString("base64")}`;
    sameBytes((await read(url)).bytes, bytes);
    const hash = "ab".repeat(32);
    sameBytes((await read(`sha256:${hash}`, async (asked) => (asked === hash ? bytes : undefined))).bytes, bytes);
    const usage = (about: RegExp) => (error: unknown) =>
      error instanceof UsageError && error.code === "E_PICTURE" && about.test(error.message);
    await assert.rejects(read(`sha256:${hash}`), usage(/a server's/));
    await assert.rejects(read("sha256:12"), usage(/64 hexadecimal/));
    await assert.rejects(read("https://example.org/a.png"), usage(/not fetched/));
    await assert.rejects(read("data:text/html;base64,AAAA"), usage(/image\/png/));
    await assert.rejects(read(`${url}=`), usage(/cut/));
    await assert.rejects(read("data:image/png;base64,AA*A"), usage(/other characters/));
    await assert.rejects(read(""), usage(/no file/));
    await assert.rejects(read("none.png"), (error: unknown) => (error as ArtifactError).code === "E_MISSING");
    await assert.rejects(read("."), (error: unknown) => (error as ArtifactError).code === "E_NOT_A_FILE");
    // One byte more than a picture may have, none of them read.
    await writeFile(path.join(folder, "huge.png"), "");
    await truncate(path.join(folder, "huge.png"), MAX_PICTURE_BYTES + 1);
    const found = `found ${MAX_PICTURE_BYTES + 1} bytes, allowed ${MAX_PICTURE_BYTES}`;
    await assert.rejects(read("huge.png"), refused("E_IMAGE_SIZE", new RegExp(found)));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a field for a picture takes one string, from a flag or in a job", () => {
  const kind = { type: "picture" } as const;
  const check = checker({ code: "E_JOB", what: "a job", fields: { initImage: { kind, description: "a picture" } } });
  assert.deepEqual(check({ initImage: "a.png" }), { initImage: "a.png" });
  assert.throws(() => check({ initImage: 3 }), /initImage: a picture: a file, a data: URL/);
  assert.equal(valueFromText(kind, "--init-image", "b/c.webp"), "b/c.webp");
  assert.throws(() => valueFromText(kind, "--init-image", "sha256:1"), /E_PICTURE --init-image/);
});

test("a large data: URL is put together piece by piece", async () => {
  const bytes = Uint8Array.from({ length: 300_001 }, (_, i) => i % 251);
  const text = `data:image/webp;base64,${Buffer.from(bytes).toString("base64")}`;
  sameBytes((await readPictureBytes("initImage", text, { cwd: "/" })).bytes, bytes);
});
