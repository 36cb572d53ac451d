/** @file PNG files, the texts in them, and the way from the VAE's output to bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32, deflateSync, inflateSync } from "node:zlib";
import fc from "fast-check";
import { ArtifactError, DeviceError } from "../../src/errors.ts";
import { imageFromDecoded } from "../../src/image/pixels.ts";
import { decodePng, encodePng, type PngText } from "../../src/image/png.ts";
import { a1111Parameters, type ImageRecord } from "../../src/job/infotext.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { sameBytes } from "../support/same.ts";
import { randomOf } from "./store-fixture.ts";

type Bytes = Uint8Array<ArrayBuffer>;

function makeChunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const whole = Buffer.alloc(body.length + 8);
  whole.writeUInt32BE(data.length, 0);
  body.copy(whole, 4);
  whole.writeUInt32BE(crc32(body), body.length + 4);
  return whole;
}

function makeHeader(width: number, height: number, rest: readonly number[]): Buffer {
  const data = Buffer.alloc(13);
  data.writeUInt32BE(width, 0);
  data.writeUInt32BE(height, 4);
  data.set(rest, 8);
  return makeChunk("IHDR", data);
}

function makePng(...chunks: readonly Uint8Array[]): Bytes {
  const signature = Buffer.from("89504e470d0a1a0a", "hex");
  return new Uint8Array(Buffer.concat([signature, ...chunks, makeChunk("IEND", Buffer.alloc(0))]));
}

const RGB = [8, 2, 0, 0, 0];

test("pixels come back as they were written, whatever they are", async () => {
  const side = fc.integer({ min: 1, max: 9 });
  await fc.assert(
    fc.asyncProperty(side, side, fc.infiniteStream(fc.nat(255)), async (width, height, bytes) => {
      const rgb = Uint8Array.from(bytes.take(width * height * 3));
      const png = await encodePng({ width, height, rgb });
      assert.deepEqual(await decodePng(png), { width, height, channels: 3, pixels: rgb });
      assert.deepEqual(await encodePng({ width, height, rgb }), png);
    }),
  );
});

test("a smooth picture uses several filters and packs well", async () => {
  const rgb = Uint8Array.from({ length: 64 * 64 * 3 }, (_, at) => Math.floor(at / 192) * 2 + (Math.floor(at / 3) % 64));
  const png = await encodePng({ width: 64, height: 64, rgb });
  assert.ok(png.length < 600, `${png.length} bytes`);
  sameBytes((await decodePng(png)).pixels, rgb);
});

test("each filter is undone", async () => {
  const rows = [
    [0, 10, 20, 30, 40, 50, 60],
    [1, 10, 20, 30, 5, 5, 5],
    [2, 1, 1, 1, 1, 1, 255],
    [3, 10, 10, 10, 10, 10, 10],
    [4, 1, 2, 3, 4, 5, 6],
  ];
  const png = makePng(makeHeader(2, 5, RGB), makeChunk("IDAT", deflateSync(Buffer.from(rows.flat()))));
  const wanted = [10, 20, 30, 40, 50, 60, 10, 20, 30, 15, 25, 35, 11, 21, 31, 16, 26, 34];
  wanted.push(15, 20, 25, 25, 33, 39, 16, 22, 28, 29, 38, 45);
  assert.deepEqual([...(await decodePng(png)).pixels], wanted);
});

/**
 * A reader of rows made after the text of the PNG specification (chapter 9) alone: Filt(x) and Recon(x) by the bytes a (left), b (above)
 * and c (above left), all sums without overflow, Paeth's choice in the order a, b, c.
 */
function reconstruct(filtered: Uint8Array, width: number, height: number, pixelBytes: number): Uint8Array {
  const stride = width * pixelBytes;
  const rows: number[][] = [];
  for (let y = 0; y < height; y++) {
    const type = filtered[y * (stride + 1)]!;
    const row: number[] = [];
    for (let x = 0; x < stride; x++) {
      const a = x < pixelBytes ? 0 : row[x - pixelBytes]!;
      const b = y === 0 ? 0 : rows[y - 1]![x]!;
      const c = y === 0 || x < pixelBytes ? 0 : rows[y - 1]![x - pixelBytes]!;
      const p = a + b - c;
      const distances = [
        [Math.abs(p - a), a],
        [Math.abs(p - b), b],
        [Math.abs(p - c), c],
      ] as const;
      const nearest = Math.min(...distances.map(([distance]) => distance));
      const paeth = distances.find(([distance]) => distance === nearest)![1];
      const predicted = [0, a, b, Math.floor((a + b) / 2), paeth][type]!;
      row.push((filtered[y * (stride + 1) + 1 + x]! + predicted) % 256);
    }
    rows.push(row);
  }
  return Uint8Array.from(rows.flat());
}

