/** @file Reads pictures with sharp (libvips): the same pixels as Pillow. Loaded when the first picture comes. */
import type { Sharp } from "sharp";
import { overWhite, type Picture, type PictureReader, type ReadPictureOptions } from "../image/picture.ts";
import { damagedPicture, MAX_PICTURE_PIXELS, type PictureHeader, readPictureHeader } from "../image/picture-header.ts";
import { loadSharp } from "./sharp.ts";

type Metadata = Awaited<ReturnType<Sharp["metadata"]>>;

/** A picture of 64 megapixels takes a few seconds; a JPEG of a thousand scans would take hours. */
const MAX_DECODE_S = 60;

export const readPicture: PictureReader = async (bytes, options) => {
  const { name, signal } = options;
  const header = readPictureHeader(bytes, name);
  const sharp = await loadSharp("reads pictures");
  signal?.throwIfAborted();
  const open = () => sharp(bytes, { limitInputPixels: MAX_PICTURE_PIXELS, failOn: "error", ignoreIcc: true });
  try {
    const facts = await open().metadata();
    const cmyk = facts.space === "cmyk";
    const turned = open().timeout({ seconds: MAX_DECODE_S }).autoOrient();
    const coloured = cmyk ? turned.pipelineColourspace("cmyk").toColourspace("cmyk") : turned.toColourspace("srgb");
    const { data, info } = await coloured.raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
    signal?.throwIfAborted();
    const { rgb, alpha } = cmyk ? { rgb: rgbOfInk(data), alpha: undefined } : parted(data, info.channels, options);
    const notes = [...notesOf(header, facts), ...(alpha ? [alphaNote(options)] : [])];
    return { width: info.width, height: info.height, rgb, ...(alpha && { alpha }), notes };
  } catch (error) {
    signal?.throwIfAborted();
    const reason = error instanceof Error ? error.message.split("\n")[0]!.slice(0, 120) : "unreadable";
    throw damagedPicture(name, `its ${header.format} can't be decoded (${reason})`, error);
  }
};

/** Colour and alpha of interleaved pixels, 1 to 4 bytes each: grey, grey and alpha, RGB, RGBA. */
function parted(
  data: Uint8Array,
  channels: number,
  { alpha: way = "white" }: ReadPictureOptions,
): Pick<Picture, "rgb" | "alpha"> {
  const pixels = data.length / channels;
  const hasAlpha = channels === 2 || channels === 4;
  const rgb = new Uint8Array(pixels * 3);
  const alpha = hasAlpha ? new Uint8Array(pixels) : undefined;
  let opaque = true;
  for (let pixel = 0; pixel < pixels; pixel++) {
    const from = pixel * channels;
    const cover = hasAlpha ? data[from + channels - 1]! : 255;
    if (alpha) alpha[pixel] = cover;
    if (cover !== 255) opaque = false;
    for (let channel = 0; channel < 3; channel++) {
      const value = data[channels < 3 ? from : from + channel]!;
      rgb[pixel * 3 + channel] = way === "white" && cover !== 255 ? overWhite(value, cover) : value;
    }
  }
  return alpha && !opaque ? { rgb, alpha } : { rgb };
}

/** CMYK without a profile, as Pillow's convert("RGB"): each ink takes its part of what black has left. */
function rgbOfInk(ink: Uint8Array): Uint8Array<ArrayBuffer> {
  const rgb = new Uint8Array((ink.length / 4) * 3);
  for (let from = 0, to = 0; from < ink.length; from += 4, to += 3) {
    const light = 255 - ink[from + 3]!;
    for (let channel = 0; channel < 3; channel++) {
      const product = ink[from + channel]! * light + 128;
      rgb[to + channel] = light - (((product >> 8) + product) >> 8);
    }
  }
  return rgb;
}

function notesOf({ format, animated }: PictureHeader, facts: Metadata): string[] {
  const notes: string[] = [];
  if (facts.orientation !== undefined && facts.orientation > 1)
    notes.push(`turned as its EXIF orientation ${facts.orientation} says`);
  if (animated || (facts.pages ?? 1) > 1) notes.push(`an animated ${format}: its first frame is taken`);
  if (facts.depth !== "uchar") notes.push("more than 8 bits a channel: cut to 8");
  if (facts.space === "cmyk") notes.push("CMYK, turned to RGB without a colour profile");
  else if (facts.icc !== undefined && !isSrgb(facts.icc))
    notes.push("its colour profile is passed over: taken as sRGB");
  return notes;
}

function alphaNote({ alpha = "white" }: ReadPictureOptions): string {
  return alpha === "white" ? "its transparent parts are laid over white" : "it has transparent parts";
}

/** By its description: "sRGB" in Latin-1 or UTF-16, as all profiles of that kind say it. */
function isSrgb(profile: Uint8Array): boolean {
  return new TextDecoder("latin1").decode(profile.subarray(0, 4096)).replaceAll("\0", "").includes("sRGB");
}
