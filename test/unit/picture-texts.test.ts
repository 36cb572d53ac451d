/** @file The texts in the files of pictures: PNG chunks, EXIF in both byte orders and all character sets, comments, XMP. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { TextList } from "../../src/image/metadata/bounds.ts";
import { embedInJpeg, embedInWebp } from "../../src/image/metadata/embed-texts.ts";
import { type PictureTexts, readPictureTexts } from "../../src/image/metadata/picture-texts.ts";
import { readXmp } from "../../src/image/metadata/xmp.ts";
import { xmpPacket } from "../../src/image/metadata/xmp-packet.ts";
import { encodePng } from "../../src/image/png.ts";
import { readPicture } from "../../src/job/read-picture.ts";
import { memorySource } from "../../src/source/memory.ts";
import { exifBlock, jpegOf, pngChunk, pngOf, webpOf } from "../support/picture-files.ts";

const read = (bytes: Uint8Array): Promise<PictureTexts> => readPictureTexts(memorySource("x", new Uint8Array(bytes)));
const TEXT = "a café, 山\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768";
const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");
const latin = (text: string) => Buffer.from(text, "latin1");

/**
 * Written by Pillow 13.0.0: Image.new("RGB", (3, 2), (10, 20, 30)) with TEXT as a UserComment of "UNICODE\0" and UTF-16 of big endian,
 * as piexif and so A1111 writes it; the JPEG's EXIF is of big endian and has a comment "hello", the WebP's of little endian.
 */
const PILLOW_JPEG =
  "/9j/4AAQSkZJRgABAQAAAQABAAD/4QD8RXhpZgAATU0AKgAAAAgAAYdpAAQAAAABAAAAGgAAAAAAAZKGAAEAAADIAAAALAAAAABVTklDT0RFAA" +
  "BhACAAYwBhAGYA6QAsACBccQAKAE4AZQBnAGEAdABpAHYAZQAgAHAAcgBvAG0AcAB0ADoAIABmAG8AZwAKAFMAdABlAHAAcwA6ACAAMgAwACwA" +
  "IABTAGEAbQBwAGwAZQByADoAIABFAHUAbABlAHIAIABhACwAIABDAEYARwAgAHMAYwBhAGwAZQA6ACAANwAsACAAUwBlAGUAZAA6ACAANQAsAC" +
  "AAUwBpAHoAZQA6ACAANQAxADIAeAA3ADYAOP/+AAdoZWxsb//bAEMAEAsMDgwKEA4NDhIREBMYKBoYFhYYMSMlHSg6Mz08OTM4N0BIXE5ARFdF" +
  "NzhQbVFXX2JnaGc+TXF5cGR4XGVnY//bAEMBERISGBUYLxoaL2NCOEJjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2" +
  "NjY2NjY2NjY//AABEIAAIAAwMBIgACEQEDEQH/xAAfAAABBQEBAQEBAQAAAAAAAAAAAQIDBAUGBwgJCgv/xAC1EAACAQMDAgQDBQUEBAAAAX0B" +
  "AgMABBEFEiExQQYTUWEHInEUMoGRoQgjQrHBFVLR8CQzYnKCCQoWFxgZGiUmJygpKjQ1Njc4OTpDREVGR0hJSlNUVVZXWFlaY2RlZmdoaWpzdH" +
  "V2d3h5eoOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4eLj5OXm5+jp6vHy8/T19vf4+fr/xAAf" +
  "AQADAQEBAQEBAQEBAAAAAAAAAQIDBAUGBwgJCgv/xAC1EQACAQIEBAMEBwUEBAABAncAAQIDEQQFITEGEkFRB2FxEyIygQgUQpGhscEJIzNS8B" +
  "VictEKFiQ04SXxFxgZGiYnKCkqNTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqCg4SFhoeIiYqSk5SVlpeYmZqio6Slpqeo" +
  "qaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2dri4+Tl5ufo6ery8/T19vf4+fr/2gAMAwEAAhEDEQA/AOIoooqyD//Z";
