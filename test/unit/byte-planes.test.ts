/** @file Byte planes: bit-exact for all bytes, readable by the browser's own decompressor, and deaf to hostile streams. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { constants, deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { joinPlanes, packPlanes, unpackPlanes } from "../../src/codec/byte-planes.ts";
import { numberToF16 } from "../../src/tensor/dtype.ts";
import { randomOf } from "./store-fixture.ts";

function normals(count: number): Uint8Array {
  const random = randomOf(3);
  const weights = Uint16Array.from({ length: count }, () =>
    numberToF16(0.02 * Math.sqrt(-2 * Math.log(random() + 1e-9)) * Math.cos(6.2831853 * random())),
  );
  return new Uint8Array(weights.buffer);
}

test("any 16-bit weights come back bit by bit, at any alignment", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 700 }),
      fc.nat(5),
      fc.boolean(),
      async (half, shift, alike) => {
        const plain = new Uint8Array(half.length * 2);
        for (let i = 0; i < half.length; i++) {
          plain[2 * i] = half[i]!;
          plain[2 * i + 1] = alike ? 60 : half[(i * 7) % half.length]!;
        }
        const packed = await packPlanes(plain);
        assert.ok(packed.length <= plain.length);
        const shifted = new Uint8Array(shift + packed.length);
        shifted.set(packed, shift);
        const into = new Uint8Array(shift + plain.length).subarray(shift);
        assert.equal(await unpackPlanes(shifted.subarray(shift), into), undefined);
        assert.deepEqual(into, plain);
      },
    ),
    { numRuns: 300 },
  );
});

test("weights of a normal distribution take about 85 %", async () => {
  const plain = normals(1 << 18);
  const packed = await packPlanes(plain);
  const ratio = packed.length / plain.length;
  assert.ok(ratio > 0.8 && ratio < 0.87, `${ratio}`);
});

test("a browser's DecompressionStream reads the high plane", async () => {
  const plain = normals(5000);
  const packed = Uint8Array.from(await packPlanes(plain));
  const stream = new Blob([packed.subarray(5000)]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const high = new Uint8Array(await new Response(stream).arrayBuffer());
  const into = new Uint8Array(plain.length);
  joinPlanes(packed.subarray(0, 5000), high, into);
  assert.deepEqual(into, plain);
});

test("a chunk that can't shrink is kept as it is", async () => {
  const random = randomOf(8);
  const plain = Uint8Array.from({ length: 4000 }, () => random() * 256);
  const packed = await packPlanes(plain);
  assert.deepEqual(packed, plain);
  assert.notEqual(packed.buffer, plain.buffer);
});

test("a high plane whose stream is as long as itself is kept as it is: packed, nobody could tell it from unpacked weights", async () => {
  const lengths = new Map<number, number>();
  // High bytes of so many kinds that a Huffman code saves what its own table takes, or a little less or more.
  for (let kinds = 1; kinds < 256; kinds++) {
    for (const count of [40, 97, 160, 256, 300]) {
      const random = randomOf(kinds * 1000 + count);
      const plain = new Uint8Array(count * 2);
      for (let i = 0; i < count; i++) {
        plain[2 * i] = random() * 256;
        plain[2 * i + 1] = Math.floor(random() ** 1.5 * kinds);
      }
      const high = plain.filter((_, i) => i % 2 === 1);
      const streamBytes = deflateRawSync(high, { strategy: constants.Z_HUFFMAN_ONLY }).length;
      const less = streamBytes - count;
      lengths.set(less, (lengths.get(less) ?? 0) + 1);
      const packed = await packPlanes(plain);
      if (less >= 0) assert.deepEqual(packed, plain, `${count} weights, ${less} bytes more`);
      const into = new Uint8Array(plain.length);
      assert.equal(await unpackPlanes(packed, into), undefined);
      assert.deepEqual(Buffer.compare(into, plain), 0, `${count} weights of ${kinds} kinds, stream ${less} longer`);
    }
  }
  assert.ok(lengths.has(0) && lengths.has(-1) && lengths.has(1), JSON.stringify([...lengths]));
});

test("planes are joined to the last weight, odd and even in number, at any alignment", () => {
  for (const count of [1, 2, 3, 7, 8, 255, 256]) {
    for (const shift of [0, 1, 2, 3]) {
      const random = randomOf(count);
      const plane = () => {
        const bytes = new Uint8Array(count + shift).subarray(shift);
        return bytes.map(() => random() * 256);
      };
      const [low, high] = [plane(), plane()];
      const around = new Uint8Array(shift + 2 * count + 2).fill(0xee);
      joinPlanes(low, high, around.subarray(shift, shift + 2 * count));
      const expected = Uint8Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? low : high)[i >> 1]!);
      assert.deepEqual(around.subarray(shift, shift + 2 * count), expected, `${count}, shift ${shift}`);
      assert.deepEqual(around.subarray(shift + 2 * count), Uint8Array.of(0xee, 0xee));
    }
  }
});

test("hostile chunks are told, and nothing is inflated beyond the plane", async () => {
  const low = Buffer.alloc(100, 1);
  const into = new Uint8Array(200);
  const of = (stream: Uint8Array) => unpackPlanes(Buffer.concat([low, stream]), into);
  assert.match((await of(deflateRawSync(Buffer.alloc(101))))!, /expected 100 high bytes, the stream continues/);
  assert.match((await of(deflateRawSync(Buffer.alloc(50_000_000))))!, /packed bytes, allowed|the stream continues/);
  assert.match((await of(deflateRawSync(Buffer.alloc(99))))!, /expected 100 high bytes, the stream has 99/);
  assert.match((await of(Buffer.concat([deflateRawSync(Buffer.alloc(100)), Buffer.of(0)])))!, /1 bytes follow the end/);
  assert.match((await of(deflateRawSync(Buffer.alloc(100)).subarray(0, -1)))!, /damaged/);
  assert.match((await of(Buffer.of(255, 255, 255)))!, /damaged/);
  assert.match((await unpackPlanes(low, into))!, /100 packed bytes, allowed 101..200/);
  assert.match((await unpackPlanes(Buffer.alloc(201), into))!, /201 packed bytes/);
  assert.match((await unpackPlanes(low, new Uint8Array(3)))!, /whole number/);
  assert.equal(await of(deflateRawSync(Buffer.alloc(100, 7))), undefined);
  assert.deepEqual(
    into,
    Uint8Array.from({ length: 200 }, (_, i) => (i % 2 ? 7 : 1)),
  );
});
