/** @file Encodes pictures: PNG by ourselves, JPEG and WebP with sharp (libjpeg-turbo, libwebp), texts put in by us. */
import { embedInJpeg, embedInWebp, lostTexts } from "../image/metadata/embed-texts.ts";
import { overWhite } from "../image/picture.ts";
import {
  DEFAULT_QUALITY,
  type EncodingChoice,
  type OpenPictureWriter,
  type PictureToWrite,
} from "../image/picture-writer.ts";
import { encodePng } from "../image/png.ts";
import { loadSharp, sharpName } from "./sharp.ts";

/** Of libwebp: 0 is fast, 6 is small. */
const WEBP_EFFORT = 4;
/** From here on colours are kept at the picture's own size. */
const FULL_COLOUR_QUALITY = 90;

type Sharp = Awaited<ReturnType<typeof loadSharp>>;

export const openPictureWriter: OpenPictureWriter = async (choice) => {
  const { format } = choice;
  if (format === "png") return { lost: () => [], write: encodePng };
  const sharp = await loadSharp(`writes ${format === "jpeg" ? "JPEG" : "WebP"}`, "write PNG (--format png)");
  return {
    encoder: await sharpName(),
    lost: (text) => lostTexts(format, text),
    write: (picture) => encoded(sharp, choice, picture),
  };
};

async function encoded(
  sharp: Sharp,
  choice: EncodingChoice,
  picture: PictureToWrite,
): Promise<Uint8Array<ArrayBuffer>> {
  const { width, height, text } = picture;
  const { format, quality = DEFAULT_QUALITY, lossless = false } = choice;
  const { pixels, channels } = pixelsOf(picture, format !== "jpeg");
  const source = sharp(pixels, { raw: { width, height, channels } });
  const full = quality >= FULL_COLOUR_QUALITY;
  if (format === "jpeg") {
    const file = await source.jpeg({ quality, chromaSubsampling: full ? "4:4:4" : "4:2:0" }).toBuffer();
    return embedInJpeg(new Uint8Array(file), text);
  }
  const loss = lossless ? { lossless } : { quality, smartSubsample: full };
  const file = await source.webp({ ...loss, effort: WEBP_EFFORT }).toBuffer();
  return embedInWebp(new Uint8Array(file), { width, height }, text);
}

/** Interleaved. */
function pixelsOf({ rgb, alpha }: PictureToWrite, keepsAlpha: boolean) {
  if (!alpha) return { pixels: rgb, channels: 3 } as const;
  if (!keepsAlpha) {
    return { pixels: rgb.map((colour, at) => overWhite(colour, alpha[Math.floor(at / 3)]!)), channels: 3 } as const;
  }
  const pixels = new Uint8Array(alpha.length * 4);
  for (const [pixel, cover] of alpha.entries()) {
    pixels.set(rgb.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
    pixels[4 * pixel + 3] = cover;
  }
  return { pixels, channels: 4 } as const;
}
