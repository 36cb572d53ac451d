/**
 * @file The gallery: the pictures that were drawn, the newest first. A list for people (searchGallery), and for pages that show thousands an index of
 * numbers by day, whose order stays as it is while pictures come and go. What is deleted can be brought back for KEPT_DAYS.
 */
import type { Database, Sql } from "../queue/database.ts";
import { galleryConditions } from "./gallery-query.ts";

export interface GalleryPicture {
  /** Counts up: `before` of the next page. */
  readonly id: number;
  readonly job: string;
  readonly asset: string;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly bytes: number;
  readonly mediaType: string;
  readonly prompt: string;
  readonly infotext: string;
  readonly favourite: boolean;
  readonly createdAt: string;
}

/** Which pictures are meant. */
export interface GalleryFilter {
  /** See gallery-query.ts. */
  readonly words?: string | undefined;
  readonly favourite?: boolean | undefined;
  /** Those that are deleted, in place of those that are not. */
  readonly deleted?: boolean | undefined;
}

export interface GallerySearch extends GalleryFilter {
  /** Only these numbers. */
  readonly ids?: readonly number[] | undefined;
  /** Older than that one. */
  readonly before?: number | undefined;
  readonly limit: number;
}

/** A day's pictures, the newest first. */
export interface GalleryDay {
  /** YYYY-MM-DD where the reader is. */
  readonly day: string;
  readonly ids: readonly number[];
  readonly favourites: readonly number[];
}

interface GalleryRow extends Omit<GalleryPicture, "id" | "createdAt" | "mediaType"> {
  readonly id: number | string;
  readonly created_at: Date;
  readonly media_type: string;
}

/** Days for which what was deleted can be brought back. */
export const KEPT_DAYS = 30;
/** Pictures of one index: 8 bytes each on their way. */
const MAX_INDEX = 200_000;

export async function searchGallery(
  database: Database,
  { ids, before, limit, ...filter }: GallerySearch,
): Promise<readonly GalleryPicture[]> {
  const { where, values } = clauseOf(filter, [
    ...(before === undefined ? [] : [{ text: "g.id < $", values: [before] }]),
    ...(ids === undefined ? [] : [{ text: "g.id = any(string_to_array($, ',')::bigint[])", values: [ids.join(",")] }]),
  ]);
  const rows = await database.query<GalleryRow>(
    `select g.id, g.job, g.asset, a.width, a.height, a.bytes, a.media_type, coalesce(j.job->>'prompt', '') as prompt,
     g.infotext, g.favourite, g.created_at
     from solvay.gallery g join solvay.assets a on a.sha256 = g.asset join solvay.jobs j on j.id = g.job
     where ${where} order by g.id desc limit $${values.length + 1}`,
    [...values, limit],
  );
  return rows.map(({ created_at, media_type, id, ...row }) => {
    return { ...row, id: Number(id), mediaType: media_type, createdAt: created_at.toISOString() };
  });
}

/** All numbers that match, by day. `offsetMinutes`: of the reader's clock before UTC's. */
export async function galleryIndex(
  database: Database,
  filter: GalleryFilter,
  offsetMinutes: number,
): Promise<readonly GalleryDay[]> {
  const { where, values } = clauseOf(filter, []);
  const n = values.length;
  const rows = await database.query<{ day: string; ids: string; favourites: string | null }>(
    `select to_char(at, 'YYYY-MM-DD') as day, string_agg(id::text, ',' order by id desc) as ids,
     string_agg(case when favourite then id::text end, ',' order by id desc) as favourites
     from (select g.id, g.favourite, date_trunc('day', g.created_at at time zone 'UTC' + make_interval(mins => $${n + 1})) as at
       from solvay.gallery g join solvay.jobs j on j.id = g.job where ${where} order by g.id desc limit $${n + 2}) found
     group by at order by at desc`,
    [...values, offsetMinutes, MAX_INDEX],
  );
  const numbers = (text: string | null) => (text === null ? [] : text.split(",").map(Number));
  return rows.map(({ day, ids, favourites }) => ({ day, ids: numbers(ids), favourites: numbers(favourites) }));
}

export async function markFavourite(sql: Sql, ids: readonly number[], favourite: boolean): Promise<number> {
  const text = "update solvay.gallery set favourite = $2 where id = any($1::bigint[]) returning id";
  return (await sql.query(text, [arrayOf(ids), favourite])).length;
}

/** Hides them; they are gone for good after KEPT_DAYS. */
export async function deletePictures(sql: Sql, ids: readonly number[]): Promise<number> {
  const text = `update solvay.gallery set deleted_at = now() where id = any($1::bigint[]) and deleted_at is null returning id`;
  return (await sql.query(text, [arrayOf(ids)])).length;
}

export async function restorePictures(sql: Sql, ids: readonly number[]): Promise<number> {
  const text = `update solvay.gallery set deleted_at = null where id = any($1::bigint[]) and deleted_at is not null returning id`;
  return (await sql.query(text, [arrayOf(ids)])).length;
}

/** The hash of a picture of the gallery, deleted or not. */
export async function assetOf(database: Database, id: number): Promise<string | undefined> {
  const [row] = await database.query<{ asset: string }>("select asset from solvay.gallery where id = $1", [id]);
  return row?.asset;
}

/**
 * Forgets what was deleted more than `days` ago. Resolves to the pictures that nothing names any more, no other picture of the gallery and no job that
 * reads them, by hash: their files may go.
 */
export async function purgeDeleted(database: Database, days = KEPT_DAYS): Promise<readonly string[]> {
  return await database.transaction(async (sql) => {
    const gone = await sql.query<{ asset: string }>(
      "delete from solvay.gallery where deleted_at < now() - make_interval(days => $1) returning asset",
      [days],
    );
    const rows = await sql.query<{ sha256: string }>(
      `select a.sha256 from solvay.assets a where a.sha256 = any($1::text[])
       and not exists (select from solvay.gallery g where g.asset = a.sha256)
       and not exists (select from solvay.jobs j where j.state in ('queued', 'running')
         and position('sha256:' || a.sha256 in concat(j.job, j.upscale)) > 0)`,
      [arrayOf([...new Set(gone.map(({ asset }) => asset))])],
    );
    return rows.map(({ sha256 }) => sha256);
  });
}

/** As PostgreSQL reads an array, whichever client sends it. */
function arrayOf(items: readonly (number | string)[]): string {
  return `{${items.join(",")}}`;
}

/** A where clause with its values numbered from $1. */
function clauseOf(
  { words = "", favourite, deleted = false }: GalleryFilter,
  more: readonly { readonly text: string; readonly values: readonly (string | number)[] }[],
): { readonly where: string; readonly values: readonly (string | number)[] } {
  const conditions = [
    { text: `g.deleted_at is ${deleted ? "not " : ""}null`, values: [] },
    ...(favourite ? [{ text: "g.favourite", values: [] }] : []),
    ...galleryConditions(words),
    ...more,
  ];
  let next = 1;
  const where = conditions.map(({ text }) => text.replaceAll("$", () => `$${next++}`)).join(" and ");
  return { where, values: conditions.flatMap(({ values }) => values) };
}
