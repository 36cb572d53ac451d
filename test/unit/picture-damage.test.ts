/** @file Pictures that are damaged, odd or of other kinds: what of their headers and texts is read, and what is said of the rest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { embedInJpeg, embedInWebp } from "../../src/image/metadata/embed-texts.ts";
import { readPictureTexts } from "../../src/image/metadata/picture-texts.ts";
import { readPictureHeader } from "../../src/image/picture-header.ts";
import { decodePng } from "../../src/image/png.ts";
import { memorySource } from "../../src/source/memory.ts";
import { exifBlock, jpegOf, pngChunk, pngOf, webpOf } from "../support/picture-files.ts";

const latin = (text: string) => Buffer.from(text, "latin1");
const u32 = (value: number) => Buffer.from([value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255]);
const png = (...chunks: Buffer[]) => Buffer.concat([latin("\x89PNG\r\n\x1a\n"), ...chunks]);
const ihdr = (width: number, height: number) =>
  pngChunk("IHDR", Buffer.concat([u32(width), u32(height), latin("\b\x02\0\0\0")]));
const jpeg = (...bytes: number[]) => Buffer.from([0xff, 0xd8, ...bytes]);
/** A start of frame of 5 x 3 pixels. */
const FRAME = [0, 11, 8, 0, 3, 0, 5, 1, 0, 0, 0];
const webp = (type: string, body: readonly number[]) =>
  Buffer.concat([latin(`RIFF\0\0\0\0WEBP${type}`), Buffer.from([body.length, 0, 0, 0, ...body])]);

/** "PNG 5x3", or the refusal. */
function header(bytes: Uint8Array): string {
  try {
    const { format, width, height, animated } = readPictureHeader(bytes, "a");
    return `${format} ${width}x${height}${animated ? " animated" : ""}`;
  } catch (error) {
    return (error as Error).message.replace(/\. Next: .*/, "");
  }
}

