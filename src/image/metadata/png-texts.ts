/** @file The texts of a PNG: tEXt, zTXt, iTXt and eXIf chunks, in file order. Pixels are not read, damage is passed over with a note. */
import { inflate } from "#zlib";
import type { ByteSource } from "../../source/source.ts";
import {
  bytesAt,
  latin1Text,
  MAX_PIECES,
  MAX_TEXT_BYTES,
  type PictureText,
  type PictureTexts,
  TextList,
  viewOf,
} from "./bounds.ts";
import { readExif } from "./exif.ts";

const SIGNATURE_BYTES = 8;
/** Length and type before the content, checksum behind it. */
const FRAME_BYTES = 12;
const TEXTS = ["tEXt", "zTXt", "iTXt"];
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** `source` begins with PNG's signature. */
export async function readPngTexts(source: ByteSource, signal?: AbortSignal): Promise<PictureTexts> {
  const list = new TextList();
  let size: { width: number; height: number } | undefined;
  let startByte = SIGNATURE_BYTES;
  for (let count = 0; ; count++) {
    if (count === MAX_PIECES) {
      list.pass(`more than ${MAX_PIECES} chunks: the rest was not read`);
      break;
    }
    const head = await bytesAt(source, startByte, FRAME_BYTES - 4, signal);
    if (head.length < FRAME_BYTES - 4) {
      list.pass("the file ends before its last chunk");
      break;
    }
    const length = viewOf(head).getUint32(0);
    const type = latin1Text(head.subarray(4));
    if (type === "IEND") break;
    const content = (limit: number) => bytesAt(source, startByte + 8, Math.min(length, limit), signal);
    if (type === "IHDR" && length >= 8) {
      const view = viewOf(await content(8));
      if (view.byteLength === 8) size = { width: view.getUint32(0), height: view.getUint32(4) };
    } else if ((TEXTS.includes(type) || type === "eXIf") && list.hasRoom(`a ${type} chunk`, length)) {
      const bytes = await content(length);
      if (bytes.length < length) list.pass(`the file ends within a ${type} chunk`);
      else if (type === "eXIf") readExif(bytes, list);
      else await addText(type, bytes, list);
    }
    startByte += FRAME_BYTES + length;
  }
  return { format: "PNG", ...size, texts: list.texts, notes: list.notes };
}

async function addText(type: string, bytes: Uint8Array<ArrayBuffer>, list: TextList): Promise<void> {
  const found = await textOf(type, bytes, list);
  if (typeof found === "string") list.pass(found);
  else list.add(found.text, found.bytes);
}

/** The text of a chunk and its length, or what is wrong with it. */
async function textOf(
  type: string,
  bytes: Uint8Array<ArrayBuffer>,
  { roomBytes }: TextList,
): Promise<{ readonly text: PictureText; readonly bytes: number } | string> {
  const end = bytes.indexOf(0);
  const keyword = latin1Text(bytes.subarray(0, Math.max(0, end)));
  if (end < 1 || end > 79) return `a ${type} chunk has no keyword`;
  const what = `the ${type} chunk ${JSON.stringify(keyword)}`;
  let packed = type === "zTXt";
  let start = packed ? end + 2 : end + 1;
  if (type === "iTXt") {
    packed = bytes[end + 1] === 1;
    const language = bytes.indexOf(0, end + 3);
    const translated = language < 0 ? -1 : bytes.indexOf(0, language + 1);
    if (translated < 0) return `${what} is damaged`;
    start = translated + 1;
  }
  let body: Uint8Array = bytes.subarray(start);
  if (packed) {
    const unpacked = body.length > 0 ? await inflate(body, { format: "zlib", maxBytes: roomBytes }) : undefined;
    if (!(unpacked instanceof Uint8Array)) {
      const why = unpacked?.kind === "long" ? `unpacks to more than ${MAX_TEXT_BYTES} bytes` : "does not unpack";
      return `${what} ${why}`;
    }
    body = unpacked;
  }
  try {
    const text = type === "iTXt" ? utf8.decode(body) : latin1Text(body);
    return { text: { keyword, text }, bytes: body.length };
  } catch {
    return `${what} is not UTF-8`;
  }
}
