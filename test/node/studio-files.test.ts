/** @file The studio's files as a server gives them: packed for who takes that, kept for good where the name tells the content, or an error in words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { StudioFiles } from "../../src/server/studio/studio-files.ts";

const { signal } = new AbortController();

async function bytesOf(answer: Response | undefined): Promise<Uint8Array> {
  return new Uint8Array(await answer!.arrayBuffer());
}

test("files come packed, and hashed ones for good", async () => {
  const files = await StudioFiles.open(signal);
  const page = await files.answer("/", "");
  const html = await page!.text();
  assert.equal(page!.headers.get("cache-control"), "no-cache");
  const [, script = ""] = /src="(\/assets\/[^"]+\.js)"/.exec(html) ?? [];
  const plain = await bytesOf(await files.answer(script, ""));
  const packed = await files.answer(script, "gzip, deflate, br");
  assert.equal(packed!.headers.get("content-encoding"), "br");
  assert.match(packed!.headers.get("cache-control")!, /immutable/);
  assert.deepEqual(brotliDecompressSync(await bytesOf(packed)), Buffer.from(plain));
  assert.deepEqual(gunzipSync(await bytesOf(await files.answer(script, "gzip"))), Buffer.from(plain));
  for (const other of ["/../package.json", "/files.json", "/assets/", "/%2e%2e/package.json"]) {
    assert.equal(await files.answer(other, "br"), undefined, other);
  }
});

test("what can't be built is told", async () => {
  await assert.rejects(StudioFiles.open(signal, "/no/such/builder.ts"), { code: "E_STUDIO" });
});
