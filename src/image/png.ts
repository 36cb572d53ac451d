/**
 * @file PNG pictures: writing 8-bit RGB with text, reading the pixels of 8-bit RGB and RGBA (texts: metadata/png-texts.ts).
 * Equal pixels and text give equal bytes. Reading trusts nothing: sizes are checked before anything is allocated.
 */
import { crc32, deflate, inflate } from "#zlib";
import { ArtifactError } from "../errors.ts";
import { filterRows, unfilterRows } from "./filter.ts";

/** One text chunk: what it is (1..79 Latin-1 characters, e.g. "parameters") and its text. */
export interface PngText {
  readonly keyword: string;
  readonly text: string;
}

/** A picture, rows from the top, three bytes a pixel. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly rgb: Uint8Array;
}

/** A picture as read: `channels` bytes a pixel, 3 (RGB) or 4 (RGBA). */
export interface DecodedPng {
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
  /** [height, width, channels] */
  readonly pixels: Uint8Array;
}

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** Nothing that this program makes or takes is larger; a picture of this size is 67 MB unpacked. */
const MAX_SIDE = 4096;
const MAX_PIXELS = 4096 * 4096;
const MAX_CHUNKS = 65_536;

const latin1 = new TextDecoder("latin1");
const encoder = new TextEncoder();

/**
 * Encodes a picture. Text goes into tEXt where it fits Latin-1, else into iTXt, before the pixels, as Pillow does.
 * NUL, which PNG can't hold in a text, becomes U+FFFD.
 * @param image `alpha`: [height, width], makes it RGBA
 * @throws RangeError where sizes or a keyword can't be
 */
