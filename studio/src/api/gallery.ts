/** @file The gallery as the server has it: numbers by day, pictures by number, marks, and what a picture says of its making. */
import { ask } from "./client.ts";
import type { Size } from "./types.ts";

export interface GalleryDay {
  /** YYYY-MM-DD. */
  readonly day: string;
  /** The newest first. */
  readonly ids: readonly number[];
  readonly favourites: readonly number[];
}

export interface GalleryFilter {
  readonly words: string;
  readonly favourite: boolean;
  readonly deleted: boolean;
}

export interface GalleryPicture extends Size {
  readonly id: number;
  readonly asset: string;
  readonly url: string;
  readonly bytes: number;
  readonly mediaType: string;
  readonly prompt: string;
  readonly infotext: string;
  readonly createdAt: string;
}

/** The server takes no more at a time. */
const MAX_IDS = 1000;
const PAGE = 100;

export async function galleryIndex({ words, favourite, deleted }: GalleryFilter): Promise<readonly GalleryDay[]> {
  const query = new URLSearchParams({ offset: String(-new Date().getTimezoneOffset()) });
  if (words !== "") query.set("q", words);
  if (favourite) query.set("favourite", "1");
  if (deleted) query.set("deleted", "1");
  return (await ask<{ readonly days: readonly GalleryDay[] }>(`/api/gallery/index?${query}`)).days;
}

export async function galleryPictures(ids: readonly number[], deleted: boolean): Promise<readonly GalleryPicture[]> {
  const found: GalleryPicture[] = [];
  for (let at = 0; at < ids.length; at += PAGE) {
    const query = new URLSearchParams({ ids: ids.slice(at, at + PAGE).join(","), limit: String(PAGE) });
    if (deleted) query.set("deleted", "1");
    const { pictures } = await ask<{ readonly pictures: readonly GalleryPicture[] }>(`/api/gallery?${query}`);
    found.push(...pictures);
  }
  return found;
}

export async function changePictures(
  what: "favourite" | "delete" | "restore",
  ids: readonly number[],
  more: object = {},
): Promise<void> {
  for (let at = 0; at < ids.length; at += MAX_IDS)
    await ask(`/api/gallery/${what}`, { json: { ids: ids.slice(at, at + MAX_IDS), ...more } });
}

export function thumbnailOf(id: number): string {
  return `/api/gallery/${id}/thumbnail`;
}
