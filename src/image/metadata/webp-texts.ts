/** @file The texts of a WebP: its EXIF and XMP chunks (RIFF container, RFC 9649). Pixels are not read. */
import type { ByteSource } from "../../source/source.ts";
import { bytesAt, latin1Text, MAX_PIECES, type PictureTexts, TextList, viewOf } from "./bounds.ts";
import { readExif } from "./exif.ts";
import { readXmp } from "./xmp.ts";

const RIFF_HEADER_BYTES = 12;

/** `source` begins with RIFF....WEBP. */
export async function readWebpTexts(source: ByteSource, signal?: AbortSignal): Promise<PictureTexts> {
  const list = new TextList();
  let size: { width: number; height: number } | undefined;
  let startByte = RIFF_HEADER_BYTES;
  for (let count = 0; count < MAX_PIECES && startByte + 8 <= source.byteLength; count++) {
    const head = await bytesAt(source, startByte, 8, signal);
    const type = latin1Text(head.subarray(0, 4));
    const length = viewOf(head).getUint32(4, true);
    if (startByte + 8 + length > source.byteLength) {
      list.pass(`the file ends within a chunk ${JSON.stringify(type)}`);
      break;
    }
    if (type.startsWith("VP8"))
      size ??= sizeOf(type, await bytesAt(source, startByte + 8, Math.min(length, 10), signal));
    if ((type === "EXIF" || type === "XMP ") && list.hasRoom(`the ${type.trim()} chunk`, length)) {
      const bytes = await bytesAt(source, startByte + 8, length, signal);
      if (type === "EXIF") readExif(bytes, list);
      else readXmp(bytes, list);
    }
    startByte += 8 + length + (length % 2);
  }
  return { format: "WebP", ...size, texts: list.texts, notes: list.notes };
}

/** Of the extended header, a lossy or a lossless picture's first bytes. */
function sizeOf(type: string, bytes: Uint8Array): { width: number; height: number } | undefined {
  if (bytes.length < 10) return undefined;
  const view = viewOf(bytes);
  const three = (at: number) => view.getUint16(at, true) + 65_536 * bytes[at + 2]!;
  if (type === "VP8X") return { width: three(4) + 1, height: three(7) + 1 };
  if (type === "VP8 ") return { width: view.getUint16(6, true) & 0x3fff, height: view.getUint16(8, true) & 0x3fff };
  if (type !== "VP8L" || bytes[0] !== 0x2f) return undefined;
  const bits = view.getUint32(1, true);
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
}