function filteredRows(png: Uint8Array): Buffer {
  const whole = Buffer.from(png);
  const parts: Buffer[] = [];
  for (let at = 8; at < whole.length; at += whole.readUInt32BE(at) + 12) {
    if (whole.toString("latin1", at + 4, at + 8) === "IDAT")
      parts.push(whole.subarray(at + 8, at + 8 + whole.readUInt32BE(at)));
  }
  return inflateSync(Buffer.concat(parts));
}

test("a reader made after the specification reads what is written, whatever filters were chosen", async () => {
  const random = randomOf(31);
  const [width, height] = [37, 96];
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, at) => {
    const [x, y] = [Math.floor(at / 3) % width, Math.floor(at / 3 / width)];
    // In turn what each filter is best at: noise, rows alike, columns alike, slopes near white, a plane with steps.
    const kinds = [
      random() * 256,
      90 + ((y * 7) % 160),
      20 + x * 6,
      128 + ((x + y) % 100),
      x * 3 + y * 2 + 40 * (random() > 0.9 ? 1 : 0),
    ];
    return kinds[Math.floor(y / 6) % kinds.length]! + (at % 3) * 5;
  });
  const rows = filteredRows(await encodePng({ width, height, rgb }));
  const used = new Set(Array.from({ length: height }, (_, y) => rows[y * (width * 3 + 1)]));
  assert.deepEqual([...used].sort(), [0, 1, 2, 3, 4]);
  assert.deepEqual(Buffer.compare(reconstruct(rows, width, height, 3), rgb), 0);
});

test("rows of any bytes under any filter are read as the specification says, with and without alpha", async () => {
  const random = randomOf(32);
  const [width, height] = [24, 60];
  for (const [colourType, pixelBytes] of [
    [2, 3],
    [6, 4],
  ] as const) {
    const stride = width * pixelBytes;
    const rows = Uint8Array.from({ length: height * (stride + 1) }, (_, at) => {
      if (at % (stride + 1) === 0) return Math.floor(at / (stride + 1)) % 5;
      // Small values leave neighbours alike, where Paeth's choice hangs on the order of its candidates.
      return random() < 0.5 ? random() * 256 : random() * 3;
    });
    const png = makePng(makeHeader(width, height, [8, colourType, 0, 0, 0]), makeChunk("IDAT", deflateSync(rows)));
    const { pixels } = await decodePng(png);
    assert.deepEqual(Buffer.compare(pixels, reconstruct(rows, width, height, pixelBytes)), 0);
  }
});

test("Paeth's choice, by the specification's own rule: nearest to a + b - c, in the order a, b, c where distances are equal", async () => {
  // One pixel on the left and one above; the second row's second pixel is residue 0 under Paeth, so it is the choice itself.
  const cases: readonly (readonly [a: number, b: number, c: number, choice: number])[] = [
    [10, 20, 15, 15],
    [20, 10, 15, 15],
    [5, 9, 5, 9],
    [9, 5, 5, 9],
    [0, 255, 200, 0],
    [255, 0, 200, 0],
    [100, 110, 105, 105],
    [3, 4, 7, 3],
    [7, 3, 4, 7],
    [250, 240, 250, 240],
    [1, 3, 2, 2],
    [50, 60, 58, 50],
    [60, 50, 58, 50],
    [9, 3, 5, 9],
    [3, 9, 5, 9],
    [100, 200, 150, 150],
    [100, 200, 140, 140],
    [40, 20, 31, 31],
    [20, 40, 28, 28],
  ];
  for (const [a, b, c, choice] of cases) {
    const rows = Buffer.from([0, c, c, c, b, b, b, 0, a, a, a, 0, 0, 0]);
    rows[7] = 4;
    // Under Paeth the first pixel of a row is predicted by the one above it.
    for (let i = 8; i < 11; i++) rows[i] = (a - c + 256) % 256;
    const png = makePng(makeHeader(2, 2, RGB), makeChunk("IDAT", deflateSync(rows)));
    assert.equal((await decodePng(png)).pixels[9], choice, `${a} ${b} ${c}`);
  }
});

test("alpha is read, and pixels may be spread over chunks", async () => {
  const packed = deflateSync(Buffer.from([0, 1, 2, 3, 4]));
  const parts = [makeChunk("IDAT", packed.subarray(0, 3)), makeChunk("IDAT", packed.subarray(3))];
  const found = await decodePng(makePng(makeHeader(1, 1, [8, 6, 0, 0, 0]), ...parts));
  assert.deepEqual(found, { width: 1, height: 1, channels: 4, pixels: Uint8Array.of(1, 2, 3, 4) });
});

