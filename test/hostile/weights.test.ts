/** @file Hostile weight files: every refusal by name, ids as in the project's list of bad inputs (B01 to B23). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { readLzr2 } from "../../src/container/lzr2.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import { sniffContainer } from "../../src/container/sniff.ts";
import { memorySource } from "../../src/source/memory.ts";
import type { ByteSource } from "../../src/source/source.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { searched } from "../support/thorough.ts";
import { artifactBytes, f32, type RawRecord, readAll, recordBytes, u16, u32 } from "../unit/lzr2-fixture.ts";

const bytesOf = (data: string | readonly number[]) => Uint8Array.from(Buffer.from(data as string, "latin1"));

/** A safetensors file from header text; `headerBytes` is what its length field claims. */
function safetensors(header: string | Uint8Array, dataBytes = 0, headerBytes?: bigint): Uint8Array<ArrayBuffer> {
  const raw = Buffer.from(header as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerBytes ?? BigInt(raw.length));
  return Uint8Array.from(Buffer.concat([length, raw, Buffer.alloc(dataBytes)]));
}

const entry = (dtype: string, shape: string, offsets: string) =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
const one = (dtype: string, shape: string, offsets: string) => `{"w":${entry(dtype, shape, offsets)}}`;
const good = one("U8", "[4]", "[0,4]");

