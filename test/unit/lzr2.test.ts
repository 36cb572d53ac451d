/** @file LZR2: bytes written by hand, an independent slow decoder, and the writer against the reader. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { rowLevels } from "../../src/codec/lattice.ts";
import { overlayRowBytes } from "../../src/codec/overlay.ts";
import { lzr2MemoryBytes } from "../../src/container/lzr2.ts";
import { encodeLzr2Record, encodeUntouchedRecord, LZR2_SIGNATURE } from "../../src/container/lzr2-writer.ts";
import { f16FromF32Bits, numberToF16 } from "../../src/tensor/dtype.ts";
import { artifactBytes, f16Bits, f32, readAll, recordBytes, slowDecode, u16, u32 } from "./lzr2-fixture.ts";

test("a record written by hand, byte for byte", async () => {
  // dp 2: index 0 is (-1, -1), 5 is (0, 1), 8 is (1, 1). zlib: stored block of 4 u16, Adler-32.
  const stored = Buffer.from("7801010800f7ff", "hex");
  const indices = u16(5, 0, 8, 5);
  const bytes = Buffer.concat([
    Buffer.from("LZR2"),
    u32(3),
    Buffer.from("a.b"),
    u32(2, 2, 3),
    Buffer.from([1]),
    u32(2),
    f32(9, 9, 9, 9),
    f32(0.5, 0),
    f32(2, -0.25),
    u32(stored.length + indices.length + 4),
    stored,
    indices,
    Buffer.from(adler32(indices)),
    u32(2),
    u16(0, 2),
    f32(100),
    u16(1, 0),
    f32(-3),
  ]);
  const [record] = await readAll(Uint8Array.from(bytes));
  assert.deepEqual(
    { ...record, weight: [...new Float16Array(record!.weight!.buffer)] },
    {
      key: "a.b",
      shape: [2, 3],
      tf: 1,
      dp: 2,
      blocks: 2,
      overlayRows: 2,
      skippedOverlayRows: 0,
      startByte: 4,
      endByte: bytes.length,
      // row 0: codes 0 1 | -1, (code + 0.5) 2; row 1: codes 1 1 | 0, code * -0.25
      weight: [1, 3, 100, -3, -0.25, -0],
    },
  );
});

function adler32(bytes: Uint8Array): number[] {
  let [a, b] = [1, 0];
  for (const byte of bytes) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return [b >>> 8, b & 255, a >>> 8, a & 255];
}

test("rows are cut and padded with code 0; no blocks is all padding; a vector is one column", async () => {
  const file = artifactBytes(
    { key: "cut", shape: [1, 2], dp: 3, indices: [26] },
    { key: "padded", shape: [1, 5], dp: 2, indices: [8], mean: [0.25], scale: [4] },
    { key: "none", shape: [2, 2], mean: [1, 2], scale: [3, 4] },
    { key: "vector", shape: [3], indices: [0, 1, 2] },
    { key: "spare blocks", shape: [1, 2], dp: 2, indices: [8, 0, 3, 1, 0] },
  );
  const records = await readAll(file);
  const values = records.map(({ weight }) => [...new Float16Array(weight!.buffer)]);
  assert.deepEqual(values, [
    [1, 1],
    [5, 5, 1, 1, 1],
    [3, 3, 8, 8],
    [-1, 0, 1],
    [1, 1],
  ]);
});

test("arithmetic is fp32 at each step", async () => {
  const mean = Math.fround(0.1);
  const scale = Math.fround(0.3);
  // dp 3: index 5 is 012 in base 3.
  const [record] = await readAll(
    artifactBytes({ key: "k", shape: [1, 3], dp: 3, indices: [5], mean: [mean], scale: [scale] }),
  );
  const expected = [-1, 0, 1].map((code) => numberToF16(Math.fround(Math.fround(code + mean) * scale)));
  assert.deepEqual([...record!.weight!], expected);
});

test("arithmetic is fp32 at each step, also where the step before decides how a tie is rounded", () => {
  // 1 + 5.9e-8 is 1 in fp32, so that the middle between two fp16 stays one, and goes to the even.
  const tie = 1.75 + 2 ** -11;
  assert.deepEqual(rowLevels(Math.fround(5.9e-8), tie)[2], numberToF16(1.75));
  assert.deepEqual(rowLevels(Math.fround(1.2e-7), tie)[2], numberToF16(1.75 + 2 ** -10));
});

test("a weight is finite up to 65,504: what rounds to more is refused, whether by scale or by mean", async () => {
  const read = (scale: number, mean = 0) =>
    readAll(artifactBytes({ key: "k", shape: [2, 3], dp: 3, indices: [13, 26], mean: [0, mean], scale: [1, scale] }));
  // The first row's code is 0 0 0, the second's 1 1 1.
  for (const [scale, mean] of [
    [65504, 0],
    [65519, 0],
    [-32752, 1],
    [70000, -1],
  ] as const) {
    const [record] = await read(scale, mean);
    assert.ok(
      record!.weight!.every((bits) => (bits & 0x7c00) !== 0x7c00),
      `${scale} ${mean}`,
    );
  }
  for (const [scale, mean] of [
    [65520, 0],
    [66000, 0],
    [-32760, 1],
    [7000, 8.4],
  ] as const)
    await assert.rejects(read(scale, mean), /E_NONFINITE/, `${scale} ${mean}`);
});

test("untouched records have no weight; an unknown kind is one with compat", async () => {
  const file = artifactBytes(
    encodeUntouchedRecord("kept", [4, 4]),
    { key: "odd", shape: [2], tf: 7 },
    { key: "x", shape: [1] },
  );
  await assert.rejects(readAll(file), /E_LZR_TYPE test\.lzr2: record 2 at byte 25: tf 7/);
  const records = await readAll(file, { compat: true });
  assert.deepEqual(
    records.map(({ key, tf, weight }) => [key, tf, weight?.length]),
    [
      ["kept", 0, undefined],
      ["odd", 7, undefined],
      ["x", 1, 1],
    ],
  );
});

test("overlay rows outside of the matrix are counted, not applied", async () => {
  const overlay = [
    [0, 1, 5],
    [2, 0, 6],
    [0, 2, 7],
    [1, 1, 8],
  ] as const;
  const [record] = await readAll(artifactBytes({ key: "k", shape: [2, 2], overlay }));
  assert.equal(record!.overlayRows, 4);
  assert.equal(record!.skippedOverlayRows, 2);
  assert.deepEqual([...new Float16Array(record!.weight!.buffer)], [0, 5, 0, 8]);
});

test("overlay rows grow from 8 to 12 bytes exactly at max(C, nBlocks) dp = 65,536", async () => {
  assert.equal(overlayRowBytes(65535, 0, 1), 8);
  assert.equal(overlayRowBytes(65536, 0, 1), 12);
  assert.equal(overlayRowBytes(1, 13107, 5), 8);
  assert.equal(overlayRowBytes(8192, 3, 8), 12);
  for (const rows of [65535, 65536]) {
    const file = artifactBytes({ key: "k", shape: [rows], overlay: [[rows - 1, 0, 2]] });
    const [record] = await readAll(file);
    assert.equal(record!.weight![rows - 1], 0x4000);
    assert.deepEqual(record!.weight, f16Bits(slowDecode(file).get("k")!));
  }
});

test("headersOnly jumps over overlays and still finds the next record", async () => {
  const overlay = Array.from({ length: 3000 }, (_, i) => [0, i, i] as const);
  const file = artifactBytes({ key: "a", shape: [1, 3000], overlay }, { key: "b", shape: [2, 2] });
  const records = await readAll(file, { headersOnly: true, readChunkBytes: 128 });
  assert.deepEqual(
    records.map(({ key, overlayRows, weight }) => [key, overlayRows, weight]),
    [
      ["a", 3000, undefined],
      ["b", 0, undefined],
    ],
  );
  assert.equal(records[1]!.endByte, file.length);
});

test("fp32 bits to fp16 bits as Float16Array rounds them, NaN aside", () => {
  const check = (bits: number) => {
    const value = new Float32Array(Uint32Array.of(bits).buffer)[0]!;
    if (Number.isNaN(value)) assert.ok((f16FromF32Bits(bits) & 0x7fff) > 0x7c00);
    else assert.equal(f16FromF32Bits(bits), f16Bits([value])[0], `0x${bits.toString(16)}`);
  };
  // The 13 bits that go, around the ties, under every fp16 exponent and a spread of mantissas.
  for (let kept = 0; kept < 2 ** 19; kept += 7) {
    for (const low of [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff]) check(((kept << 13) | low) >>> 0);
  }
  fc.assert(fc.property(fc.integer({ min: 0, max: 0xffffffff }), check), { numRuns: 20000 });
});

const rawRecord = fc
  .record({
    rows: fc.integer({ min: 1, max: 5 }),
    columns: fc.integer({ min: 1, max: 23 }),
    dp: fc.integer({ min: 1, max: 10 }),
    short: fc.integer({ min: 0, max: 3 }),
  })
  .chain(({ rows, columns, dp, short }) => {
    const blocks = Math.max(0, Math.ceil(columns / dp) - short);
    const value = fc.float({ min: -200, max: 200, noNaN: true });
    const perRow = fc.array(value, { minLength: rows, maxLength: rows });
    return fc.record({
      key: fc.string({ minLength: 1, maxLength: 12, unit: "grapheme" }),
      shape: fc.constant([rows, columns]),
      dp: fc.constant(dp),
      mean: perRow,
      scale: perRow,
      indices: fc.array(fc.integer({ min: 0, max: 3 ** dp - 1 }), {
        minLength: rows * blocks,
        maxLength: rows * blocks,
      }),
      overlay: fc.uniqueArray(fc.tuple(fc.nat(rows), fc.nat(columns), value), {
        selector: ([row, column]) => row * 99 + column,
      }),
    });
  });

test("the reader agrees with the slow decoder, whatever the size of its reads", async () => {
  const records = fc.uniqueArray(rawRecord, { selector: ({ key }) => key, minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(records, fc.integer({ min: 1, max: 90 }), async (raw, readChunkBytes) => {
      const file = artifactBytes(...raw);
      const expected = slowDecode(file);
      for (const { key, weight } of await readAll(file, { readChunkBytes })) {
        assert.deepEqual(weight, f16Bits(expected.get(key)!));
        expected.delete(key);
      }
      assert.equal(expected.size, 0);
    }),
    { numRuns: 150 },
  );
});

const finiteBits = fc.integer({ min: 0, max: 0xffff }).filter((bits) => (bits & 0x7c00) !== 0x7c00);
const matrix = fc
  .record({
    rows: fc.integer({ min: 1, max: 4 }),
    columns: fc.integer({ min: 1, max: 30 }),
    values: fc.array(finiteBits, { minLength: 1, maxLength: 6 }),
  })
  .chain(({ rows, columns, values }) =>
    fc.record({
      shape: fc.constant([rows, columns]),
      values: fc
        .array(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...values) }, finiteBits), {
          minLength: rows * columns,
          maxLength: rows * columns,
        })
        .map((bits) => Uint16Array.from(bits)),
    }),
  );

test("lossless records give every fp16 bit back, -0 included", async () => {
  await fc.assert(
    fc.asyncProperty(matrix, async ({ shape, values }) => {
      const record = await encodeLzr2Record({ key: "k", shape, values, mode: { kind: "lossless" } });
      const file = Uint8Array.from(Buffer.concat([LZR2_SIGNATURE, ...record.chunks()]));
      assert.equal(file.length, 4 + record.byteLength);
      assert.deepEqual(record.stats.maxAbsError, 0);
      const [read] = await readAll(file);
      assert.deepEqual(read!.weight, values);
      assert.equal(read!.overlayRows, record.stats.overlayRows);
      assert.deepEqual(f16Bits(slowDecode(file).get("k")!), values);
    }),
    { numRuns: 300 },
  );
});

test("a ternary row costs no overlay, its outlier one row; a constant row no block", async () => {
  const levels = [-0.75, 0.25, 1.25];
  const values = Float32Array.from({ length: 400 }, (_, i) => levels[(i * 7) % 3]!);
  values[17] = 3;
  const { stats } = await encodeLzr2Record({ key: "k", shape: [2, 200], values, mode: { kind: "lossless" } });
  assert.deepEqual({ ...stats }, { maxAbsError: 0, rmsError: 0, weights: 400, overlayRows: 1, latticeRows: 1 });
  const constant = await encodeLzr2Record({
    key: "k",
    shape: [2, 200],
    values: new Float32Array(400).fill(-0),
    mode: { kind: "lossless" },
  });
  const [read] = await readAll(artifactBytes(Buffer.concat([...constant.chunks()])));
  assert.equal(read!.blocks, 0);
  assert.equal(read!.overlayRows, 0);
  assert.ok(read!.weight!.every((bits) => bits === 0x8000));
});

test("a lossy record's error is as reported, and falls as its overlay grows", async () => {
  const values = Float32Array.from({ length: 8 * 77 }, (_, i) => Math.fround(Math.sin(i * i) * 0.05 + (i % 8) * 0.001));
  let before = Number.POSITIVE_INFINITY;
  for (const overlayFraction of [0, 0.1, 0.5, 1]) {
    const record = await encodeLzr2Record({
      key: "k",
      shape: [8, 7, 11],
      values,
      mode: { kind: "lossy", overlayFraction },
    });
    const [read] = await readAll(artifactBytes(Buffer.concat([...record.chunks()])));
    const decoded = new Float16Array(read!.weight!.buffer);
    const errors = [...new Float16Array(values)].map((value, i) => Math.abs(value - decoded[i]!));
    assert.equal(record.stats.overlayRows, Math.round(overlayFraction * values.length));
    assert.ok(Math.abs(record.stats.maxAbsError - Math.max(...errors)) < 1e-7);
    const rms = Math.sqrt(errors.reduce((sum, error) => sum + error * error, 0) / errors.length);
    assert.ok(Math.abs(record.stats.rmsError - rms) < 1e-7);
    assert.ok(rms < before);
    before = rms;
  }
  assert.equal(before, 0);
});

test("rows wider than u16 are addressed", async () => {
  const values = new Float32Array(70000).map((_, i) => i % 1000);
  const record = await encodeLzr2Record({ key: "k", shape: [1, 70000], values, mode: { kind: "lossless" } });
  const [read] = await readAll(artifactBytes(Buffer.concat([...record.chunks()])));
  assert.deepEqual(read!.weight, f16Bits(new Float16Array(values)));
});

test("the writer refuses what LZR2 can't hold", async () => {
  const mode = { kind: "lossless" } as const;
  const values = new Float32Array(1);
  await assert.rejects(encodeLzr2Record({ key: "k", shape: [], values, mode }), /E_LZR_HEADER/);
  await assert.rejects(encodeLzr2Record({ key: "", shape: [1], values, mode }), /E_LZR_HEADER/);
  await assert.rejects(encodeLzr2Record({ key: "k", shape: [2], values, mode }), /E_SIZE/);
  await assert.rejects(encodeLzr2Record({ key: "k", shape: [1], values: Float32Array.of(70000), mode }), /E_NONFINITE/);
  await assert.rejects(
    encodeLzr2Record({ key: "k", shape: [1], values, mode: { kind: "lossy", overlayFraction: 2 } }),
    /E_FRACTION/,
  );
});

test("every prefix is refused, or ends where a record does", async () => {
  const first = recordBytes({ key: "first", shape: [2, 3], dp: 2, indices: [1, 2, 3, 4], overlay: [[0, 0, 1]] });
  const file = artifactBytes(
    first,
    { key: "second", shape: [3], tf: 0 },
    { key: "third", shape: [1, 4], indices: [1, 2, 0, 1] },
  );
  const whole = await readAll(file);
  const boundaries = new Set([4, ...whole.map(({ endByte }) => endByte)]);
  for (let length = 0; length < file.length; length++) {
    const prefix = file.slice(0, length);
    if (boundaries.has(length)) assert.equal((await readAll(prefix)).length, [...boundaries].indexOf(length));
    else
      await assert.rejects(readAll(prefix), {
        name: "ArtifactError",
        code: length < 4 ? "E_LZR_SIGNATURE" : "E_TRUNCATED",
      });
  }
});

test("going on at a record gives the rest as it stands; a key from before is still one too many, told by both places", async () => {
  const one = { key: "a", shape: [2, 2], indices: [0, 1, 2, 0] };
  const two = { key: "b", shape: [1, 2], indices: [2, 2] };
  const whole = artifactBytes(one, two, one);
  const at = artifactBytes(one).length;
  const end = artifactBytes(one, two).length;
  const [, , third] = await readAll(artifactBytes(one, two, { ...one, key: "c" }));
  const after = { startByte: at, number: 2, keys: new Map([["x", 4]]) };
  const rest = await readAll(artifactBytes(one, two, { ...one, key: "c" }), { from: after });
  assert.deepEqual(
    rest.map(({ key, startByte, endByte }) => [key, startByte, endByte]),
    [
      ["b", at, end],
      ["c", end, third!.endByte],
    ],
  );
  assert.deepEqual(rest[1]!.weight, third!.weight);
  const twice = {
    code: "E_DUP_KEY",
    message: new RegExp(`record 3 at byte ${end}: "a" stands twice, at bytes 4 and ${end}`),
  };
  await assert.rejects(readAll(whole), twice);
  await assert.rejects(readAll(whole, { from: { startByte: at, number: 2, keys: new Map([["a", 4]]) } }), twice);
});

test("what can't be meant is refused before memory is taken for it", async () => {
  // Twice the one block that is needed, and 16 to spare: 36 bytes of indices, an eighth more, and 64 KiB.
  const most = 2 * 18 + 5 + 65_536;
  const long = (zlen: number) => readAll(artifactBytes({ key: "k", shape: [1, 1], packed: new Uint8Array(zlen) }));
  await assert.rejects(long(most + 1), {
    code: "E_LZR_ZLIB",
    message: new RegExp(`zlen ${most + 1}, allowed up to ${most}`),
  });
  await assert.rejects(long(most), { code: "E_LZR_ZLIB", message: /zlib stream is damaged/ });
  const huge = artifactBytes({ key: "k", shape: [2 ** 13, 2 ** 12 + 1], indices: [] });
  const unknown = { code: "E_LZR_HEADER", message: /for a key of no known model/ };
  await assert.rejects(readAll(huge), unknown);
  await assert.rejects(readAll(huge, { expectedShape: () => undefined }), unknown);
});

test("memory of reading, beside weights: three chunks, overlay rows, a bit a cell, and indices packed and not", () => {
  const MIB = 1024 ** 2;
  assert.equal(lzr2MemoryBytes(0), 15 * MIB);
  assert.equal(lzr2MemoryBytes(80) - 15 * MIB, 10 + 2 * 80);
  assert.equal(lzr2MemoryBytes(81) - 15 * MIB, 11 + 2 * 82);
});
