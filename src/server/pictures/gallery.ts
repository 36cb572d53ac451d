/** @file The gallery: the pictures that were drawn, the newest first, found by words of their infotext. */
import type { Database } from "../queue/database.ts";

export interface GalleryPicture {
  /** Counts up: `before` of the next page. */
  readonly id: number;
  readonly job: string;
  readonly asset: string;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly infotext: string;
  readonly createdAt: string;
}

interface GalleryRow extends Omit<GalleryPicture, "id" | "createdAt"> {
  readonly id: number | string;
  readonly created_at: Date;
}

export interface GallerySearch {
  /** As in a web search: words, "a phrase", -without. */
  readonly words?: string | undefined;
  /** Older than that one. */
  readonly before?: number | undefined;
  readonly limit: number;
}

export async function searchGallery(
  database: Database,
  { words = "", before, limit }: GallerySearch,
): Promise<readonly GalleryPicture[]> {
  const rows = await database.query<GalleryRow>(
    `select g.id, g.job, g.asset, a.width, a.height, g.infotext, g.created_at
     from solvay.gallery g join solvay.assets a on a.sha256 = g.asset
     where ($1 = '' or to_tsvector('simple', g.infotext) @@ websearch_to_tsquery('simple', $1))
     and ($2::bigint is null or g.id < $2) order by g.id desc limit $3`,
    [words.replaceAll("\0", " "), before ?? null, limit],
  );
  return rows.map(({ created_at, id, ...row }) => ({ ...row, id: Number(id), createdAt: created_at.toISOString() }));
}
