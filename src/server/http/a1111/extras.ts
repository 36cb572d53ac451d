/** @file A1111's extras: a picture made larger by itself (extra-single-image, extra-batch-images), as its postprocessing_upscale.py has it. */
import { encodePng } from "../../../image/png.ts";
import { type Filter, type Pixels, resample } from "../../../image/resample.ts";
import { A1111_KEYWORD } from "../../../job/infotext.ts";
import { pictureReference } from "../../../job/picture.ts";
import { base64 } from "../../../node/base64.ts";
import { readPicture } from "../../../node/pictures.ts";
import { isJsonObject, type JsonObject } from "../../../source/json-fields.ts";
import { infotextOf } from "../../pictures/infotexts.ts";
import { NEUTRAL, wrong } from "./refusals.ts";
import { dataUrl } from "./request-picture.ts";

/** Upscalers that need no network. */
export const PICTURE_FILTERS: Readonly<Record<string, Filter>> = { Lanczos: "lanczos", Nearest: "nearest" };
/** Pixels a side and in all of what may come out. */
const MAX_SIDE = 4096;
const MAX_PIXELS = 2 ** 24;
const MAX_SCALE = 8;
const MAX_PICTURES = 16;
/** A1111 makes sides multiples of it. */
const MULTIPLE = 8;

/** One picture at a time: each may take 100 MB. */
let turn: Promise<unknown> = Promise.resolve();

/** Rejects with Refusal or ArtifactError. */
export async function extraSingle(body: JsonObject): Promise<JsonObject> {
  return { html_info: "", image: await enlarged(body.image, body) };
}

/** Rejects with Refusal or ArtifactError. */
export async function extraBatch({ imageList, ...body }: JsonObject): Promise<JsonObject> {
  if (!Array.isArray(imageList) || imageList.length > MAX_PICTURES) {
    throw wrong("imageList", `a list of at most ${MAX_PICTURES} pictures is wanted`);
  }
  const images: string[] = [];
  for (const each of imageList) images.push(await enlarged(isJsonObject(each) ? each.data : undefined, body));
  return { html_info: "", images };
}

async function enlarged(image: unknown, body: JsonObject): Promise<string> {
  const reference = pictureReference("image", dataUrl("image", image));
  if (reference.kind !== "data") throw wrong("image", "base64 is wanted");
  const how = enlargement(body);
  const work = turn.then(() => enlargedPng(reference.bytes, how));
  turn = work.catch(() => {});
  return base64(await work);
}

interface Enlargement {
  readonly upscaler: Filter | undefined;
  /** Laid over the first, so strong. */
  readonly second: Filter | undefined;
  readonly visibility: number;
  /** Times, or pixels that are filled, cut to them or not. */
  readonly scale: number | undefined;
  readonly size: { readonly width: number; readonly height: number; readonly crop: boolean } | undefined;
}

/** Throws Refusal. */
function enlargement(body: JsonObject): Enlargement {
  for (const name of ["gfpgan_visibility", "codeformer_visibility"]) {
    if (!NEUTRAL.includes(body[name])) throw wrong(name, "faces can't be restored here");
  }
  const toSize = body.resize_mode === 1;
  const visibility = numberIn("extras_upscaler_2_visibility", body.extras_upscaler_2_visibility ?? 0, 0, 1);
  const second = filterNamed("upscaler_2", body.upscaler_2);
  return {
    upscaler: filterNamed("upscaler_1", body.upscaler_1),
    second: visibility > 0 ? second : undefined,
    visibility,
    scale: toSize ? undefined : numberIn("upscaling_resize", body.upscaling_resize ?? 2, 1 / MAX_SCALE, MAX_SCALE),
    size: toSize
      ? {
          width: numberIn("upscaling_resize_w", body.upscaling_resize_w ?? 512, MULTIPLE, MAX_SIDE),
          height: numberIn("upscaling_resize_h", body.upscaling_resize_h ?? 512, MULTIPLE, MAX_SIDE),
          crop: body.upscaling_crop !== false,
        }
      : undefined,
  };
}

function filterNamed(subject: string, name: unknown): Filter | undefined {
  if (NEUTRAL.includes(name)) return undefined;
  const known = typeof name === "string" && Object.hasOwn(PICTURE_FILTERS, name) ? PICTURE_FILTERS[name] : undefined;
  if (known) return known;
  throw wrong(subject, `there is no such upscaler (allowed None, ${Object.keys(PICTURE_FILTERS).join(", ")})`);
}

function numberIn(subject: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && value >= min && value <= max) return value;
  throw wrong(subject, `a number from ${min} to ${max} is wanted`);
}

async function enlargedPng(bytes: Uint8Array<ArrayBuffer>, how: Enlargement): Promise<Uint8Array> {
  const { width, height, rgb } = await readPicture(bytes, { name: "image" });
  const picture: Pixels = { width, height, channels: 3, bytes: Uint8Array.from(rgb) };
  const made = how.upscaler ? cut(blended(picture, how), how) : picture;
  // The infotext goes with the picture. Damaged texts keep none from being enlarged.
  const infotext = await infotextOf(bytes).catch(() => undefined);
  const text = infotext === undefined ? [] : [{ keyword: A1111_KEYWORD, text: infotext }];
  return await encodePng({ width: made.width, height: made.height, rgb: made.bytes, text });
}

function blended(picture: Pixels, { upscaler, second, visibility, ...how }: Enlargement): Pixels {
  const { width, height } = picture;
  const scale = how.scale ?? Math.max(how.size!.width / width, how.size!.height / height);
  const side = (pixels: number) => Math.floor(Math.trunc(pixels * scale) / MULTIPLE) * MULTIPLE;
  const size = { width: side(width), height: side(height) };
  const fits = Math.max(size.width, size.height) <= MAX_SIDE && size.width * size.height <= MAX_PIXELS;
  if (!fits || size.width === 0 || size.height === 0) {
    const problem = `the result would be ${size.width} x ${size.height} pixels (allowed ${MULTIPLE} to ${MAX_SIDE} a side, ${MAX_PIXELS} in all)`;
    throw wrong("upscaling_resize", problem);
  }
  const first = resample(picture, size, upscaler!);
  if (!second) return { ...size, channels: 3, bytes: first };
  const other = resample(picture, size, second);
  // Pillow's Image.blend.
  const bytes = first.map((value, at) => Math.trunc(value + visibility * (other[at]! - value)));
  return { ...size, channels: 3, bytes };
}

/** The middle of it, black where there is none. */
function cut(picture: Pixels, { size }: Enlargement): Pixels {
  if (!size?.crop) return picture;
  const { width, height } = { width: Math.trunc(size.width), height: Math.trunc(size.height) };
  const left = Math.floor(width / 2) - Math.floor(picture.width / 2);
  const top = Math.floor(height / 2) - Math.floor(picture.height / 2);
  const bytes = new Uint8Array(width * height * 3);
  const [from, to] = [Math.max(0, left), Math.min(width, left + picture.width)];
  for (let row = Math.max(0, top); row < Math.min(height, top + picture.height); row++) {
    const start = ((row - top) * picture.width + from - left) * 3;
    bytes.set(picture.bytes.subarray(start, start + (to - from) * 3), (row * width + from) * 3);
  }
  return { width, height, channels: 3, bytes };
}
