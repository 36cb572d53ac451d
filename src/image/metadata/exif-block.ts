/**
 * @file Writes texts as an EXIF block, to the byte as piexif 1.1.3 does and so A1111's web UI: big endian, the infotext as the user's comment in
 * "UNICODE", UTF-16 of big endian. ComfyUI's graph and workflow stand where its own nodes put them, as the camera's model and maker.
 */
import type { PngText } from "../png.ts";

const HEAD = [0x45, 0x78, 0x69, 0x66, 0, 0, 0x4d, 0x4d, 0, 0x2a, 0, 0, 0, 8]; // "Exif\0\0MM", 42, the first directory's place
/** "Exif\0\0": places count from behind it. */
export const EXIF_NAME_BYTES = 6;
const FIRST_BYTE = 8;
const ENTRY_BYTES = 12;
const EXIF_DIRECTORY = 0x8769;
const USER_COMMENT = 0x9286;
const ASCII = 2;
const LONG = 4;
const UNDEFINED = 7;

/** PNG's keyword -> tag of the first directory, in the tags' order. */
const CAMERA_TAGS = [
  ["workflow", 0x010f],
  ["prompt", 0x0110],
] as const;

interface Entry {
  readonly tag: number;
  readonly type: number;
  readonly value: Uint8Array;
}

/** Keywords of PNG's texts that an EXIF block has a place for. */
export const EXIF_KEYWORDS: readonly string[] = ["parameters", ...CAMERA_TAGS.map(([keyword]) => keyword)];

/** The block with "Exif\0\0" before it; undefined where none of `texts` has a place in it. */
export function exifBlock(texts: readonly PngText[]): Uint8Array<ArrayBuffer> | undefined {
  const textOf = (keyword: string) => texts.find((text) => text.keyword === keyword)?.text;
  const parameters = textOf("parameters");
  const camera = CAMERA_TAGS.flatMap(([keyword, tag]): Entry[] => {
    const text = textOf(keyword);
    return text === undefined ? [] : [{ tag, type: ASCII, value: new TextEncoder().encode(`${keyword}:${text}\0`) }];
  });
  if (parameters === undefined && camera.length === 0) return undefined;
  const pointers = parameters === undefined ? 0 : 1;
  // The count, the entries, the place of a next directory, which there is none of, and the values.
  const nestedAt = FIRST_BYTE + 2 + (camera.length + pointers) * ENTRY_BYTES + 4 + valueBytes(camera);
  const first = directory(FIRST_BYTE, camera, parameters === undefined ? undefined : nestedAt, 4);
  const comment = { tag: USER_COMMENT, type: UNDEFINED, value: commentBytes(parameters ?? "") };
  const nested = parameters === undefined ? new Uint8Array(0) : directory(nestedAt, [comment], undefined, 0);
  const block = new Uint8Array(EXIF_NAME_BYTES + FIRST_BYTE + first.length + nested.length);
  block.set(HEAD);
  block.set(first, EXIF_NAME_BYTES + FIRST_BYTE);
  block.set(nested, EXIF_NAME_BYTES + nestedAt);
  return block;
}

/** All values are longer than the four bytes that would fit into an entry. */
function valueBytes(entries: readonly Entry[]): number {
  return entries.reduce((sum, { value }) => sum + value.length, 0);
}

/** @param nestedAt where the EXIF directory is, as this one's last entry; @param endBytes zeros between entries and values */
function directory(startByte: number, entries: readonly Entry[], nestedAt: number | undefined, endBytes: number) {
  const count = entries.length + (nestedAt === undefined ? 0 : 1);
  const headBytes = 2 + count * ENTRY_BYTES + endBytes;
  const bytes = new Uint8Array(headBytes + valueBytes(entries));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, count);
  let at = 2;
  const write = (tag: number, type: number, length: number, value: number) => {
    view.setUint16(at, tag);
    view.setUint16(at + 2, type);
    view.setUint32(at + 4, length);
    view.setUint32(at + 8, value);
    at += ENTRY_BYTES;
  };
  let valueAt = headBytes;
  for (const { tag, type, value } of entries) {
    write(tag, type, value.length, startByte + valueAt);
    bytes.set(value, valueAt);
    valueAt += value.length;
  }
  if (nestedAt !== undefined) write(EXIF_DIRECTORY, LONG, 1, nestedAt);
  return bytes;
}

function commentBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(8 + 2 * text.length);
  bytes.set(new TextEncoder().encode("UNICODE\0"));
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < text.length; at++) view.setUint16(8 + 2 * at, text.charCodeAt(at));
  return bytes;
}
