/**
 * @file Makes of a picture what a network will look at, beside the page: the very code of the engine (src/image/), at the job's own size. The picture
 * and its resized copy are kept while thresholds move.
 */
import { fittedPicture, preparedPicture } from "../../../src/image/control-picture.ts";
import { overWhite } from "../../../src/image/picture.ts";
import type { Preparation, Prepared } from "./preparation.ts";

interface Rgb {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array<ArrayBuffer>;
}

/** The latest of each, by what it is made of. */
const kept = new Map<"picture" | "resized", { readonly key: string; readonly value: Promise<Rgb> }>();

function once(what: "picture" | "resized", key: string, make: () => Promise<Rgb>): Promise<Rgb> {
  const known = kept.get(what);
  if (known?.key === key) return known.value;
  const value = make();
  kept.set(what, { key, value });
  value.catch(() => kept.delete(what));
  return value;
}

/** Values as stored, transparent parts over white, as the engine reads it. */
async function decoded(address: string): Promise<Rgb> {
  const blob = await (await fetch(address)).blob();
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const alpha = data[from + 3]!;
    for (let channel = 0; channel < 3; channel++) rgb[to++] = overWhite(data[from + channel]!, alpha);
  }
  return { width, height, rgb };
}

async function prepared({ address, width, height, ...how }: Preparation): Promise<Prepared> {
  const size = { width, height };
  const fitted = await once("resized", `${address} ${width} ${height} ${how.fit}`, async () =>
    fittedPicture(await once("picture", address, () => decoded(address)), size, how),
  );
  const { rgb: made } = preparedPicture(fitted, size, how);
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let from = 0, to = 0; from < made.length; from += 3, to += 4) rgba.set(made.subarray(from, from + 3), to);
  return { image: new ImageData(rgba, width, height) };
}

addEventListener("message", ({ data }: MessageEvent<Preparation>) => {
  prepared(data).then(
    (answer) => postMessage(answer, { transfer: [answer.image!.data.buffer] }),
    () => postMessage({} satisfies Prepared),
  );
});