const PILLOW_WEBP =
  "UklGRjgBAABXRUJQVlA4WAoAAAAIAAAAAgAAAQAAVlA4IB4AAABwAQCdASoDAAIAAsBMJZQCdAFAAAD+9hBZA6BHgABFWElG9AAAAElJKgAIAA" +
  "AAAQBphwQAAQAAABoAAAAAAAAAAQCGkgEAyAAAACwAAAAAAAAAVU5JQ09ERQAAYQAgAGMAYQBmAOkALAAgXHEACgBOAGUAZwBhAHQAaQB2AGUA" +
  "IABwAHIAbwBtAHAAdAA6ACAAZgBvAGcACgBTAHQAZQBwAHMAOgAgADIAMAAsACAAUwBhAG0AcABsAGUAcgA6ACAARQB1AGwAZQByACAAYQAsAC" +
  "AAQwBGAEcAIABzAGMAYQBsAGUAOgAgADcALAAgAFMAZQBlAGQAOgAgADUALAAgAFMAaQB6AGUAOgAgADUAMQAyAHgANwA2ADg=";

test("A1111's comment in a JPEG and a WebP that Pillow wrote", async () => {
  const jpeg = await read(Buffer.from(PILLOW_JPEG, "base64"));
  assert.deepEqual(jpeg, {
    ...{ format: "JPEG", width: 3, height: 2, notes: [] },
    texts: [
      { keyword: "UserComment", text: TEXT },
      { keyword: "comment", text: "hello" },
    ],
  });
  assert.equal(readPicture(jpeg)?.job.height, 768);
  const webp = await read(Buffer.from(PILLOW_WEBP, "base64"));
  assert.deepEqual(webp, {
    format: "WebP",
    width: 3,
    height: 2,
    notes: [],
    texts: [{ keyword: "UserComment", text: TEXT }],
  });
});

test("a user's comment in each character set and byte order", async () => {
  const utf16le = Buffer.from(TEXT, "utf16le");
  const utf16be = Buffer.from(TEXT, "utf16le").swap16();
  const ascii = TEXT.replace("é", "e").replace("山", "m");
  // "山" is 3B 33 in JIS X 0208.
  const jis = Buffer.concat([
    latin("ESC "),
    Buffer.from([0x1b, 0x24, 0x42, 0x3b, 0x33, 0x1b, 0x28, 0x42]),
    latin(" end"),
  ]);
  const cases: readonly (readonly [charset: string, body: Uint8Array, text: string])[] = [
    ["UNICODE\0", utf16be, TEXT],
    ["UNICODE\0", utf16le, TEXT],
    ["UNICODE\0", Buffer.concat([Buffer.from([0xff, 0xfe]), utf16le]), TEXT],
    ["UNICODE\0", Buffer.concat([Buffer.from([0xfe, 0xff]), utf16be]), TEXT],
    ["ASCII\0\0\0", latin(ascii), ascii],
    ["\0\0\0\0\0\0\0\0", Buffer.from(TEXT), TEXT],
    ["JIS\0\0\0\0\0", jis, "ESC 山 end"],
    ["", Buffer.from(`{"prompt": "${"x".repeat(20)}"}`), `{"prompt": "${"x".repeat(20)}"}`],
  ];
  for (const little of [true, false]) {
    for (const [charset, body, text] of cases) {
      const block = exifBlock(little, [], Buffer.concat([latin(charset), body]));
      for (const file of [jpegOf(block), webpOf("EXIF", block), pngOf(pngChunk("eXIf", block.subarray(6)))]) {
        const { texts, notes } = await read(file);
        assert.deepEqual(texts, [{ keyword: "UserComment", text }], `${charset} ${little}`);
        assert.deepEqual(notes, []);
      }
    }
  }
});

