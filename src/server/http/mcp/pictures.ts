/** @file Pictures as the Model Context Protocol has them: resources by their hash, and small copies within an answer. */
import { decodePng, encodePng } from "../../../image/png.ts";
import { type Pixels, resample } from "../../../image/resample.ts";
import { base64 } from "../../../node/base64.ts";
import { readPicture } from "../../../node/pictures.ts";
import type { Asset } from "../../pictures/assets.ts";
import { searchGallery } from "../../pictures/gallery.ts";
import type { Services } from "../../services.ts";

const START = "solvay://pictures/";
const LISTED = 50;
const NAME_CHARS = 80;
/** Pixels a side of a copy, which an agent looks at. */
const COPY_SIDE = 512;

export const PICTURE_TEMPLATE = {
  uriTemplate: `${START}{sha256}`,
  name: "picture",
  description: "a picture by the sha256 of its file, as it was drawn",
};

interface Resource {
  readonly [key: string]: unknown;
  readonly uri: string;
  readonly name: string;
}

/** The newest pictures. */
export async function listedPictures({ database }: Services): Promise<Resource[]> {
  const pictures = await searchGallery(database, { limit: LISTED });
  return pictures.map(({ asset, infotext, width, height }) => ({
    ...{ uri: START + asset, name: infotext.split("\n")[0]!.slice(0, NAME_CHARS) || "picture" },
    description: `${width}x${height}`,
  }));
}

/** Undefined: there is none of that name. */
export async function readPictureResource({ assets }: Services, uri: string) {
  const sha256 = uri.startsWith(START) ? uri.slice(START.length) : "";
  const read = /^[0-9a-f]{64}$/.test(sha256) ? await assets.read(sha256) : undefined;
  return read && { uri, mimeType: read.asset.mediaType, blob: base64(read.bytes) };
}

/** A link to the picture, and a copy that is small. */
export async function pictureContent({
  asset,
  bytes,
}: {
  readonly asset: Asset;
  readonly bytes: Uint8Array<ArrayBuffer>;
}) {
  const { sha256, width, height, mediaType } = asset;
  const copy = await smallCopy(asset, bytes);
  return [
    { type: "image" as const, data: base64(copy.bytes), mimeType: copy.mediaType },
    {
      ...{ type: "resource_link" as const, uri: START + sha256, name: `${sha256.slice(0, 16)}`, mimeType: mediaType },
      ...{ description: `the picture itself, ${width}x${height}`, size: bytes.length },
    },
  ];
}

async function smallCopy(
  { width, height, mediaType }: Asset,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<{ readonly bytes: Uint8Array<ArrayBuffer>; readonly mediaType: string }> {
  const scale = COPY_SIDE / Math.max(width, height);
  if (scale >= 1) return { bytes, mediaType };
  const size = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
  const small = resample(await pixelsOf(bytes, mediaType), size, "bicubic");
  return { bytes: await encodePng({ ...size, rgb: small }), mediaType: "image/png" };
}

/** What we write as PNG needs no decoder but ours. */
async function pixelsOf(bytes: Uint8Array<ArrayBuffer>, mediaType: string): Promise<Pixels> {
  if (mediaType === "image/png") {
    const { width, height, channels, pixels } = await decodePng(bytes);
    if (channels === 3) return { width, height, channels, bytes: Uint8Array.from(pixels) };
  }
  const { width, height, rgb } = await readPicture(bytes, { name: "picture" });
  return { width, height, channels: 3, bytes: Uint8Array.from(rgb) };
}