test("text is tEXt where it fits Latin-1, else iTXt, and comes back", async () => {
  const text: PngText[] = [
    { keyword: "parameters", text: "café\nSteps: 1" },
    { keyword: "solvay", text: "山 🏔 {}" },
    { keyword: "empty", text: "" },
  ];
  const png = await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text });
  const raw = Buffer.from(png).toString("latin1");
  assert.ok(raw.includes("tEXtparameters\0café\nSteps: 1"));
  assert.ok(raw.includes("iTXtsolvay\0\0\0\0\0"));
  assert.deepEqual(await writtenTexts(png), text);
  const withNul = await encodePng({
    width: 1,
    height: 1,
    rgb: new Uint8Array(3),
    text: [{ keyword: "k", text: "a\0b" }],
  });
  assert.deepEqual(await writtenTexts(withNul), [{ keyword: "k", text: "a\ufffdb" }]);
});

test("packed text is read", async () => {
  const chunks = [
    makeChunk("zTXt", Buffer.concat([Buffer.from("a\0\0"), deflateSync(Buffer.from("é", "latin1"))])),
    makeChunk("iTXt", Buffer.concat([Buffer.from("b\0\x01\0en\0bee\0"), deflateSync(Buffer.from("山"))])),
  ];
  assert.deepEqual(await writtenTexts(makePng(makeHeader(1, 1, RGB), ...chunks)), [
    { keyword: "a", text: "é" },
    { keyword: "b", text: "山" },
  ]);
});

test("sizes and keywords that can't be are refused", async () => {
  await assert.rejects(encodePng({ width: 2, height: 1, rgb: new Uint8Array(3) }), RangeError);
  await assert.rejects(encodePng({ width: 0, height: 1, rgb: new Uint8Array(0) }), RangeError);
  for (const keyword of ["", " a", "a  b", "a\0b", "山", "k".repeat(80)]) {
    const text = [{ keyword, text: "" }];
    await assert.rejects(encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text }), RangeError, keyword);
  }
});

test("chunks that are no part of the pixels change nothing of them: a suggested palette, and any that need not be known", async () => {
  const rgb = Uint8Array.from({ length: 18 }, (_, i) => 3 * i);
  const good = await encodePng({ width: 3, height: 2, rgb });
  const headerEnd = 8 + 25;
  for (const type of ["PLTE", "tEXt", "gAMA", "quQu"]) {
    const more = makeChunk(type, Buffer.from("a\0b", "latin1"));
    for (const at of [headerEnd, good.length - 12]) {
      const file = new Uint8Array(Buffer.concat([good.subarray(0, at), more, good.subarray(at)]));
      assert.deepEqual(await decodePng(file), { width: 3, height: 2, channels: 3, pixels: rgb }, `${type} at ${at}`);
    }
  }
});

test("hostile pictures are refused, saying what and where", async () => {
  const good = await encodePng({ width: 3, height: 2, rgb: new Uint8Array(18) });
  const flipped = good.slice();
  flipped[20]! ^= 1;
  const pixels = (data: Uint8Array): Buffer => makeChunk("IDAT", deflateSync(data));
  const bad: [string, Uint8Array, RegExp][] = [
    ["cut", good.slice(0, -5), /E_IMAGE x\.png: it ends before its last chunk at byte/],
    ["cut in the pixels", good.slice(0, 45), /goes beyond its end|ends before/],
    ["checksum", flipped, /the checksum of its "IHDR" chunk is wrong at byte 8/],
    ["jpeg", Uint8Array.of(0xff, 0xd8, 0xff, 0xe0), /E_IMAGE_KIND x\.png: it is a JPEG/],
    ["svg", Buffer.from("<svg xmlns=''/>"), /it is an SVG/],
    ["empty", new Uint8Array(0), /it is not a PNG/],
    ["huge", makePng(makeHeader(14_000, 14_000, RGB)), /E_IMAGE_SIZE x\.png: .*found 14000 x 14000, allowed 4096/],
    ["wide", makePng(makeHeader(4097, 1, RGB)), /E_IMAGE_SIZE x\.png: .*found 4097 x 1,/],
    ["tall", makePng(makeHeader(1, 4097, RGB)), /E_IMAGE_SIZE x\.png: .*found 1 x 4097,/],
    ["zero", makePng(makeHeader(0, 4, RGB)), /it is 0 x 4 pixels/],
    ["16 bits", makePng(makeHeader(1, 1, [16, 2, 0, 0, 0])), /16 bits and colour type 2/],
    ["palette", makePng(makeHeader(1, 1, [8, 3, 0, 0, 0])), /colour type 3/],
    ["interlaced", makePng(makeHeader(1, 1, [8, 2, 0, 0, 1])), /interlaced/],
    ["animated", makePng(makeHeader(1, 1, RGB), makeChunk("acTL", Buffer.alloc(8))), /animated/],
    ["no header", makePng(pixels(Buffer.alloc(4))), /its header is not its first chunk/],
    ["two headers", makePng(makeHeader(1, 1, RGB), makeHeader(1, 1, RGB)), /its header is not its first chunk/],
    ["too few pixels", makePng(makeHeader(2, 2, RGB), pixels(Buffer.alloc(13))), /13 bytes unpacked of 14/],
    ["pixel bomb", makePng(makeHeader(1, 1, RGB), pixels(Buffer.alloc(1e6))), /more than 4 bytes unpacked/],
    ["no pixels", makePng(makeHeader(1, 1, RGB)), /do not unpack to 1 x 1/],
    ["filter", makePng(makeHeader(1, 1, RGB), pixels(Buffer.from([9, 0, 0, 0]))), /row 0 has filter 9/],
    ["critical", makePng(makeHeader(1, 1, RGB), makeChunk("QQQQ", Buffer.alloc(1))), /critical chunk "QQQQ"/],
  ];
  for (const [what, bytes, message] of bad) {
    const copy = new Uint8Array(bytes);
    const read = async (): Promise<void> => {
      await decodePng(copy, "x.png");
    };
    await assert.rejects(read, (error) => error instanceof ArtifactError && message.test(error.message), what);
  }
});

