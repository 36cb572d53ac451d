/** @file How much of a picture's file is read for its texts, and small reads of it. All of it is untrusted. */
import type { ByteSource } from "../../source/source.ts";

/** One text: far above any prompt; ComfyUI's workflows reach a few MB. A packed text may otherwise unpack to anything. */
export const MAX_TEXT_BYTES = 8 * 1024 ** 2;
/** All texts of a picture together. */
const MAX_ALL_BYTES = 16 * 1024 ** 2;
/** Pictures have two or three. */
const MAX_TEXTS = 100;
/** Pieces of a container: pictures of 100 megapixels in pieces of 8 KB have fewer. */
export const MAX_PIECES = 65_536;

/** A text that a picture's file holds, under the name that the container gives it. */
export interface PictureText {
  /** PNG: the keyword ("parameters"); EXIF: the tag's name ("UserComment"); JPEG: "comment"; XMP: the element's name. */
  readonly keyword: string;
  readonly text: string;
}

/** Texts found so far, within the bounds, and what was passed over. */
export class TextList {
  readonly texts: PictureText[] = [];
  readonly notes: string[] = [];
  #bytesLeft = MAX_ALL_BYTES;

  /** What the next text may take, 0 if none may follow. */
  get roomBytes(): number {
    return this.texts.length < MAX_TEXTS ? Math.min(MAX_TEXT_BYTES, this.#bytesLeft) : 0;
  }

  /** False, with a note, for a text too long for what is left. */
  hasRoom(what: string, bytes: number): boolean {
    if (bytes <= this.roomBytes && this.roomBytes > 0) return true;
    this.pass(`${what} of ${bytes} bytes is too long (allowed ${this.roomBytes})`);
    return false;
  }

  add(text: PictureText, bytes: number): void {
    this.#bytesLeft -= bytes;
    this.texts.push(text);
  }

  /** Notes that something was passed over. */
  pass(note: string): void {
    if (this.notes.length < MAX_TEXTS) this.notes.push(note);
  }
}

/** What a picture's file says beside its pixels. */
export interface PictureTexts {
  readonly format: "PNG" | "JPEG" | "WebP";
  /** Pixels, as its header claims. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** In file order. */
  readonly texts: readonly PictureText[];
  /** What was damaged or too long, and was passed over. */
  readonly notes: readonly string[];
}

/** `length` bytes from `startByte`, or as many as there are. */
export async function bytesAt(
  source: ByteSource,
  startByte: number,
  length: number,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(Math.max(0, Math.min(length, source.byteLength - startByte)));
  if (bytes.length > 0) await source.read(startByte, bytes, signal);
  return bytes;
}

/** Each byte as one character: Latin-1 as PNG means it, where TextDecoder's "latin1" is Windows' 1252. */
export function latin1Text(bytes: Uint8Array): string {
  const PIECE = 8192; // arguments of one call
  let text = "";
  for (let at = 0; at < bytes.length; at += PIECE) text += String.fromCharCode(...bytes.subarray(at, at + PIECE));
  return text;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
