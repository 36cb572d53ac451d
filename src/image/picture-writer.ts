/** @file A picture that goes out as a file: the formats, and the seam of whoever encodes it. Implementation for Node: node/picture-writer.ts. */
import type { PngText, RgbImage } from "./png.ts";

export type PictureEncoding = "png" | "jpeg" | "webp";

/** The endings that files of each format have, the usual one first. */
export const PICTURE_ENDINGS: Readonly<Record<PictureEncoding, readonly [string, ...string[]]>> = {
  png: [".png"],
  jpeg: [".jpg", ".jpeg", ".jpe", ".jfif"],
  webp: [".webp"],
};

/** How a picture shall be encoded. */
export interface EncodingChoice {
  readonly format: PictureEncoding;
  /** 1..100, of JPEG and WebP. Default `DEFAULT_QUALITY`. */
  readonly quality?: number | undefined;
  /** WebP that keeps every pixel. */
  readonly lossless?: boolean | undefined;
}

/** High enough that a picture by itself shows no loss. */
export const DEFAULT_QUALITY = 95;

/** Host memory beside the picture's own bytes while one pixel is encoded: for PNG counted, else the most that was measured (docs/decisions/sharp.md). */
export function encoderBytesPerPixel({ format, lossless = false }: EncodingChoice): number {
  if (format === "png") return 9;
  if (format === "jpeg") return 16;
  return lossless ? 50 : 22;
}

/** A picture and what is written beside it, by PNG's keywords. */
export type PictureToWrite = RgbImage & { readonly alpha?: Uint8Array; readonly text: readonly PngText[] };

export interface PictureWriter {
  /** What decides, beside the pixels, which bytes come of them: "sharp 0.35.5". Absent: Solvay itself. */
  readonly encoder?: string | undefined;
  /** What of these texts the format can't hold, each a phrase for a person. */
  readonly lost: (text: readonly PngText[]) => readonly string[];
  /** Equal pixels and texts give equal bytes; lost texts are left out. Where the format has no alpha there is white behind the picture. */
  readonly write: (picture: PictureToWrite) => Promise<Uint8Array<ArrayBuffer>>;
}

/** Finds what encodes so, before there is anything to encode. Rejects with DeviceError where the machine lacks it. */
export type OpenPictureWriter = (choice: EncodingChoice) => Promise<PictureWriter>;