test("zlib of another maker reads what was written", async () => {
  const png = await encodePng({ width: 1, height: 1, rgb: Uint8Array.of(7, 8, 9) });
  const at = Buffer.from(png).indexOf("IDAT");
  const length = Buffer.from(png).readUInt32BE(at - 4);
  assert.deepEqual([...inflateSync(png.subarray(at + 4, at + 4 + length))], [0, 7, 8, 9]);
});

test("decoded values map to bytes as in diffusers", () => {
  // 0.5 of a byte up or down: 2.5 / 255 rounds to 2, 3.5 / 255 to 4, as numpy rounds.
  const half = (byte: number): number => (byte / 255) * 2 - 1;
  const values = [-1, 1, -2, 2, 0, half(2.5), half(3.5), half(200.4), half(200.6), Infinity, -Infinity, half(17)];
  const chw = Float32Array.from(values);
  const rgb = imageFromDecoded(chw, 2, 2);
  const channel = (index: number): number[] => [0, 1, 2, 3].map((at) => rgb[at * 3 + index]!);
  assert.deepEqual(channel(0), [0, 255, 0, 255]);
  assert.deepEqual(channel(1).slice(0, 1), [128]);
  assert.deepEqual(channel(1)[3], 200);
  assert.deepEqual(channel(2), [201, 255, 0, 17]);
  assert.throws(() => imageFromDecoded(Float32Array.of(0, Number.NaN, 0), 1, 1), DeviceError);
  assert.throws(() => imageFromDecoded(new Float32Array(4), 1, 1), RangeError);
});

const record: ImageRecord = {
  prompt: "a cat,\nsitting",
  negativePrompt: "blurry",
  seed: 1,
  steps: 30,
  guidance: 5,
  width: 1024,
  height: 768,
  sampler: "euler",
  samplerName: "Euler",
  scheduleType: "DDIM",
  model: "org/model: x",
  backend: "cpu",
  version: "0.1.0",
};

test("the infotext has A1111's form", () => {
  const settings =
    'Steps: 30, Sampler: Euler, Schedule type: DDIM, CFG scale: 5.0, Seed: 1, Size: 1024x768, Model: "org/model: x", ' +
    "RNG: CPU, Version: Solvay 0.1.0";
  assert.equal(a1111Parameters(record), `a cat,\nsitting\nNegative prompt: blurry\n${settings}`);
  assert.equal(a1111Parameters({ ...record, precision: "fp32" }), a1111Parameters(record));
  const { model: _, ...unnamed } = {
    ...record,
    negativePrompt: "",
    guidance: 7.25,
    artifact: "a.lzr2",
    precision: "fp16 (shader-f16)",
  };
  assert.equal(
    a1111Parameters(unnamed),
    "a cat,\nsitting\nSteps: 30, Sampler: Euler, Schedule type: DDIM, CFG scale: 7.25, Seed: 1, Size: 1024x768, " +
      "RNG: CPU, Artifact: a.lzr2, Precision: fp16 (shader-f16), Version: Solvay 0.1.0",
  );
});
