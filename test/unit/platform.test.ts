/** @file Node's and the browser's deflate streams and hashes agree: Node 24 has the Web APIs that the browser's are made of. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as browserHash from "../../src/browser/hash.ts";
import * as browserZlib from "../../src/browser/zlib.ts";
import * as nodeHash from "../../src/node/hash.ts";
import * as nodeZlib from "../../src/node/zlib.ts";
import { fromHex, toHex } from "../../src/source/hex.ts";
import type { DeflateFormat } from "../../src/source/platform.ts";
import { sameBytes } from "../support/same.ts";

/** Somewhat compressible bytes. */
function bytesOf(length: number): Uint8Array<ArrayBuffer> {
  let state = length + 1;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 24) % 23;
  });
}

const LENGTHS = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_003];
const FORMATS: readonly DeflateFormat[] = ["zlib", "raw"];
const PLATFORMS = { node: nodeZlib, browser: browserZlib };

test("each platform unpacks what the other packed", async () => {
  for (const length of LENGTHS) {
    const plain = bytesOf(length);
    for (const format of FORMATS) {
      for (const writer of [nodeZlib, browserZlib]) {
        for (const huffmanOnly of [false, true]) {
          const packed = await writer.deflate(plain, { format, huffmanOnly });
          for (const reader of [nodeZlib, browserZlib]) {
            const found = await reader.inflate(packed, { format, maxBytes: Math.max(1, length), likelyBytes: length });
            assert.ok(found instanceof Uint8Array, JSON.stringify(found));
            sameBytes(found, plain);
          }
        }
      }
    }
  }
});

test("without a hint both write the same zlib stream: a picture's bytes don't hang on the platform", async () => {
  for (const length of LENGTHS) {
    const packed = await Promise.all(
      [nodeZlib, browserZlib].map(({ deflate }) => deflate(bytesOf(length), { format: "zlib" })),
    );
    sameBytes(packed[0]!, packed[1]!);
  }
});

for (const [name, { deflate, inflate }] of Object.entries(PLATFORMS)) {
  test(`${name}: streams that are too long, damaged, cut, or followed by something`, async () => {
    for (const format of FORMATS) {
      const packed = await deflate(bytesOf(5000), { format });
      const kindOf = async (bytes: Uint8Array, maxBytes = 5000) => {
        const found = await inflate(bytes, { format, maxBytes });
        return found instanceof Uint8Array ? found.byteLength : found.kind;
      };
      assert.equal(await kindOf(packed), 5000);
      assert.equal(await kindOf(packed, 6000), 5000);
      assert.equal(await kindOf(packed, 4999), "long");
      assert.equal(await kindOf(packed.subarray(0, -5)), "damaged");
      assert.equal(await kindOf(Uint8Array.of(0xff, ...packed)), "damaged");
      assert.match(String(await kindOf(Uint8Array.of(...packed, 0))), name === "node" ? /^trailing$/ : /^damaged$/);
      const bomb = await deflate(new Uint8Array(20_000_000), { format });
      // In the first piece that comes out, and in a later one.
      for (const maxBytes of [100, 300_000]) assert.equal(await kindOf(bomb, maxBytes), "long");
    }
  });
}

test("memory that threads share is packed and unpacked, and parts of larger memory", async () => {
  const shared = new Uint8Array(new SharedArrayBuffer(1000)).fill(7);
  for (const { deflate, inflate } of Object.values(PLATFORMS)) {
    const found = await inflate(await deflate(shared, { format: "raw" }), { format: "raw", maxBytes: 1000 });
    assert.deepEqual(Uint8Array.from(found as Uint8Array), Uint8Array.from(shared));
    // Nor is what lies around the bytes in their memory part of them.
    const within = bytesOf(1000).subarray(100, 900);
    const packed = await deflate(within, { format: "raw" });
    const around = new Uint8Array(packed.byteLength + 20).fill(9);
    around.set(packed, 10);
    const cut = around.subarray(10, 10 + packed.byteLength);
    sameBytes((await inflate(cut, { format: "raw", maxBytes: 800 })) as Uint8Array, within);
  }
});

test("CRC-32: the check value, both alike, and one after the other", () => {
  for (const { crc32 } of Object.values(PLATFORMS)) {
    assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
    assert.equal(crc32(new Uint8Array(0)), 0);
    for (const length of LENGTHS) {
      const bytes = bytesOf(length);
      assert.equal(crc32(bytes), nodeZlib.crc32(bytes));
      const half = length >> 1;
      assert.equal(crc32(bytes.subarray(half), crc32(bytes.subarray(0, half))), crc32(bytes));
    }
  }
});

test("SHA-256: both as node:crypto has it, whole and in pieces", async () => {
  for (const { sha256, sha256Hex, sha256Digest } of [nodeHash, browserHash]) {
    assert.equal(sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert.equal(sha256Hex("höhe 山"), createHash("sha256").update("höhe 山").digest("hex"));
    for (const length of LENGTHS) {
      const bytes = bytesOf(length);
      const expected = createHash("sha256").update(bytes).digest("hex");
      assert.equal(sha256Hex(bytes), expected);
      assert.equal(toHex(await sha256Digest(bytes)), expected);
      const cut = Math.floor(length / 3);
      assert.equal(sha256().update(bytes.subarray(0, cut)).update(bytes.subarray(cut)).digestHex(), expected);
    }
  }
});

test("hexadecimal digits go there and back", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  assert.equal(toHex(bytes), Buffer.from(bytes).toString("hex"));
  assert.deepEqual(fromHex(toHex(bytes)), bytes);
});