export async function encodePng(
  image: RgbImage & { readonly alpha?: Uint8Array; readonly text?: readonly PngText[] },
): Promise<Uint8Array<ArrayBuffer>> {
  const { width, height, rgb, alpha, text = [] } = image;
  const side = (value: number): boolean => Number.isInteger(value) && value >= 1 && value < 2 ** 31;
  const pixels = width * height;
  if (!side(width) || !side(height) || rgb.length !== pixels * 3 || (alpha && alpha.length !== pixels)) {
    throw new RangeError(`${rgb.length} bytes are not ${width} x ${height} RGB pixels`);
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, alpha ? 6 : 2, 0, 0, 0], 8);
  const channels = alpha ? 4 : 3;
  const rows = filterRows(alpha ? joined(rgb, alpha) : rgb, width * channels, channels);
  return join([
    Uint8Array.from(SIGNATURE),
    chunk("IHDR", header),
    ...text.map(textChunk),
    chunk("IDAT", await deflate(rows, { format: "zlib" })),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

function joined(rgb: Uint8Array, alpha: Uint8Array): Uint8Array {
  const rgba = new Uint8Array(alpha.length * 4);
  for (let pixel = 0; pixel < alpha.length; pixel++) {
    rgba.set(rgb.subarray(pixel * 3, pixel * 3 + 3), pixel * 4);
    rgba[pixel * 4 + 3] = alpha[pixel]!;
  }
  return rgba;
}

function textChunk({ keyword, text }: PngText): Uint8Array<ArrayBuffer> {
  if (!/^[\x21-\x7e\xa1-\xff]+( [\x21-\x7e\xa1-\xff]+)*$/.test(keyword) || keyword.length > 79) {
    throw new RangeError(`${JSON.stringify(keyword)} can't be a PNG keyword`);
  }
  const safe = text.replaceAll("\0", "\ufffd");
  const key = latin1Bytes(keyword);
  return /^[\0-\xff]*$/.test(safe)
    ? chunk("tEXt", join([key, Uint8Array.of(0), latin1Bytes(safe)]))
    : chunk("iTXt", join([key, Uint8Array.of(0, 0, 0, 0, 0), encoder.encode(safe)]));
}

function latin1Bytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function chunk(type: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(12 + data.length);
  const view = new DataView(whole.buffer);
  view.setUint32(0, data.length);
  whole.set(latin1Bytes(type), 4);
  whole.set(data, 8);
  view.setUint32(8 + data.length, crc32(whole.subarray(4, 8 + data.length)));
  return whole;
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * Decodes an 8-bit RGB or RGBA picture of at most 4096 pixels a side.
 * @throws ArtifactError `E_IMAGE_SIZE` for one too large, `E_IMAGE_KIND` for other kinds, `E_IMAGE` for damage
 */
export async function decodePng(bytes: Uint8Array<ArrayBuffer>, name = "image.png"): Promise<DecodedPng> {
  const packed: Uint8Array[] = [];
  let header: { width: number; height: number; channels: 3 | 4 } | undefined;
  for (const { type, data, startByte } of chunksOf(bytes, name)) {
    if (type === "IHDR") header = readHeader(data, name);
    else if (type === "acTL") throw otherKind(name, "an animated PNG");
    else if (type === "IDAT") packed.push(data);
    else if (/^[A-Z]/.test(type) && type !== "IEND" && type !== "PLTE") {
      throw damaged(name, `it has a critical chunk ${JSON.stringify(type)} that is not known`, startByte);
    }
  }
  if (!header) throw damaged(name, "it has no header", SIGNATURE.length);
  const { width, height, channels } = header;
  const rowBytes = width * channels;
  const wanted = (rowBytes + 1) * height;
  try {
    const filtered = await unpack(join(packed), wanted);
    if (filtered.length !== wanted) throw new RangeError(`${filtered.length} bytes unpacked of ${wanted}`);
    return { width, height, channels, pixels: unfilterRows(filtered, rowBytes, channels) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "unreadable";
    throw damaged(name, `its pixels do not unpack to ${width} x ${height} (${reason})`, undefined, cause);
  }
}

/** A zlib stream's content. @throws RangeError, in words */
async function unpack(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const found = await inflate(bytes, { format: "zlib", maxBytes });
  if (found instanceof Uint8Array) return found;
  if (found.kind === "long") throw new RangeError(`more than ${maxBytes} bytes unpacked`);
  if (found.kind === "trailing") throw new RangeError(`${found.detail} bytes follow its end`);
  throw new RangeError(`the zlib stream is damaged: ${found.detail}`);
}

function readHeader(data: Uint8Array, name: string): { width: number; height: number; channels: 3 | 4 } {
  if (data.length !== 13) throw damaged(name, "its header is not 13 bytes long", SIGNATURE.length);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const width = view.getUint32(0);
  const height = view.getUint32(4);
  if (width === 0 || height === 0) throw damaged(name, `it is ${width} x ${height} pixels`, SIGNATURE.length + 8);
  if (width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS) {
    throw new ArtifactError({
      code: "E_IMAGE_SIZE",
      subject: name,
      problem: `the picture is too large (found ${width} x ${height}, allowed ${MAX_SIDE} a side)`,
      next: "scale it down",
    });
  }
  const [depth, colour, , , interlace] = data.subarray(8);
  if (depth !== 8 || (colour !== 2 && colour !== 6)) {
    throw otherKind(name, `a PNG of ${depth} bits and colour type ${colour}`);
  }
  if (data[10] !== 0 || data[11] !== 0 || interlace !== 0) throw otherKind(name, "an interlaced or unknown PNG");
  return { width, height, channels: colour === 2 ? 3 : 4 };
}

interface Chunk {
  readonly type: string;
  readonly data: Uint8Array<ArrayBuffer>;
  readonly startByte: number;
}

/** All chunks from IHDR to IEND, lengths and checksums checked. */
function* chunksOf(bytes: Uint8Array<ArrayBuffer>, name: string): Generator<Chunk> {
  if (SIGNATURE.some((byte, at) => bytes[at] !== byte)) throw otherKind(name, kindOf(bytes));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let startByte = SIGNATURE.length;
  for (let count = 0; count < MAX_CHUNKS; count++) {
    if (startByte + 12 > bytes.length) throw damaged(name, "it ends before its last chunk", bytes.length);
    const length = view.getUint32(startByte);
    const end = startByte + 12 + length;
    if (end > bytes.length) throw damaged(name, `a chunk of ${length} bytes goes beyond its end`, startByte);
    const type = latin1.decode(bytes.subarray(startByte + 4, startByte + 8));
    if (crc32(bytes.subarray(startByte + 4, end - 4)) !== view.getUint32(end - 4)) {
      throw damaged(name, `the checksum of its ${JSON.stringify(type)} chunk is wrong`, startByte);
    }
    if ((count === 0) !== (type === "IHDR")) throw damaged(name, "its header is not its first chunk", startByte);
    yield { type, data: bytes.subarray(startByte + 8, end - 4), startByte };
    if (type === "IEND") return;
    startByte = end;
  }
  throw damaged(name, `it has more than ${MAX_CHUNKS} chunks`, startByte);
}

function kindOf(bytes: Uint8Array): string {
  const start = latin1.decode(bytes.subarray(0, 256));
  if (start.startsWith("\xff\xd8\xff")) return "a JPEG";
  if (start.startsWith("RIFF") && start.slice(8, 12) === "WEBP") return "a WebP";
  if (start.startsWith("GIF8")) return "a GIF";
  return /<svg|<\?xml/i.test(start) ? "an SVG" : "not a PNG";
}

function otherKind(name: string, kind: string): ArtifactError {
  const problem = `it is ${kind} (allowed: PNG, 8 bits, RGB or RGBA, not interlaced)`;
  return new ArtifactError({ code: "E_IMAGE_KIND", subject: name, problem, next: "save it as a plain PNG" });
}

function damaged(name: string, problem: string, atByte?: number, cause?: unknown): ArtifactError {
  return new ArtifactError({
    code: "E_IMAGE",
    subject: name,
    problem: atByte === undefined ? problem : `${problem} at byte ${atByte}`,
    next: "take another copy of the picture",
    cause,
  });
}