const SAFETENSORS: readonly [name: string, bytes: Uint8Array<ArrayBuffer>, error: RegExp][] = [
  ["B20 header of one byte", safetensors("{}", 4, 1n), /E_ST_HEADER/],
  ["B20 header longer than the file", safetensors(good, 4, 5000n), /E_TRUNCATED .*found 5000 bytes/],
  ["B20 header beyond 100 MB", safetensors(good, 4, 100_000_001n), /E_ST_HEADER/],
  ["B20 header beyond 2^53", safetensors(good, 4, 2n ** 64n - 1n), /E_ST_HEADER/],
  ["B20 first byte a space", safetensors(` ${good}`, 4), /E_ST_HEADER/],
  ["B20 byte order mark", safetensors(`\ufeff${good}`, 4), /E_ST_HEADER/],
  [
    "B20 not UTF-8",
    safetensors(Buffer.concat([Buffer.from('{"'), Buffer.from([0xff]), Buffer.from(good.slice(2))]), 4),
    /E_ST_HEADER .*UTF-8/,
  ],
  ["B20 nesting", safetensors(`{"w":${"[".repeat(9)}`, 4), /E_ST_HEADER .*nested/],
  ["B20 deep nesting", safetensors(`{"w":${"[".repeat(1_000_000)}`, 4), /E_ST_HEADER .*nested/],
  ...["NaN", "1e400", "1e1", "4.0", "-4", "9007199254740993", "04", "true", "null", '"4"'].map(
    (number): [string, Uint8Array<ArrayBuffer>, RegExp] => [
      `B20 number ${number}`,
      safetensors(one("U8", `[${number}]`, "[0,4]"), 4),
      /E_ST_HEADER/,
    ],
  ),
  [
    "B04 duplicate tensor",
    safetensors(`{"w":${entry("U8", "[4]", "[0,4]")},"w":${entry("F32", "[1]", "[0,4]")}}`, 4),
    /E_DUP_KEY .*"w" stands twice: 52 bytes earlier, and at byte 61/,
  ],
  [
    "B04 duplicate __proto__",
    safetensors(`{"__proto__":${entry("U8", "[4]", "[0,4]")},"__proto__":1}`, 4),
    /E_DUP_KEY/,
  ],
  ["B04 duplicate by escape", safetensors(`{"w":${entry("U8", "[4]", "[0,4]")},"\\u0077":1}`, 4), /E_DUP_KEY/],
  [
    "B04 duplicate field",
    safetensors('{"w":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}', 4),
    /E_DUP_KEY/,
  ],
  ["B20 unknown dtype", safetensors(one("F7", "[4]", "[0,4]"), 4), /E_ST_DTYPE .*"F7"/],
  ["B20 dtype of Object.prototype", safetensors(one("constructor", "[4]", "[0,4]"), 4), /E_ST_DTYPE/],
  ["B20 sub-byte dtype", safetensors(one("F4", "[3]", "[0,2]"), 2), /E_ST_DTYPE/],
  ["B20 unknown field", safetensors('{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}}', 4), /E_ST_HEADER/],
  ["B20 missing field", safetensors('{"w":{"dtype":"U8","shape":[4]}}', 4), /E_ST_HEADER/],
  ["B20 text after the header", safetensors(`${good}{}`, 4), /E_ST_HEADER .*after the end/],
  ["B20 unfinished", safetensors(good.slice(0, -1), 4), /E_ST_HEADER/],
  ["B21 gap at the front", safetensors(one("U8", "[3]", "[1,4]"), 4), /E_ST_HOLE/],
  [
    "B21 gap in the middle",
    safetensors(`{"a":${entry("U8", "[1]", "[0,1]")},"b":${entry("U8", "[1]", "[3,4]")}}`, 4),
    /E_ST_HOLE/,
  ],
  ["B21 bytes after the last tensor", safetensors(good, 5), /E_ST_HOLE/],
  [
    "B21 overlap",
    safetensors(`{"a":${entry("U8", "[3]", "[0,3]")},"b":${entry("U8", "[2]", "[2,4]")}}`, 4),
    /E_ST_OVERLAP/,
  ],
  ["B21 begin after end", safetensors(one("U8", "[4]", "[4,0]"), 4), /E_SIZE/],
  ["B21 bytes against shape", safetensors(one("F16", "[4]", "[0,4]"), 4), /E_SIZE .*needs 8 bytes/],
  [
    "B21 empty tensor amid another",
    safetensors(`{"a":${entry("U8", "[0]", "[2,2]")},"w":${entry("U8", "[4]", "[0,4]")}}`, 4),
    /E_ST_OVERLAP/,
  ],
  ["B20 dtype that the library spells otherwise", safetensors(one("F8_E4M3FN", "[4]", "[0,4]"), 4), /E_ST_DTYPE/],
  ["B20 half a byte", safetensors(one("F4", "[3]", "[0,1]"), 1), /E_ST_DTYPE .*does not end at a byte/],
  ["B20 a fraction for a size", safetensors(one("U8", "[4.0]", "[0,4]"), 4), /E_ST_HEADER .*shape is no list/],
  ["B20 a size beyond 2^53", safetensors(one("U8", "[9007199254740993]", "[0,4]"), 4), /E_ST_HEADER .*shape/],
  ["B20 a negative offset", safetensors(one("U8", "[4]", "[-4,0]"), 4), /E_ST_HEADER .*data_offsets/],
  ["B23 metadata with null", safetensors(`{"__metadata__":{"a":null},${good.slice(1)}`, 4), /E_ST_HEADER .*under "a"/],
  ["B23 metadata as a list", safetensors(`{"__metadata__":[],${good.slice(1)}`, 4), /E_ST_HEADER .*__metadata__/],
  ["B02 product beyond 2^53", safetensors(one("U8", "[4294967296,4294967296]", "[0,4]"), 4), /E_SIZE/],
  ["B01 data cut", safetensors(good, 3), /E_TRUNCATED .*file ends after/],
  [
    "B22 too many tensors",
    safetensors(`{${Array.from({ length: 200_002 }, (_, i) => `"${i}":0`).join()}}`, 0),
    /E_ST_HEADER .*too many entries \(allowed 200001\)/,
  ],
  [
    "B23 metadata not strings",
    safetensors(`{"__metadata__":{"a":1},${good.slice(1)}`, 4),
    /E_ST_HEADER .*__metadata__/,
  ],
  ["B23 metadata no object", safetensors(`{"__metadata__":"a",${good.slice(1)}`, 4), /E_ST_HEADER .*__metadata__/],
];

for (const [name, bytes, message] of SAFETENSORS) {
  test(`safetensors ${name}`, async () => {
    await assert.rejects(readSafetensorsHeader(memorySource("x.safetensors", bytes)), {
      name: "ArtifactError",
      message,
    });
  });
}

