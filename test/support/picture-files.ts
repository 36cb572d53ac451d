/** @file Files of pictures made by hand after their specifications, with texts in them and no pixels worth seeing; and what a file's texts are. */
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { type PictureText, readPictureTexts } from "../../src/image/metadata/picture-texts.ts";
import { memorySource } from "../../src/source/memory.ts";

export function pngChunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(data.length, 0);
  frame.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

/** 3 x 2 pixels by its header. */
export function pngOf(...chunks: readonly Uint8Array[]): Buffer {
  const header = Buffer.from([0, 0, 0, 3, 0, 0, 0, 2, 8, 2, 0, 0, 0]);
  const end = pngChunk("IEND", Buffer.alloc(0));
  return Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), pngChunk("IHDR", header), ...chunks, end]);
}

/** A JPEG with these APP1 segments. */
export function jpegOf(...segments: readonly Uint8Array[]): Buffer {
  const parts = segments.map((data) => {
    const frame = Buffer.from([0xff, 0xe1, 0, 0]);
    frame.writeUInt16BE(data.length + 2, 2);
    return Buffer.concat([frame, data]);
  });
  return Buffer.concat([Buffer.from([0xff, 0xd8]), ...parts, Buffer.from([0xff, 0xda, 0, 2, 0xff, 0xd9])]);
}

export function webpOf(type: string, data: Uint8Array): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(data.length);
  const chunk = Buffer.concat([Buffer.from(type, "latin1"), size, data, Buffer.alloc(data.length % 2)]);
  const all = Buffer.alloc(4);
  all.writeUInt32LE(chunk.length + 4);
  return Buffer.concat([Buffer.from("RIFF"), all, Buffer.from("WEBP"), chunk]);
}

/** "Exif\0\0" and a TIFF block: a directory with `tags` of ASCII, and a nested one with a user's comment. */
export function exifBlock(
  little: boolean,
  tags: readonly (readonly [tag: number, text: Uint8Array])[],
  comment?: Uint8Array,
): Buffer {
  const short = (value: number) => {
    const bytes = Buffer.alloc(2);
    if (little) bytes.writeUInt16LE(value);
    else bytes.writeUInt16BE(value);
    return bytes;
  };
  const long = (value: number) => {
    const bytes = Buffer.alloc(4);
    if (little) bytes.writeUInt32LE(value);
    else bytes.writeUInt32BE(value);
    return bytes;
  };
  const count = tags.length + (comment ? 1 : 0);
  let free = 8 + 2 + 12 * count + 4;
  const entries: Buffer[] = [];
  const values: Uint8Array[] = [];
  for (const [tag, text] of tags) {
    entries.push(Buffer.concat([short(tag), short(2), long(text.length), long(free)]));
    values.push(text);
    free += text.length;
  }
  if (comment) {
    entries.push(Buffer.concat([short(0x8769), short(4), long(1), long(free)]));
    const at = free + 2 + 12 + 4;
    values.push(short(1), short(0x9286), short(7), long(comment.length), long(at), long(0), comment);
  }
  const start = Buffer.concat([Buffer.from(little ? "II" : "MM"), short(42), long(8), short(count)]);
  return Buffer.concat([Buffer.from("Exif\0\0"), start, ...entries, long(0), ...values]);
}

/** What a picture's file says, as people read it; nothing in it may be damaged. */
export async function writtenTexts(picture: Uint8Array): Promise<readonly PictureText[]> {
  const { texts, notes } = await readPictureTexts(memorySource("a picture", new Uint8Array(picture)));
  assert.deepEqual(notes, []);
  return texts;
}
