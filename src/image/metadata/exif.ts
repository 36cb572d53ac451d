/**
 * @file The texts of an EXIF block (TIFF 6.0 directories, EXIF 2.32 tags): the user's comment, where A1111's web UI writes the
 * infotext of JPEG and WebP pictures, and the few others that tools use. Both byte orders. Offsets are checked, nothing is followed twice.
 */
import { latin1Text, type TextList, viewOf } from "./bounds.ts";

/** Tags with text by number; ComfyUI writes "prompt:{...}" and "workflow:{...}" as model and maker of the camera. */
const TAGS: ReadonlyMap<number, string> = new Map([
  [0x010e, "ImageDescription"],
  [0x010f, "Make"],
  [0x0110, "Model"],
  [0x0131, "Software"],
  [0x013b, "Artist"],
  [0x9286, "UserComment"],
  [0x9c9c, "XPComment"],
]);
const EXIF_DIRECTORY = 0x8769;
/** A directory of a picture has some 30. */
const MAX_ENTRIES = 1000;
const ENTRY_BYTES = 12;
/** Bytes of one value by type: 1 byte, 2 ASCII, 7 undefined. Others hold no text. */
const TEXT_TYPES = [1, 2, 7];

/** Adds the texts of `bytes`, with or without "Exif\0\0" before them. Damage is noted. */
export function readExif(bytes: Uint8Array, list: TextList): void {
  const block = latin1Text(bytes.subarray(0, 6)) === "Exif\0\0" ? bytes.subarray(6) : bytes;
  const order = latin1Text(block.subarray(0, 2));
  if (block.length < 8 || (order !== "II" && order !== "MM")) {
    list.pass("the EXIF block is damaged");
    return;
  }
  const little = order === "II";
  const view = viewOf(block);
  const first = view.getUint32(4, little);
  const nested = readDirectory(block, first, little, list);
  // One level down, and no further: a circle of directories ends here.
  if (nested !== undefined && nested !== first) readDirectory(block, nested, little, list);
}

/** Adds a directory's texts. Returns where its EXIF directory is. */
function readDirectory(block: Uint8Array, startByte: number, little: boolean, list: TextList): number | undefined {
  const view = viewOf(block);
  if (startByte + 2 > block.length) {
    list.pass("an EXIF directory lies beyond its block");
    return undefined;
  }
  let nested: number | undefined;
  const count = Math.min(view.getUint16(startByte, little), MAX_ENTRIES);
  for (let i = 0; i < count; i++) {
    const at = startByte + 2 + i * ENTRY_BYTES;
    if (at + ENTRY_BYTES > block.length) {
      list.pass("an EXIF directory is cut short");
      break;
    }
    const tag = view.getUint16(at, little);
    const value = view.getUint32(at + 8, little);
    if (tag === EXIF_DIRECTORY) nested = value;
    const keyword = TAGS.get(tag);
    if (keyword === undefined || !TEXT_TYPES.includes(view.getUint16(at + 2, little))) continue;
    const length = view.getUint32(at + 4, little);
    const from = length <= 4 ? at + 8 : value;
    if (from + length > block.length) {
      list.pass(`the EXIF tag ${keyword} goes beyond its block`);
      continue;
    }
    if (!list.hasRoom(`the EXIF tag ${keyword}`, length)) continue;
    const bytes = block.subarray(from, from + length);
    const text = keyword === "UserComment" ? commentText(bytes, little) : plainText(keyword, bytes);
    if (text !== "") list.add({ keyword, text }, length);
  }
  return nested;
}

/** ASCII tags are UTF-8 in practice; Windows' own are UTF-16 of little endian. */
function plainText(keyword: string, bytes: Uint8Array): string {
  const text = new TextDecoder(keyword.startsWith("XP") ? "utf-16le" : "utf-8").decode(bytes);
  return text.replace(/\0+$/, "");
}

/** A user's comment: 8 bytes that name the character set, then the text. */
function commentText(bytes: Uint8Array, little: boolean): string {
  const charset = latin1Text(bytes.subarray(0, 8)).replace(/\0+$/, "");
  const body = bytes.subarray(8);
  const decoded = (label: string) => new TextDecoder(label).decode(body).replace(/\0+$/, "");
  switch (charset) {
    case "ASCII":
    case "":
      return decoded("utf-8").trimEnd();
    case "UNICODE":
      return decoded(utf16Of(body, little));
    case "JIS":
      return decoded("iso-2022-jp");
    default:
      // Written without a character set.
      return new TextDecoder().decode(bytes).replace(/\0+$/, "");
  }
}

/** piexif, and so A1111's web UI, writes UTF-16 of big endian whatever the block's order is; others follow the block. */
function utf16Of(bytes: Uint8Array, little: boolean): "utf-16le" | "utf-16be" {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  // Spaces, line breaks and Latin letters have a zero as their high byte, and every infotext has many.
  let high = 0;
  let low = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) {
    if (bytes[at] === 0 && bytes[at + 1] !== 0) high++;
    if (bytes[at + 1] === 0 && bytes[at] !== 0) low++;
  }
  if (high === low) return little ? "utf-16le" : "utf-16be";
  return high > low ? "utf-16be" : "utf-16le";
}
