/** @file The texts of a JPEG: EXIF and XMP (APP1) and comments (COM), in file order. Only the segments before the pixels are read. */
import type { ByteSource } from "../../source/source.ts";
import { bytesAt, latin1Text, MAX_PIECES, type PictureTexts, TextList, viewOf } from "./bounds.ts";
import { readExif } from "./exif.ts";
import { readXmp } from "./xmp.ts";

const START_OF_SCAN = 0xda;
const END = 0xd9;
const COMMENT = 0xfe;
const APP1 = 0xe1;
const XMP_NAME = "http://ns.adobe.com/xap/1.0/\0";
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** `source` begins with FF D8 FF. */
export async function readJpegTexts(source: ByteSource, signal?: AbortSignal): Promise<PictureTexts> {
  const list = new TextList();
  let size: { width: number; height: number } | undefined;
  let startByte = 2;
  for (let count = 0; count < MAX_PIECES; count++) {
    const head = await bytesAt(source, startByte, 4, signal);
    const marker = head[1];
    if (head[0] !== 0xff || marker === undefined) {
      list.pass("the file is damaged or ends before its pixels");
      break;
    }
    if (marker === START_OF_SCAN || marker === END) break;
    // A filling byte, or a marker that stands alone.
    if (marker === 0xff || marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
      startByte += marker === 0xff ? 1 : 2;
      continue;
    }
    const length = head.length < 4 ? 0 : viewOf(head).getUint16(2);
    if (length < 2) {
      list.pass("a segment has no length");
      break;
    }
    if (marker === COMMENT || marker === APP1 || isFrame(marker)) {
      const bytes = await bytesAt(source, startByte + 4, length - 2, signal);
      if (bytes.length < length - 2) list.pass("the file ends within a segment");
      else if (marker === COMMENT) addComment(bytes, list);
      else if (marker !== APP1) size ??= frameSize(bytes);
      else if (latin1Text(bytes.subarray(0, 6)) === "Exif\0\0") readExif(bytes, list);
      else if (latin1Text(bytes.subarray(0, XMP_NAME.length)) === XMP_NAME) {
        readXmp(bytes.subarray(XMP_NAME.length), list);
      }
    }
    startByte += 2 + length;
  }
  return { format: "JPEG", ...size, texts: list.texts, notes: list.notes };
}

/** Start of frame: all of C0..CF but tables and the arithmetic coder's settings. */
function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

function frameSize(bytes: Uint8Array): { width: number; height: number } | undefined {
  if (bytes.length < 5) return undefined;
  const view = viewOf(bytes);
  return { width: view.getUint16(3), height: view.getUint16(1) };
}

function addComment(bytes: Uint8Array, list: TextList): void {
  if (!list.hasRoom("a comment", bytes.length)) return;
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    text = latin1Text(bytes);
  }
  list.add({ keyword: "comment", text: text.replace(/\0+$/, "") }, bytes.length);
}