test("ComfyUI's WebP: the graph as the camera's model", async () => {
  const graph = { 1: { class_type: "KSampler", inputs: { seed: 5, steps: 6, cfg: 7 } } };
  const block = exifBlock(false, [
    [0x0110, latin(`prompt:${JSON.stringify(graph)}\0`)],
    [0x010f, latin('workflow:{"nodes":[]}\0')],
  ]);
  const settings = readPicture(await read(webpOf("EXIF", block)))!;
  assert.equal(settings.tool, "ComfyUI");
  assert.deepEqual(settings.job, { seed: 5, steps: 6, guidance: 7 });
});

test("PNG: tEXt is Latin-1 byte by byte, iTXt UTF-8, both may be packed; chunks after the pixels count", async () => {
  const zero = Buffer.from([0]);
  const file = pngOf(
    pngChunk("tEXt", Buffer.concat([latin("parameters\0"), Buffer.from([0xe9, 0x85, 0x96])])),
    pngChunk("zTXt", Buffer.concat([latin("z\0"), zero, deflateSync(latin("packed é"))])),
    pngChunk("iTXt", Buffer.concat([latin("i\0\0\0\0\0"), Buffer.from("山")])),
    pngChunk("IDAT", Buffer.alloc(50)),
    pngChunk(
      "iTXt",
      Buffer.concat([latin("j\0"), Buffer.from([1, 0]), latin("en\0name\0"), deflateSync(Buffer.from("山 2"))]),
    ),
  );
  assert.deepEqual(await read(file), {
    ...{ format: "PNG", width: 3, height: 2, notes: [] },
    texts: [
      { keyword: "parameters", text: "é\u0085\u0096" },
      { keyword: "z", text: "packed é" },
      { keyword: "i", text: "山" },
      { keyword: "j", text: "山 2" },
    ],
  });
  const text = [
    { keyword: "parameters", text: TEXT },
    { keyword: "k", text: "caf\u00e9 \u0085" },
  ];
  const written = await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3), text });
  assert.deepEqual((await read(written)).texts, text);
});

test("XMP: a comment in an element's list or an attribute, entities read", async () => {
  const packet = (inner: string) => latin(`http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>${inner}</x:xmpmeta>`);
  const json = '{"c":"a &amp; b","uc":"","scale":7,"seed":4,"steps":8,"size":"1024x768"}'.replaceAll('"', "&quot;");
  const list = `<exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">${json}</rdf:li></rdf:Alt></exif:UserComment>`;
  const settings = readPicture(await read(jpegOf(packet(list))))!;
  assert.equal(settings.tool, "Draw Things");
  assert.deepEqual(settings.job, {
    ...{ prompt: "a & b", negativePrompt: "", guidance: 7, seed: 4, steps: 8, width: 1024, height: 768 },
  });
  const { texts } = await read(jpegOf(packet('<rdf:Description dc:description="&#x5c71;&#33;"/>')));
  assert.deepEqual(texts, [{ keyword: "description", text: "山!" }]);
});

test("a user's comment that has no Latin letter is in the order of its block", async () => {
  const text = "山川海空木花鳥風月";
  const utf16 = Buffer.from(text, "utf16le");
  for (const little of [true, false]) {
    const body = little ? utf16 : Buffer.from(utf16).swap16();
    const block = exifBlock(little, [], Buffer.concat([latin("UNICODE\0"), body]));
    assert.deepEqual((await read(jpegOf(block))).texts, [{ keyword: "UserComment", text }], String(little));
  }
});

test("what is written into XMP comes back to the letter, and no XML reader would take a blank or a break of it away", () => {
  const texts = ["a\nb", "\n a \r\n\t", " ", "a  b", "<&>\"'", "&#10;", "&lt;", "山\u{1f600}", "]]>", "\u0085"];
  for (const text of texts) {
    const packet = xmpPacket([{ keyword: "solvay", text }])!;
    const list = new TextList();
    readXmp(packet, list);
    assert.deepEqual(list.texts, [{ keyword: "solvay", text }]);
    // XML's line ends become \n, and blanks at the ends are often cut.
    const inner = /<solvay:solvay>(.*)<\/solvay:solvay>/s.exec(new TextDecoder().decode(packet))![1]!;
    assert.match(inner, /^(?! )[^\t\r\n<>]*(?<! )$/, JSON.stringify(text));
  }
});

