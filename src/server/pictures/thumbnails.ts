/** @file Small pictures for pages that show many: made once a picture, by one thread, and stored beside the pictures. */

import { TurnQueue } from "../../engine/turn-queue.ts";
import { MAX_PICTURE_PIXELS, readPictureHeader } from "../../image/picture-header.ts";
import { loadSharp } from "../../node/sharp.ts";
import type { Assets } from "./assets.ts";
import type { PictureStore } from "./picture-store.ts";

/** The longer side in pixels: a cell of a gallery, on a screen of two pixels a point. */
const THUMBNAIL_SIDE = 384;
const QUALITY = 78;
const EFFORT = 2;

export class Thumbnails {
  readonly #assets: Assets;
  readonly #store: PictureStore;
  /** One is decoded at a time: cores and memory are for who draws. */
  readonly #turns = new TurnQueue();

  constructor(assets: Assets, store: PictureStore) {
    this.#assets = assets;
    this.#store = store;
  }

  /** A WebP. Undefined where there is no such picture. Rejects with DeviceError where sharp is not installed. */
  async of(sha256: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const made = await this.#store.get(nameOf(sha256));
    if (made) return made;
    using _ = await this.#turns.take();
    // Whoever was before may have made it.
    const meanwhile = await this.#store.get(nameOf(sha256));
    if (meanwhile) return meanwhile;
    const read = await this.#assets.read(sha256);
    if (!read) return undefined;
    const bytes = await smallPicture(read.bytes);
    await this.#store.put(nameOf(sha256), [bytes]);
    return bytes;
  }

  async remove(sha256: string): Promise<void> {
    await this.#store.remove(nameOf(sha256));
  }
}

/** A WebP of a PNG, JPEG or WebP. Rejects with ArtifactError for what is none, DeviceError where sharp is not installed. */
export async function smallPicture(bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  readPictureHeader(bytes, "the picture");
  const sharp = await loadSharp("makes thumbnails");
  const small = await sharp(bytes, { limitInputPixels: MAX_PICTURE_PIXELS, failOn: "error" })
    .autoOrient()
    .resize(THUMBNAIL_SIDE, THUMBNAIL_SIDE, { fit: "inside", withoutEnlargement: true })
    .webp({ quality: QUALITY, effort: EFFORT })
    .toBuffer();
  return new Uint8Array(small);
}

function nameOf(sha256: string): string {
  return `thumbnails/${sha256.slice(0, 2)}/${sha256}.webp`;
}
