/** @file Puts texts into the file of a JPEG or WebP that has none: EXIF where others look for them, XMP for the rest. Pixels are not touched. */
import type { PngText } from "../png.ts";
import { latin1Text, viewOf } from "./bounds.ts";
import { EXIF_KEYWORDS, EXIF_NAME_BYTES, exifBlock } from "./exif-block.ts";
import { canBeXmp, xmpPacket } from "./xmp-packet.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A JPEG's segment without the two bytes of its length. */
const MAX_SEGMENT_BYTES = 65_533;
const XMP_NAME = new TextEncoder().encode("http://ns.adobe.com/xap/1.0/\0");
const APP0 = 0xe0;
const APP1 = 0xe1;

const RIFF_HEADER_BYTES = 12;
const VP8X_FLAG = { xmp: 0x04, exif: 0x08, alpha: 0x10 };

/** What of `texts` has no place in such a file, each a phrase for a person. */
export function lostTexts(format: "jpeg" | "webp", texts: readonly PngText[]): string[] {
  const lost = otherTexts(texts)
    .filter((text) => !canBeXmp(text))
    .map(({ keyword }) => `the text ${JSON.stringify(keyword.slice(0, 79))} has no place in a JPEG or WebP`);
  const tooLong = segmentsOf(texts)
    .filter(({ length }) => length > MAX_SEGMENT_BYTES)
    .map(({ length }) => `texts of ${length} bytes are too long for a JPEG (allowed ${MAX_SEGMENT_BYTES})`);
  return format === "jpeg" ? [...lost, ...tooLong] : lost;
}

/** The file with those of `texts` that have a place in it, behind the JFIF header. `jpeg` begins with FF D8. */
export function embedInJpeg(jpeg: Bytes, texts: readonly PngText[]): Bytes {
  const segments = segmentsOf(texts)
    .filter(({ length }) => length <= MAX_SEGMENT_BYTES)
    .flatMap((block) => [Uint8Array.of(0xff, APP1, (block.length + 2) >> 8, (block.length + 2) & 0xff), block]);
  const after = jpeg[3] === APP0 ? 4 + viewOf(jpeg).getUint16(4) : 2;
  return joined([jpeg.subarray(0, after), ...segments, jpeg.subarray(after)]);
}

function segmentsOf(texts: readonly PngText[]): Bytes[] {
  const exif = exifBlock(texts);
  const xmp = xmpPacket(otherTexts(texts));
  return [...(exif ? [exif] : []), ...(xmp ? [joined([XMP_NAME, xmp])] : [])];
}

/** As `embedInJpeg`. `webp`: one frame. It gets the extended header that files with texts have (RFC 9649). */
export function embedInWebp(webp: Bytes, size: Size, texts: readonly PngText[]): Bytes {
  // Here the chunk's own name stands for the one that the block begins with.
  const exif = exifBlock(texts)?.subarray(EXIF_NAME_BYTES);
  const xmp = xmpPacket(otherTexts(texts));
  const head = latin1Text(webp.subarray(RIFF_HEADER_BYTES, RIFF_HEADER_BYTES + 4));
  const extended = head === "VP8X";
  // A lossless picture says in its own header whether it has alpha.
  const hasAlpha = head === "VP8L" && (webp[RIFF_HEADER_BYTES + 8 + 4]! & 0x10) !== 0;
  const before = extended ? webp[RIFF_HEADER_BYTES + 8]! : hasAlpha ? VP8X_FLAG.alpha : 0;
  const flags = before | (exif ? VP8X_FLAG.exif : 0) | (xmp ? VP8X_FLAG.xmp : 0);
  const bytes = joined([
    webp.subarray(0, RIFF_HEADER_BYTES),
    chunk("VP8X", extendedHeader(flags, size)),
    webp.subarray(RIFF_HEADER_BYTES + (extended ? 18 : 0)),
    ...(exif ? [chunk("EXIF", exif)] : []),
    ...(xmp ? [chunk("XMP ", xmp)] : []),
  ]);
  viewOf(bytes).setUint32(4, bytes.length - 8, true);
  return bytes;
}

function otherTexts(texts: readonly PngText[]): PngText[] {
  return texts.filter(({ keyword }) => !EXIF_KEYWORDS.includes(keyword));
}

interface Size {
  readonly width: number;
  readonly height: number;
}

function extendedHeader(flags: number, { width, height }: Size): Uint8Array {
  const three = (value: number) => [value & 0xff, (value >> 8) & 0xff, value >> 16];
  return Uint8Array.from([flags, 0, 0, 0, ...three(width - 1), ...three(height - 1)]);
}

function chunk(type: string, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + content.length + (content.length % 2));
  bytes.set(new TextEncoder().encode(type));
  viewOf(bytes).setUint32(4, content.length, true);
  bytes.set(content, 8);
  return bytes;
}

function joined(parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