const HEADERS: readonly (readonly [string, Uint8Array, string])[] = [
  ["a still PNG", png(ihdr(5, 3), pngChunk("tEXt", latin("a\0b")), pngChunk("IDAT", latin("x"))), "PNG 5x3"],
  ["an animated one", png(ihdr(5, 3), pngChunk("acTL", latin("x")), pngChunk("IDAT", latin("x"))), "PNG 5x3 animated"],
  ["frames that come too late", png(ihdr(5, 3), pngChunk("IDAT", latin("x")), pngChunk("acTL", latin("x"))), "PNG 5x3"],
  ["no pixels", png(ihdr(5, 3), pngChunk("IEND", latin(""))), "E_IMAGE a: it has no pixels"],
  ["no header first", png(pngChunk("tEXt", latin("a\0b")), ihdr(5, 3)), "E_IMAGE a: its header is not its first chunk"],
  ["no width", png(ihdr(0, 3), pngChunk("IDAT", latin("x"))), "E_IMAGE a: it is 0 x 3 pixels"],
  [
    "too many pixels, each side within its limit",
    png(ihdr(8193, 8192), pngChunk("IDAT", latin("x"))),
    "E_IMAGE_SIZE a: the picture is too large (found 8193 x 8192, allowed 16384 a side and 67108864 pixels in all)",
  ],
  ["just as many as may be", png(ihdr(8192, 8192), pngChunk("IDAT", latin("x"))), "PNG 8192x8192"],
  ["cut", png(ihdr(5, 3)).subarray(0, 20), "E_IMAGE a: it ends before its size is told (20 bytes)"],
  [
    "a JPEG's tables are no frame",
    jpeg(0xff, 0xc4, 0, 4, 9, 9, 0xff, 0xc8, 0, 2, 0xff, 0xcc, 0, 2, 0xff, 0xc0, ...FRAME),
    "JPEG 5x3",
  ],
  ["markers that stand alone", jpeg(0xff, 0xd0, 0xff, 0xd7, 0xff, 0x01, 0xff, 0xcf, ...FRAME), "JPEG 5x3"],
  ["pixels before the size", jpeg(0xff, 0xda, ...FRAME), "E_IMAGE a: its size is not told before its pixels"],
  ["an end before the size", jpeg(0xff, 0xd9, ...FRAME), "E_IMAGE a: its size is not told before its pixels"],
  [
    "a segment shorter than its length",
    jpeg(0xff, 0xe0, 0, 1, 0xff, 0xc0, ...FRAME),
    "E_IMAGE a: a JPEG segment of 1 bytes at byte 4",
  ],
  ["no marker", jpeg(0xff, 0xe0, 0, 2, 0x12, 0xc0), "E_IMAGE a: no JPEG marker where one must be at byte 6"],
  ["an animated WebP", webp("VP8X", [2, 0, 0, 0, 4, 0, 0, 2, 0, 0]), "WebP 5x3 animated"],
  [
    "a still one",
    webp("VP8X", [0x3d, 0, 0, 0, 4, 0, 1, 2, 0, 0]),
    "E_IMAGE_SIZE a: the picture is too large (found 65541 x 3, allowed 16384 a side and 67108864 pixels in all)",
  ],
  [
    "a lossless one without its sign",
    webp("VP8L", [0x2e, 4, 0x80, 0, 0]),
    "E_IMAGE a: its lossless stream has no signature",
  ],
  [
    "a lossy one without its sign",
    webp("VP8 ", [0, 0, 0, 0x9d, 1, 0x2b, 5, 0, 3, 0]),
    "E_IMAGE a: it has no WebP picture",
  ],
  ["another chunk first", webp("EXIF", [0, 0, 0, 0x9d, 1, 0x2a, 5, 0, 3, 0]), "E_IMAGE a: it has no WebP picture"],
  ...(
    [
      ["GIF89a", "a GIF"],
      ["II*\0", "a TIFF"],
      ["MM\0*", "a TIFF"],
      ["%PDF-1.7", "a PDF"],
      ["\0\0\0\x1cftypavif", "an AVIF or HEIC"],
      ["\0\0\0\x1cftypheic", "an AVIF or HEIC"],
      ["\0\0\0\x1cftypmif1", "an AVIF or HEIC"],
      ["<?xml version='1.0'?>", "an SVG"],
      ["\n<SVG>", "an SVG"],
      ["", "empty"],
      ["RIFF\0\0\0\0WAVE", "none of them"],
    ] as const
  ).map(
    ([start, kind]) => [kind, latin(start), `E_IMAGE_KIND a: a PNG, JPEG or WebP is wanted (this is ${kind})`] as const,
  ),
];

test("a header's size and kind, or what is wrong with it", () => {
  for (const [what, bytes, expected] of HEADERS) assert.equal(header(bytes), expected, what);
});

test("a file of 200 MB is looked at, a longer one is not", () => {
  assert.match(header(new Uint8Array(200e6)), /^E_IMAGE_KIND/);
  assert.equal(
    header(new Uint8Array(200e6 + 1)),
    "E_IMAGE_SIZE a: the picture is too large (found 200000001 bytes, allowed 200000000 bytes)",
  );
});

const read = (bytes: Uint8Array) => readPictureTexts(memorySource("x", new Uint8Array(bytes)));
const told = async (bytes: Uint8Array) => {
  const { texts, notes, width, height } = await read(bytes);
  return [texts.map(({ keyword, text }) => `${keyword}=${text}`), notes, width, height];
};

