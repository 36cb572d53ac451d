/** @file Where each picture of a gallery lies: rows of cells under the heading of their day. Pure; thousands of pictures take a millisecond. */
import type { GalleryDay } from "../../api/gallery.ts";

/** Pixels. */
const GAP = 6;
const HEADING = 52;
const MIN_CELL = 148;
/** On a phone three stand side by side. */
const MIN_COLUMNS = 3;

export interface HeadingRow {
  readonly type: "heading";
  readonly top: number;
  readonly height: number;
  readonly day: string;
  readonly count: number;
}

export interface PictureRow {
  readonly type: "pictures";
  readonly top: number;
  readonly height: number;
  readonly day: string;
  readonly ids: readonly number[];
  /** Of its first picture among all. */
  readonly first: number;
}

export type GalleryRow = HeadingRow | PictureRow;

export interface GalleryLayout {
  readonly rows: readonly GalleryRow[];
  readonly height: number;
  readonly columns: number;
  /** Side of a cell. */
  readonly cell: number;
  readonly ids: readonly number[];
  /** Row of each picture. */
  readonly rowOf: ReadonlyMap<number, number>;
}

export function galleryLayout(days: readonly GalleryDay[], width: number): GalleryLayout {
  const columns = Math.max(MIN_COLUMNS, Math.floor((width + GAP) / (MIN_CELL + GAP)));
  const cell = Math.max(1, (width - GAP * (columns - 1)) / columns);
  const rows: GalleryRow[] = [];
  const rowOf = new Map<number, number>();
  const all: number[] = [];
  let top = 0;
  for (const { day, ids } of days) {
    if (ids.length === 0) continue;
    rows.push({ type: "heading", top, height: HEADING, day, count: ids.length });
    top += HEADING;
    for (let at = 0; at < ids.length; at += columns) {
      const own = ids.slice(at, at + columns);
      for (const id of own) rowOf.set(id, rows.length);
      rows.push({ type: "pictures", top, height: cell + GAP, day, ids: own, first: all.length });
      all.push(...own);
      top += cell + GAP;
    }
  }
  return { rows, height: top, columns, cell, ids: all, rowOf };
}

/** Those between two heights. */
export function rowsBetween({ rows }: GalleryLayout, from: number, to: number): readonly GalleryRow[] {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const { top, height } = rows[middle]!;
    if (top + height <= from) low = middle + 1;
    else high = middle;
  }
  let end = low;
  while (end < rows.length && rows[end]!.top < to) end++;
  return rows.slice(low, end);
}

export type Move = "before" | "after" | "up" | "down" | "first" | "last" | "pageUp" | "pageDown";

/** The picture that a key leads to. */
export function moved(
  layout: GalleryLayout,
  from: number | undefined,
  move: Move,
  rowsAPage: number,
): number | undefined {
  const { ids, rows, rowOf } = layout;
  const row = from === undefined ? undefined : rowOf.get(from);
  if (from === undefined || row === undefined || move === "first") return ids[0];
  if (move === "last") return ids.at(-1);
  const { ids: own, first } = rows[row] as PictureRow;
  const column = own.indexOf(from);
  if (move === "before") return ids[Math.max(0, first + column - 1)];
  if (move === "after") return ids[Math.min(ids.length - 1, first + column + 1)];
  const by = { up: -1, down: 1, pageUp: -rowsAPage, pageDown: rowsAPage }[move];
  const inRow = (at: number) => {
    const found = rows[at];
    return found?.type === "pictures" ? found.ids[Math.min(column, found.ids.length - 1)] : undefined;
  };
  const end = by < 0 ? 0 : rows.length - 1;
  for (let at = row + by; by < 0 ? at > end : at < end + 1; at += Math.sign(by)) {
    const id = inRow(at);
    if (id !== undefined) return id;
  }
  return by < 0 ? ids[0] : (inRow(rows.length - 1) ?? ids.at(-1));
}
