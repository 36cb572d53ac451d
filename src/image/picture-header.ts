/**
 * @file What a picture's first bytes say: its format and size, read by hand so that a decoder never sees a file of another kind or
 * one too large. PNG specification 11.2.2; JPEG (T.81) annex B; WebP container specification (RFC 9649).
 */
import { ArtifactError } from "../errors.ts";

export type PictureFormat = "PNG" | "JPEG" | "WebP";

export interface PictureHeader {
  readonly format: PictureFormat;
  /** Pixels as stored, before any turning. */
  readonly width: number;
  readonly height: number;
  /** More than one frame. */
  readonly animated: boolean;
}

/** Far above a camera's pictures; a base64 text of it still fits a JavaScript string. */
export const MAX_PICTURE_BYTES = 200e6;
/** WebP's own limit is 16383. */
export const MAX_PICTURE_SIDE = 16_384;
/** 64 megapixels. */
export const MAX_PICTURE_PIXELS = 2 ** 26;
/** PNG chunks, JPEG markers or WebP chunks before the size: real files have a few. */
const MAX_PARTS = 65_536;
/**
 * Host memory while one pixel is decoded: 4 bytes as decoded, 4 as turned, 4 as handed over, 4 as laid over white, and the coefficients of a
 * progressive JPEG (2 bytes x 4 channels).
 */
const DECODE_BYTES_PER_PIXEL = 24;

/** Most bytes of host memory that decoding takes at once, the file's own not counted. */
export function decodeBytes({ width, height }: Pick<PictureHeader, "width" | "height">): number {
  return width * height * DECODE_BYTES_PER_PIXEL;
}

/**
 * Reads a picture's format and size, and refuses what no decoder should see.
 * @throws ArtifactError `E_IMAGE_KIND` for other formats, `E_IMAGE_SIZE` for one too large, `E_IMAGE` for damage
 */
export function readPictureHeader(bytes: Uint8Array, name: string): PictureHeader {
  if (bytes.length > MAX_PICTURE_BYTES) throw tooLarge(name, `${bytes.length} bytes`, `${MAX_PICTURE_BYTES} bytes`);
  const format = formatOf(bytes);
  if (format === undefined) throw otherKind(name, bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const header = { format, ...READERS[format](view, name) };
    const { width, height } = header;
    if (width === 0 || height === 0) throw damagedPicture(name, `it is ${width} x ${height} pixels`);
    if (width > MAX_PICTURE_SIDE || height > MAX_PICTURE_SIDE || width * height > MAX_PICTURE_PIXELS) {
      const allowed = `${MAX_PICTURE_SIDE} a side and ${MAX_PICTURE_PIXELS} pixels in all`;
      throw tooLarge(name, `${width} x ${height}`, allowed);
    }
    return header;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw damagedPicture(name, `it ends before its size is told (${bytes.length} bytes)`, error);
  }
}

/** The refusal of a picture that can't be decoded. */
export function damagedPicture(name: string, problem: string, cause?: unknown): ArtifactError {
  return new ArtifactError({
    code: "E_IMAGE",
    subject: name,
    problem,
    next: "take another copy of the picture",
    cause,
  });
}

type Size = Omit<PictureHeader, "format">;

/** They read beyond the end where a file is cut: DataView's RangeError. */
const READERS: Readonly<Record<PictureFormat, (view: DataView, name: string) => Size>> = {
  PNG: readPng,
  JPEG: readJpeg,
  WebP: readWebp,
};

const latin1 = new TextDecoder("latin1");

function textAt(view: DataView, at: number, chars: number): string {
  return latin1.decode(new Uint8Array(view.buffer, view.byteOffset + at, chars));
}

function formatOf(bytes: Uint8Array): PictureFormat | undefined {
  const start = latin1.decode(bytes.subarray(0, 12));
  if (bytes[0] === 0x89 && start.startsWith("PNG\r\n\x1a\n", 1)) return "PNG";
  if (start.startsWith("\xff\xd8\xff")) return "JPEG";
  return start.startsWith("RIFF") && start.slice(8) === "WEBP" ? "WebP" : undefined;
}