test("texts stand in a JPEG behind the JFIF header if there is one, and no other byte of it changes", async () => {
  const texts = [
    { keyword: "parameters", text: TEXT },
    { keyword: "solvay", text: "{}" },
  ];
  const jfif = [0xff, 0xe0, 0, 16, ...latin("JFIF\0"), 1, 1, 0, 0, 1, 0, 1, 0, 0];
  const rest = [0xff, 0xdb, 0, 4, 1, 2, 0xff, 0xda, 0, 2, 7, 0xff, 0xd9];
  for (const head of [[], jfif]) {
    const before = Uint8Array.from([0xff, 0xd8, ...head, ...rest]);
    const after = embedInJpeg(before, texts);
    assert.deepEqual([...after.subarray(0, 2 + head.length)], [0xff, 0xd8, ...head]);
    assert.deepEqual([...after.subarray(-rest.length)], rest);
    let at = 2 + head.length;
    for (const name of ["Exif\0\0", "http://ns.adobe.com/xap/1.0/\0"]) {
      assert.deepEqual([...after.subarray(at, at + 2)], [0xff, 0xe1]);
      assert.equal(latin1(after.subarray(at + 4, at + 4 + name.length)), name);
      at += 2 + 256 * after[at + 2]! + after[at + 3]!;
    }
    assert.equal(at, after.length - rest.length);
  }
});

test("a WebP with texts says what is in it, alpha where there was some, keeps its pixels' chunk, and is as long as it says", async () => {
  const [XMP, EXIF, ALPHA] = [0x04, 0x08, 0x10];
  const size = { width: 300, height: 70_000 };
  const lossless = (alpha: number) => Buffer.from([0x2f, 0, 0, 0, alpha, 9, 9]);
  const extended = (flags: number) => Buffer.concat([Buffer.from([flags]), Buffer.alloc(9)]);
  const infotext = { keyword: "parameters", text: TEXT };
  const own = { keyword: "solvay", text: "{}" };
  for (const [file, texts, flags] of [
    [webpOf("VP8 ", Buffer.alloc(10)), [infotext], EXIF],
    [webpOf("VP8 ", Buffer.alloc(9)), [infotext, own], EXIF | XMP],
    [webpOf("VP8L", lossless(0xef)), [own], XMP],
    [webpOf("VP8L", lossless(0x10)), [own], XMP | ALPHA],
    [webpOf("VP8X", extended(ALPHA)), [infotext], EXIF | ALPHA],
    [webpOf("VP8X", extended(0)), [infotext], EXIF],
  ] as const) {
    const after = Buffer.from(embedInWebp(new Uint8Array(file), size, texts));
    assert.deepEqual([after.toString("latin1", 8, 16), after[20]], ["WEBPVP8X", flags]);
    assert.deepEqual([after.readUIntLE(24, 3) + 1, after.readUIntLE(27, 3) + 1], [size.width, size.height]);
    assert.equal(after.readUInt32LE(4), after.length - 8);
    const pixels = file.toString("latin1", 12, 16) === "VP8X" ? file.subarray(30) : file.subarray(12);
    assert.deepEqual(after.subarray(30, 30 + pixels.length), pixels);
    const found = await read(after);
    assert.deepEqual(
      found.texts.map(({ text }) => text),
      texts.map(({ text }) => text),
    );
    assert.deepEqual(found.notes, []);
    // Cut within the last text's chunk: it isn't there, and that is told.
    const cut = await read(after.subarray(0, -3));
    assert.deepEqual([cut.texts.length, cut.notes.length], [texts.length - 1, 1]);
  }
});