test("safetensors B01: every prefix is refused", async () => {
  const file = encodeSafetensors([{ name: "w", dtype: "f32", shape: [5], bytes: new Uint8Array(20) }]);
  await readSafetensorsHeader(memorySource("x", file));
  for (let length = 0; length < file.length; length++) {
    await assert.rejects(readSafetensorsHeader(memorySource("x", file.slice(0, length))), { name: "ArtifactError" });
  }
});

const FOREIGN: readonly [name: string, head: string, code: string][] = [
  ["pickle", "\x80\x02}q\x00(X\x05\x00\x00\x00state", "E_PICKLE_REFUSED"],
  ["pickle with { at byte 8", "\x80\x02}q\x00(X\x05{\x00\x00\x00state", "E_PICKLE_REFUSED"],
  ["pickle of the first protocol in bytes", "\x80\x01}q\x00(X\x05\x00\x00\x00state", "E_PICKLE_REFUSED"],
  ["pickle of protocol 4", "\x80\x04\x95\x1a\0\0\0\0\0\0\0}", "E_PICKLE_REFUSED"],
  ["pickle of protocol 5", "\x80\x05\x95\x1a\0\0\0\0\0\0\0}", "E_PICKLE_REFUSED"],
  ["zip", "PK\x03\x04archive/data.pkl", "E_PICKLE_REFUSED"],
  ["an empty zip", "PK\x05\x06\0\0\0\0\0\0\0\0", "E_PICKLE_REFUSED"],
  ["gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "E_GZIP"],
  ["web page", "<!DOCTYPE html><html>", "E_HTML"],
  ["web page with { at byte 8", "<html>\n\n{{ page }}", "E_HTML"],
  ["Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "E_LFS_POINTER"],
  ["GGUF", "GGUF\x03\x00\x00\x00\x00\x00\x00\x00", "E_GGUF"],
  ["a PNG", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "E_NOT_WEIGHTS"],
  ["a JPEG", "\xff\xd8\xff\xe0\0\x10JFIF\0", "E_NOT_WEIGHTS"],
  ["a WebP", "RIFF\x1a\0\0\0WEBPVP8L", "E_NOT_WEIGHTS"],
  ["an XML page", "<?xml version='1.0'?>", "E_HTML"],
  ["a GIF", "GIF89a\x01\0\x01\0", "E_NOT_WEIGHTS"],
  ["a config file", '{\n  "_class_name": "UNet2DConditionModel"', "E_NOT_WEIGHTS"],
  ["a list of users", "root:x:0:0:root:/root:/bin/bash\n", "E_NOT_WEIGHTS"],
  ["three bytes", "LZR", "E_TRUNCATED"],
];

for (const [name, head, code] of FOREIGN) {
  test(`B06 ${name} is ${code}, whatever its name says`, async () => {
    const source = memorySource("model.safetensors", bytesOf(head));
    await assert.rejects(sniffContainer(source), { name: "ArtifactError", code });
    await assert.rejects(readSafetensorsHeader(source), { name: "ArtifactError", code });
  });
}

test("B06 content decides the type", async () => {
  assert.equal(await sniffContainer(memorySource("x.safetensors", artifactBytes())), "lzr2");
  assert.equal(await sniffContainer(memorySource("x.lzr2", safetensors(good, 4))), "safetensors");
});

const base: RawRecord = { key: "k", shape: [2, 2], dp: 1, indices: [0, 1, 2, 0] };
const two = deflateSync(u16(0, 1, 2, 0));
const badAdler = Uint8Array.from(two);
badAdler[badAdler.length - 1]! ^= 1;

const LZR2: readonly [name: string, record: RawRecord | Uint8Array, error: RegExp][] = [
  ["B10 keyLen 0", { ...base, keyLen: 0 }, /E_LZR_HEADER .*record 1 at byte 4: keyLen 0, allowed 1\.\.1024/],
  ["B10 keyLen 4 GiB", { ...base, keyLen: 0xffffffff }, /E_LZR_HEADER .*keyLen 4294967295/],
  ["B10 key not UTF-8", { ...base, keyRaw: Uint8Array.of(0xc3, 0x28) }, /E_LZR_HEADER .*UTF-8/],
  ["B10 ndim 0", Buffer.concat([u32(1), Buffer.from("k"), u32(0), Buffer.from([0])]), /E_LZR_HEADER .*ndim 0/],
  ["B10 ndim 9", { ...base, shape: new Array<number>(9).fill(1) }, /E_LZR_HEADER .*ndim 9/],
  [
    "B10 a dim of 0",
    Buffer.concat([u32(1), Buffer.from("k"), u32(2, 2, 0), Buffer.from([1])]),
    /E_LZR_HEADER .*\[2,0\]/,
  ],
  [
    "B10 product beyond 2^31",
    Buffer.concat([u32(1), Buffer.from("k"), u32(3, 65536, 65536, 65536), Buffer.from([1])]),
    /E_LZR_HEADER/,
  ],
  [
    "B10 a huge shape of an unknown key",
    Buffer.concat([u32(1), Buffer.from("k"), u32(2, 1, 2 ** 31), Buffer.from([1]), u32(1), f32(0, 0, 1), u32(0, 0)]),
    /E_LZR_HEADER .*no known model/,
  ],
  ["B11 tf 2", { ...base, tf: 2 }, /E_LZR_TYPE .*tf 2/],
  [
    "B12 dp 0",
    Buffer.concat([u32(1), Buffer.from("k"), u32(1, 1), Buffer.from([1]), u32(0)]),
    /E_LZR_DP .*dp 0, allowed 1\.\.10/,
  ],
  ["B12 dp 11", { ...base, dp: 11 }, /E_LZR_DP .*dp 11/],
  [
    "B13 index beyond the codebook",
    { ...base, indices: [0, 1, 2, 3] },
    /E_LZR_INDEX .*row 1 block 1: index 3, allowed below 3/,
  ],
  ["B13 mean NaN", { ...base, mean: [0, Number.NaN] }, /E_NONFINITE .*mean: 1 values .*index 1/],
  ["B13 scale infinite", { ...base, scale: [Number.POSITIVE_INFINITY, 1] }, /E_NONFINITE .*scale/],
  ["B05 weights beyond fp16", { ...base, scale: [1, 70000] }, /E_NONFINITE/],
  ["B05 overlay NaN", { ...base, overlay: [[0, 0, Number.NaN]] }, /E_NONFINITE .*index 0/],
  ["B14 zlen beyond the file", { ...base, zlen: 1e9 }, /E_TRUNCATED .*indices needs 1000000000 bytes/],
  ["B14 too short a stream", { ...base, packed: two.subarray(0, -6) }, /E_LZR_ZLIB .*damaged/],
  [
    "B14 bytes after the stream",
    { ...base, packed: Buffer.concat([two, Buffer.from("JUNK")]) },
    /E_LZR_ZLIB .*4 bytes follow/,
  ],
  ["B14 bad Adler-32", { ...base, packed: badAdler }, /E_LZR_ZLIB .*damaged/],
  ["B14 no whole block", { ...base, packed: deflateSync(u16(0, 1, 2)) }, /E_LZR_ZLIB .*no whole number of blocks/],
  ["B14 odd bytes", { ...base, packed: deflateSync(Buffer.alloc(5)) }, /E_LZR_ZLIB/],
  [
    "B14 bomb",
    { ...base, packed: deflateSync(Buffer.alloc(50_000_000)) },
    /E_LZR_ZLIB .*expected at most 80 bytes, the stream continues/,
  ],
  ["B14 not zlib", { ...base, packed: Buffer.from("plain text") }, /E_LZR_ZLIB/],
  [
    "B15 overlay beyond the file",
    { ...base, nOverlay: 0xffffffff },
    /E_TRUNCATED .*4294967295 overlay rows needs 34359738360 bytes/,
  ],
  [
    "B15 two values for one cell",
    {
      ...base,
      overlay: [
        [0, 1, 1],
        [1, 1, 5],
        [0, 1, 2],
      ],
    },
    /E_LZR_OVERLAY .*overlay row 2/,
  ],
];

for (const [name, record, message] of LZR2) {
  test(`LZR2 ${name}`, async () => {
    await assert.rejects(readAll(artifactBytes(record)), { name: "ArtifactError", message });
  });
}

test("LZR2 B15: the same value twice is no conflict; with compat the last of two values wins", async () => {
  const overlay = [
    [0, 1, 1],
    [0, 1, 1],
  ] as const;
  assert.equal((await readAll(artifactBytes({ ...base, overlay })))[0]!.overlayRows, 2);
  const [record] = await readAll(artifactBytes({ ...base, overlay: [...overlay, [0, 1, 2]] }), { compat: true });
  assert.equal(record!.weight![1], 0x4000);
});

test("LZR2 B10: magic, and a file too short for one", async () => {
  for (const head of ["LZR3", "lzr2", "LZ", "\x00\x00\x00\x00"]) {
    await assert.rejects(readAll(bytesOf(head)), { name: "ArtifactError", message: /Invalid Signature/ });
  }
});

test("LZR2 B04: a key twice is refused, names of Object.prototype are names", async () => {
  const other = { ...base, key: "__proto__" };
  assert.equal((await readAll(artifactBytes(base, other))).length, 2);
  await assert.rejects(readAll(artifactBytes(base, other, { ...other, tf: 0 })), {
    code: "E_DUP_KEY",
    message: /"__proto__" stands twice, at bytes 74 and 152/,
  });
});

test("LZR2 B03: a wrong shape is refused before its payload is looked at", async () => {
  const file = artifactBytes({ ...base, packed: Buffer.from("junk") });
  await assert.rejects(readAll(file, { expectedShape: () => [2, 3] }), {
    code: "E_SCHEMA",
    message: /\[2,2\], expected \[2,3\]/,
  });
});

test("LZR2 single-byte damage never throws anything but ArtifactError", async () => {
  const file = artifactBytes({ ...base, overlay: [[1, 1, 3]] }, { key: "z", shape: [3], tf: 0 });
  for (let at = 0; at < file.length; at++) {
    for (const flip of [1, 0x80, 0xff]) {
      const damaged = file.slice();
      damaged[at]! ^= flip;
      await readAll(damaged).catch((error: unknown) =>
        assert.equal((error as Error).name, "ArtifactError", String(error)),
      );
    }
  }
});

test("LZR2 an aborted read stops with the signal's reason", async () => {
  const reason = new Error("stop");
  await assert.rejects(readAll(artifactBytes(base), { signal: AbortSignal.abort(reason) }), reason);
});

test("LZR2 B16: a huge overlay passes through a few MiB", async () => {
  const [rows, columns, passes] = [1280, 5120, searched(2, 4)];
  const count = rows * columns * passes;
  const head = Buffer.concat([Buffer.from("LZR2"), recordBytes({ key: "k", shape: [rows, columns], nOverlay: count })]);
  let peakBytes = 0;
  let largestRead = 0;
  const beforeBytes = process.memoryUsage.rss();
  // Every cell in turn, `passes` times over, made as it is read: 105 MB (thorough: 210) that are never anywhere.
  const source: ByteSource = {
    name: "generated.lzr2",
    byteLength: head.length + count * 8,
    async read(startByte, into) {
      largestRead = Math.max(largestRead, into.length);
      peakBytes = Math.max(peakBytes, process.memoryUsage.rss() - beforeBytes);
      let at = startByte < head.length ? head.copy(into, 0, startByte) : 0;
      const place = startByte + at - head.length;
      const row = Buffer.alloc(8);
      for (let i = Math.floor(place / 8), skip = place % 8; at < into.length; i++, skip = 0) {
        const cell = i % (rows * columns);
        row.writeUInt16LE(Math.floor(cell / columns), 0);
        row.writeUInt16LE(cell % columns, 2);
        row.writeFloatLE(cell % 2048, 4);
        at += row.copy(into, at, skip);
      }
    },
    async [Symbol.asyncDispose]() {},
  };
  for await (const { weight, overlayRows, skippedOverlayRows } of readLzr2(source)) {
    assert.deepEqual([overlayRows, skippedOverlayRows], [count, 0]);
    const values = new Float16Array(weight!.buffer);
    assert.ok(values.every((value, cell) => value === cell % 2048));
  }
  assert.ok(largestRead <= 8 * 1024 ** 2, `a read of ${largestRead} bytes`);
  // 13 MB of weights and their bitmap, two chunks of 4 MiB, one of 3 MiB; the rest is the collector's ease.
  assert.ok(peakBytes < 64 * 1024 ** 2, `grew by ${peakBytes} bytes`);
});