test("a PNG's damaged texts are noted, each by its name, and those behind them read", async () => {
  const last = pngChunk("tEXt", latin("last\0here"));
  for (const [chunk, note] of [
    [pngChunk("tEXt", latin("\0text")), "a tEXt chunk has no keyword"],
    [pngChunk("tEXt", latin("text")), "a tEXt chunk has no keyword"],
    [pngChunk("tEXt", latin(`${"k".repeat(80)}\0text`)), "a tEXt chunk has no keyword"],
    [pngChunk("iTXt", latin("k\0\0\0de")), 'the iTXt chunk "k" is damaged'],
    [pngChunk("iTXt", latin("k\0\0\0de\0tr")), 'the iTXt chunk "k" is damaged'],
    [pngChunk("iTXt", latin("k\0\0\0\0\0\xe9")), 'the iTXt chunk "k" is not UTF-8'],
    [pngChunk("zTXt", latin("k\0\0")), 'the zTXt chunk "k" does not unpack'],
    [pngChunk("zTXt", latin("k\0\0abc")), 'the zTXt chunk "k" does not unpack'],
    [pngChunk("eXIf", latin("II")), "the EXIF block is damaged"],
  ] as const) {
    assert.deepEqual((await told(pngOf(chunk, last))).slice(0, 2), [["last=here"], [note]]);
  }
  const long = "k".repeat(79);
  const packed = Buffer.concat([latin("p\0\x01\0en\0Name\0"), deflateSync(Buffer.from("山"))]);
  const good = pngOf(pngChunk("tEXt", latin(`${long}\0\xe9`)), pngChunk("iTXt", packed), last);
  assert.deepEqual((await told(good)).slice(0, 2), [[`${long}=é`, "p=山", "last=here"], []]);
});

test("a JPEG's comments: UTF-8, else Latin-1, without zeros at their end; its first frame's size; what ends it", async () => {
  const comment = (text: Buffer) => [0xff, 0xfe, 0, text.length + 2, ...text];
  const comments = [...comment(Buffer.from("caf\u00e9\0\0")), ...comment(latin("caf\xe9"))];
  const frames = [0xff, 0xc0, ...FRAME, 0xff, 0xc2, 0, 11, 8, 0, 9, 0, 9, 1, 0, 0, 0];
  const end = [0xff, 0xda, 0, 2, ...comment(latin("no"))];
  const both = ["comment=café", "comment=café"];
  assert.deepEqual(await told(jpeg(...[0xff, 0xd8, 0xff], ...comments, ...frames, ...end)), [both, [], 5, 3]);
  assert.deepEqual(await told(jpeg(...comments, 0xff, 0xe0, 0, 1)), [
    ...[both, ["a segment has no length"], undefined, undefined],
  ]);
  assert.deepEqual(await told(jpeg(...comments, 0xff, 0xc0, 0, 5, 8, 0, 3, 0xff, 0xd9)), [
    both,
    [],
    undefined,
    undefined,
  ]);
  const damaged = "the file is damaged or ends before its pixels";
  assert.deepEqual(await told(jpeg(...comments, 0, 0, 0, 0)), [both, [damaged], undefined, undefined]);
  assert.deepEqual(await told(jpeg(...comments, 0xff, 0xfe, 0, 9, 65, 0xff)), [
    ...[both, ["the file ends within a segment", damaged], undefined, undefined],
  ]);
});

test("a WebP whose picture is cut or none has no size", async () => {
  for (const bytes of [webp("VP8L", [0x2e, 4, 0x80, 0, 0, 0, 0, 0, 0, 0]), webp("VP8X", [0, 0, 0, 0, 4, 0])]) {
    assert.deepEqual((await told(bytes)).slice(2), [undefined, undefined]);
  }
  assert.deepEqual((await told(webp("VP8X", [0, 0, 0, 0, 4, 0, 0, 2, 0, 0]))).slice(2), [5, 3]);
});

