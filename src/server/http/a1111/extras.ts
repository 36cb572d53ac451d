/** @file A1111's extras: a picture made larger by itself (extra-single-image, extra-batch-images), as its postprocessing_upscale.py has it. */
import { encodePng } from "../../../image/png.ts";
import { type Filter, type Pixels, resample } from "../../../image/resample.ts";
import { A1111_KEYWORD } from "../../../job/infotext.ts";
import { pictureReference } from "../../../job/picture.ts";
import { base64 } from "../../../node/base64.ts";
import { stemOf } from "../../../node/named-files.ts";
import { readPicture } from "../../../node/pictures.ts";
import { upscalerNamed } from "../../../node/upscaler-files.ts";
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

/** Networks that enlarge: each picture is a job of the queue. */
export interface ExtraNetworks {
  /** Their files. */
  readonly files: readonly string[];
  /** A picture's bytes, enlarged to that size. */
  readonly enlarge: (bytes: Uint8Array<ArrayBuffer>, file: string, size: Size) => Promise<Uint8Array<ArrayBuffer>>;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Rejects with Refusal, ArtifactError or JobFailure. */
export async function extraSingle(body: JsonObject, networks: ExtraNetworks): Promise<JsonObject> {
  return { html_info: "", image: await enlarged(body.image, body, networks) };
}

/** Rejects with Refusal, ArtifactError or JobFailure. */
export async function extraBatch({ imageList, ...body }: JsonObject, networks: ExtraNetworks): Promise<JsonObject> {
  if (!Array.isArray(imageList) || imageList.length > MAX_PICTURES) {
    throw wrong("imageList", `a list of at most ${MAX_PICTURES} pictures is wanted`);
  }
  const images: string[] = [];
  for (const each of imageList) {
    images.push(await enlarged(isJsonObject(each) ? each.data : undefined, body, networks));
  }
  return { html_info: "", images };
}

/** One picture at a time is decoded: each may take 100 MB. */
let turn: Promise<unknown> = Promise.resolve();

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const done = turn.then(work);
  turn = done.catch(() => {});
  return await done;
}

async function enlarged(image: unknown, body: JsonObject, networks: ExtraNetworks): Promise<string> {
  const reference = pictureReference("image", dataUrl("image", image));
  if (reference.kind !== "data") throw wrong("image", "base64 is wanted");
  const { bytes } = reference;
  const how = enlargement(body, networks.files);
  const byNetworks = new Map<string, Uint8Array<ArrayBuffer>>();
  const files = [how.upscaler, how.second].flatMap((each) => (each && "network" in each ? [each.network] : []));
  if (files.length > 0) {
    const picture = await inTurn(() => readPicture(bytes, { name: "image" }));
    const size = sizeOf(picture, how);
    for (const file of isForNetworks(picture, size, how) ? new Set(files) : [])
      byNetworks.set(file, await networks.enlarge(bytes, file, size));
  }
  return base64(await inTurn(() => enlargedPng(bytes, how, byNetworks)));
}

/** A picture that shall be smaller is not given to a network, as A1111 has it. */
function isForNetworks(picture: Size, size: Size, how: Enlargement): boolean {
  return scaleOf(picture, how) === 1 || size.width > picture.width || size.height > picture.height;
}

function scaleOf({ width, height }: Size, { scale, size }: Enlargement): number {
  return scale ?? Math.max(size!.width / width, size!.height / height);
}

type Upscaler = { readonly filter: Filter } | { readonly network: string };

interface Enlargement {
  readonly upscaler: Upscaler | undefined;
  /** Laid over the first, so strong. */
  readonly second: Upscaler | undefined;
  readonly visibility: number;
  /** Times, or pixels that are filled, cut to them or not. */
  readonly scale: number | undefined;
  readonly size: { readonly width: number; readonly height: number; readonly crop: boolean } | undefined;
}

/** Throws Refusal. */
function enlargement(body: JsonObject, files: readonly string[]): Enlargement {
  for (const name of ["gfpgan_visibility", "codeformer_visibility"]) {
    if (!NEUTRAL.includes(body[name])) throw wrong(name, "faces can't be restored here");
  }
  const toSize = body.resize_mode === 1;
  const visibility = numberIn("extras_upscaler_2_visibility", body.extras_upscaler_2_visibility ?? 0, 0, 1);
  const second = upscalerOf("upscaler_2", body.upscaler_2, files);
  return {
    upscaler: upscalerOf("upscaler_1", body.upscaler_1, files),
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

function upscalerOf(subject: string, name: unknown, files: readonly string[]): Upscaler | undefined {
  if (NEUTRAL.includes(name)) return undefined;
  const text = typeof name === "string" ? name : "";
  if (Object.hasOwn(PICTURE_FILTERS, text)) return { filter: PICTURE_FILTERS[text]! };
  const network = upscalerNamed(files, text);
  if (network !== undefined) return { network };
  const allowed = ["None", ...Object.keys(PICTURE_FILTERS), ...files.map(stemOf)].join(", ");
  throw wrong(subject, `there is no such upscaler (allowed ${allowed})`);
}

function numberIn(subject: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && value >= min && value <= max) return value;
  throw wrong(subject, `a number from ${min} to ${max} is wanted`);
}

async function enlargedPng(
  bytes: Uint8Array<ArrayBuffer>,
  how: Enlargement,
  byNetworks: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
): Promise<Uint8Array> {
  const picture = await pixelsOf(bytes);
  const size = sizeOf(picture, how);
  const by = async (upscaler: Upscaler): Promise<Pixels> => {
    const made = "network" in upscaler ? byNetworks.get(upscaler.network) : undefined;
    if (made) return await pixelsOf(made);
    const filter = "filter" in upscaler ? upscaler.filter : "lanczos";
    return { ...size, channels: 3, bytes: resample(picture, size, filter) };
  };
  const { upscaler, second, visibility } = how;
  const first = upscaler && (await by(upscaler));
  const both = first && second ? blended(first, await by(second), visibility) : first;
  const made = both ? cut(both, how) : picture;
  // The infotext goes with the picture. Damaged texts keep none from being enlarged.
  const infotext = await infotextOf(bytes).catch(() => undefined);
  const text = infotext === undefined ? [] : [{ keyword: A1111_KEYWORD, text: infotext }];
  return await encodePng({ width: made.width, height: made.height, rgb: made.bytes, text });
}

async function pixelsOf(bytes: Uint8Array<ArrayBuffer>): Promise<Pixels> {
  const { width, height, rgb } = await readPicture(bytes, { name: "image" });
  return { width, height, channels: 3, bytes: rgb };
}

/** Pillow's Image.blend. */
function blended(first: Pixels, second: Pixels, visibility: number): Pixels {
  const bytes = first.bytes.map((value, at) => Math.trunc(value + visibility * (second.bytes[at]! - value)));
  return { ...first, bytes };
}

/** Throws Refusal where that is too large, or nothing. */
function sizeOf({ width, height }: Size, how: Enlargement): Size {
  const scale = scaleOf({ width, height }, how);
  const side = (pixels: number) => Math.floor(Math.trunc(pixels * scale) / MULTIPLE) * MULTIPLE;
  const size = { width: side(width), height: side(height) };
  const fits = Math.max(size.width, size.height) <= MAX_SIDE && size.width * size.height <= MAX_PIXELS;
  if (!fits || size.width === 0 || size.height === 0) {
    const problem = `the result would be ${size.width} x ${size.height} pixels (allowed ${MULTIPLE} to ${MAX_SIDE} a side, ${MAX_PIXELS} in all)`;
    throw wrong("upscaling_resize", problem);
  }
  return size;
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
