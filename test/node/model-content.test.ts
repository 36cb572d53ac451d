/** @file Whether a model's files are what they were: every change that matters is seen, in samples of large files, too, and nothing else. */
import assert from "node:assert/strict";
import { renameSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { contentOf } from "../../src/node/model-content.ts";
import { madeFolder } from "../support/made-folder.ts";

const SMALL = new Uint8Array(2 ** 20).fill(7);
/** Beyond a megabyte 16 samples of 64 KiB are read. */
const LARGE = new Uint8Array(3 * 2 ** 20 + 5).fill(7);

const FILES = {
  "model_index.json": "{}",
  "unet/w.safetensors": SMALL,
  "vae/w.safetensors": SMALL,
  "vae/vocab.txt": "a",
};

test("the same files are the same model: elsewhere, at another time, made in another order, beside other things", async (t) => {
  const content = await contentOf([madeFolder(t, FILES)]);
  const again = madeFolder(t, Object.fromEntries(Object.entries(FILES).toReversed()));
  for (const other of ["README.md", "unet/preview.png"]) writeFileSync(path.join(again, other), "more");
  utimesSync(path.join(again, "model_index.json"), 1, 1);
  assert.equal(await contentOf([again]), content);
});

test("a file that is changed, renamed, moved, added or gone is another model", async (t) => {
  const changed = (at: number) => {
    const bytes = SMALL.slice();
    bytes[at] = 8;
    return bytes;
  };
  const others: readonly Readonly<Record<string, string | Uint8Array>>[] = [
    { ...FILES, "model_index.json": "[]" },
    { ...FILES, "vae/vocab.txt": "b" },
    // Of up to a megabyte every byte is looked at.
    ...[0, 500_001, SMALL.length - 1].map((at) => ({ ...FILES, "unet/w.safetensors": changed(at) })),
    { ...FILES, "unet/w.safetensors": SMALL.subarray(1) },
    ...["bin", "pt", "ckpt", "pth", "json", "model", "lzr2"].map((ending) => ({ ...FILES, [`more.${ending}`]: "" })),
  ];
  const contents = await Promise.all([FILES, ...others].map((files) => contentOf([madeFolder(t, files)])));
  assert.equal(new Set(contents).size, 1 + others.length);
  const moved = madeFolder(t, FILES);
  renameSync(path.join(moved, "vae/vocab.txt"), path.join(moved, "unet/vocab.txt"));
  assert.notEqual(await contentOf([moved]), contents[0]);
  // Of files by themselves the order tells whose they are.
  const [a, b] = ["model_index.json", "vae/vocab.txt"].map((name) => path.join(madeFolder(t, FILES), name));
  assert.notEqual(await contentOf([a!, b!]), await contentOf([b!, a!]));
  await assert.rejects(contentOf([path.join(moved, "none")]), { code: "ENOENT" });
});

test("samples of a large file: its first and last bytes, and fourteen places evenly between", async (t) => {
  const file = path.join(madeFolder(t, { "w.safetensors": LARGE }), "w.safetensors");
  const content = await contentOf([file]);
  const contentWith = async (at: number) => {
    const changed = LARGE.slice();
    changed[at] = 8;
    writeFileSync(file, changed);
    return await contentOf([file]);
  };
  // 3 * 2^20 + 5 - 65536 is 3080197: the last sample's first byte.
  const starts = Array.from({ length: 16 }, (_, i) => Math.floor((3_080_197 * i) / 15));
  for (const start of starts.filter((_, i) => i % 3 === 0))
    assert.notEqual(await contentWith(start), content, `${start}`);
  assert.notEqual(await contentWith(LARGE.length - 1), content);
  // Between the first two of them nobody looks.
  assert.equal(await contentWith(100_000), content);
});