test("ComfyUI's graph and workflow stand as the camera's model and maker, with A1111's comment or without, and the rest beside them", async () => {
  const texts = [
    { keyword: "prompt", text: '{"1":{"a":"山"}}' },
    { keyword: "workflow", text: '{"nodes":[]}' },
    { keyword: "parameters", text: "a cat\nSteps: 3" },
    { keyword: "solvay", text: '{"version":"1"}' },
  ];
  const camera = ['Make=workflow:{"nodes":[]}', 'Model=prompt:{"1":{"a":"山"}}'];
  const comment = "UserComment=a cat\nSteps: 3";
  const own = 'solvay={"version":"1"}';
  const plain = {
    jpeg: new Uint8Array(jpeg(0xff, 0xc0, ...FRAME, 0xff, 0xd9)),
    webp: new Uint8Array(webp("VP8L", [0x2f, 4, 0x80, 0, 0, 0, 0, 0, 0, 0])),
  };
  const size = { width: 5, height: 3 };
  for (const [kept, expected] of [
    [texts, [...camera, comment, own]],
    [texts.slice(0, 2), camera],
    [texts.slice(1, 2), camera.slice(0, 1)],
    [texts.slice(2), [comment, own]],
    [texts.slice(3), [own]],
    [[], []],
  ] as const) {
    assert.deepEqual((await told(embedInJpeg(plain.jpeg, kept)))[0], expected);
    assert.deepEqual((await told(embedInWebp(plain.webp, size, kept)))[0], expected);
  }
  // Whatever length a segment has.
  for (let length = 1; length <= 130; length++) {
    const infotext = { keyword: "parameters", text: "x".repeat(length) };
    assert.deepEqual((await told(embedInJpeg(plain.jpeg, [infotext])))[0], [`UserComment=${infotext.text}`]);
  }
});

test("texts that are as short as their entry, and XMP elements with a list around their text or without", async () => {
  const block = (text: string) => exifBlock(false, [[0x010e, latin(text)]]);
  // Four bytes stand in the entry itself, in place of where they would be.
  const four = block("abcd");
  four.write("wxyz", 6 + 8 + 2 + 8, "latin1");
  assert.deepEqual((await told(jpegOf(four)))[0], ["ImageDescription=wxyz"]);
  assert.deepEqual((await told(jpegOf(block("abcde"))))[0], ["ImageDescription=abcde"]);
  const xmp = (inner: string) => latin(`<x><dc:description>${inner}</dc:description></x>`);
  for (const inner of ["a &lt;b&gt; &amp;", "<rdf:Alt><rdf:li xml:lang='x'>a &lt;b&gt; &amp;</rdf:li></rdf:Alt>"]) {
    assert.deepEqual((await told(webpOf("XMP ", xmp(inner))))[0], ["description=a <b> &"]);
  }
});

test("a PNG that is no PNG of ours is told by its kind", async () => {
  const kind = (bytes: Buffer) =>
    decodePng(new Uint8Array(bytes)).then(
      () => "",
      (error: Error) => error.message,
    );
  for (const [start, words] of [
    ["\xff\xd8\xff\xe0", "it is a JPEG"],
    ["RIFF\0\0\0\0WEBPVP8 ", "it is a WebP"],
    ["GIF89a", "it is a GIF"],
    ["<?xml?>", "it is an SVG"],
    ["text", "it is not a PNG"],
  ] as const) {
    assert.ok((await kind(latin(start))).startsWith(`E_IMAGE_KIND image.png: ${words} (allowed`), words);
  }
  const short = png(pngChunk("IHDR", u32(1)), pngChunk("IEND", latin("")));
  assert.match(await kind(short), /^E_IMAGE image\.png: its header is not 13 bytes long/);
  for (const method of ["\b\x02\x01\0\0", "\b\x02\0\x01\0"]) {
    const header = pngChunk("IHDR", Buffer.concat([u32(1), u32(1), latin(method)]));
    const pixels = pngChunk("IDAT", deflateSync(Buffer.alloc(4)));
    assert.match(await kind(png(header, pixels, pngChunk("IEND", latin("")))), /^E_IMAGE_KIND .*unknown PNG/);
  }
  const trailing = Buffer.concat([deflateSync(Buffer.alloc(4)), latin("more")]);
  const more = png(ihdr(1, 1), pngChunk("IDAT", trailing), pngChunk("IEND", latin("")));
  assert.match(await kind(more), /its pixels do not unpack to 1 x 1 \(4 bytes follow its end\)/);
});
