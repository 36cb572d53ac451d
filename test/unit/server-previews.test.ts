/**
 * @file Previews, thumbnails and the folder of pictures: a pixel a cell is enlarged, what a tiny decoder made is as large as the picture; those of stopped jobs stay for a
 * while, in bounded memory.
 */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { readPictureHeader } from "../../src/image/picture-header.ts";
import { decodePng } from "../../src/image/png.ts";
import { loadSharp } from "../../src/node/sharp.ts";
import { folderStore } from "../../src/server/pictures/picture-store.ts";
import { smallPicture } from "../../src/server/pictures/thumbnails.ts";
import { Previews, previewPng } from "../../src/server/work/previews.ts";

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

test("what a stopped job looked like last stays, the latest ones, in no more than 16 MiB; a picture takes its place", () => {
  const previews = new Previews();
  const preview = (side: number) => ({
    step: 1,
    steps: 2,
    width: side,
    height: side,
    rgb: new Uint8Array(3 * side * side),
  });
  previews.set("drawn", preview(8));
  previews.end("drawn", true);
  previews.end("without", false);
  assert.deepEqual([previews.get("drawn"), previews.get("without")], [undefined, undefined]);
  const end = (names: readonly string[], side: number) => {
    for (const name of names) {
      previews.set(name, preview(side));
      previews.end(name, false);
    }
    return names.filter((name) => previews.get(name)).length;
  };
  const names = (letter: string, count: number) => Array.from({ length: count }, (_, i) => `${letter}${i}`);
  assert.equal(end(names("small", 70), 8), 64);
  assert.ok(previews.get("small69") && !previews.get("small5"));
  // 3 MiB each: five of them are 15.
  assert.equal(end(names("large", 8), 1024), 5);
  assert.equal(previews.get("small69"), undefined);
  // Asked for again, it counts as running.
  previews.set("large7", preview(8));
  assert.equal(end(names("other", 64), 8), 64);
  assert.equal(previews.get("large7")?.width, 8);
});

test("a thumbnail has the picture's shape within 384 pixels, turned as its camera says, and is never larger than the picture", async () => {
  const sharp = await loadSharp("makes a picture");
  const picture = async (width: number, height: number, orientation: number) => {
    const made = sharp({ create: { width, height, channels: 3, background: "red" } });
    return new Uint8Array(await made.withMetadata({ orientation }).jpeg().toBuffer());
  };
  for (const [width, height, orientation, wide, high] of [
    [800, 400, 1, 384, 192],
    [400, 800, 1, 192, 384],
    [800, 400, 6, 192, 384],
    [96, 64, 1, 96, 64],
  ] as const) {
    const small = readPictureHeader(await smallPicture(await picture(width, height, orientation)), "small");
    assert.deepEqual([small.format, small.width, small.height], ["WebP", wide, high]);
  }
});

test("what can't be read is a fault, what isn't there is none; what is put is whole, in all its pieces", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "solvay-pictures-"));
  t.after(() => rm(folder, { recursive: true }));
  const store = folderStore(folder);
  await mkdir(path.join(folder, "a.png"));
  await assert.rejects(store.get("a.png"), { code: "EISDIR" });
  assert.equal(await store.get("b.png"), undefined);
  await store.put("c/d.png", [Buffer.from("one, "), Buffer.from("two")]);
  assert.equal(String(Buffer.from((await store.get("c/d.png"))!)), "one, two");
});