function readPng(view: DataView, name: string): Size {
  if (textAt(view, 12, 4) !== "IHDR") throw damagedPicture(name, "its header is not its first chunk");
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  for (let at = 8, parts = 0; parts < MAX_PARTS && at + 8 <= view.byteLength; parts++) {
    const type = textAt(view, at + 4, 4);
    if (type === "acTL" || type === "IDAT") return { width, height, animated: type === "acTL" };
    at += 12 + view.getUint32(at);
  }
  throw damagedPicture(name, "it has no pixels");
}

/** Frame headers but SOF's relatives: DHT (C4), JPG (C8), DAC (CC). */
function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

function readJpeg(view: DataView, name: string): Size {
  let at = 2;
  for (let parts = 0; parts < MAX_PARTS; parts++) {
    if (view.getUint8(at) !== 0xff) throw damagedPicture(name, `no JPEG marker where one must be at byte ${at}`);
    while (view.getUint8(at + 1) === 0xff) at++;
    const marker = view.getUint8(at + 1);
    at += 2;
    if (isFrame(marker)) return { height: view.getUint16(at + 3), width: view.getUint16(at + 5), animated: false };
    if (marker === 0xda || marker === 0xd9) break;
    // RSTn and TEM stand alone.
    if ((marker >= 0xd0 && marker <= 0xd7) || marker === 0x01) continue;
    const lengthBytes = view.getUint16(at);
    if (lengthBytes < 2) throw damagedPicture(name, `a JPEG segment of ${lengthBytes} bytes at byte ${at}`);
    at += lengthBytes;
  }
  throw damagedPicture(name, "its size is not told before its pixels");
}

function readWebp(view: DataView, name: string): Size {
  const kind = textAt(view, 12, 4);
  const body = 20;
  const uint24 = (at: number) => view.getUint16(at, true) + view.getUint8(at + 2) * 65_536;
  if (kind === "VP8X") {
    const animated = (view.getUint8(body) & 2) !== 0;
    return { width: uint24(body + 4) + 1, height: uint24(body + 7) + 1, animated };
  }
  if (kind === "VP8L") {
    if (view.getUint8(body) !== 0x2f) throw damagedPicture(name, "its lossless stream has no signature");
    const bits = view.getUint32(body + 1, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1, animated: false };
  }
  if (kind !== "VP8 " || uint24(body + 3) !== 0x2a019d) throw damagedPicture(name, "it has no WebP picture");
  const [width, height] = [view.getUint16(body + 6, true), view.getUint16(body + 8, true)];
  return { width: width & 0x3fff, height: height & 0x3fff, animated: false };
}

function tooLarge(name: string, found: string, allowed: string): ArtifactError {
  const problem = `the picture is too large (found ${found}, allowed ${allowed})`;
  return new ArtifactError({ code: "E_IMAGE_SIZE", subject: name, problem, next: "scale it down" });
}

function otherKind(name: string, bytes: Uint8Array): ArtifactError {
  const start = latin1.decode(bytes.subarray(0, 256));
  const kind = start.startsWith("GIF8")
    ? "a GIF"
    : start.startsWith("II*\0") || start.startsWith("MM\0*")
      ? "a TIFF"
      : start.startsWith("%PDF")
        ? "a PDF"
        : /^ftyp(avif|hei|mif1)/.test(start.slice(4))
          ? "an AVIF or HEIC"
          : /<svg|<\?xml/i.test(start)
            ? "an SVG"
            : bytes.length === 0
              ? "empty"
              : "none of them";
  const problem = `a PNG, JPEG or WebP is wanted (this is ${kind})`;
  return new ArtifactError({ code: "E_IMAGE_KIND", subject: name, problem, next: "save it as one of these" });
}
