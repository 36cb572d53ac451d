/** @file All pictures under the headings of their days; of thousands those in sight are there, and keys move among them. */
import { computed } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { thumbnailOf } from "../../api/gallery.ts";
import { language, t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { type GalleryLayout, type GalleryRow, galleryLayout, type Move, moved, rowsBetween } from "./layout.ts";
import {
  chosen,
  current,
  days,
  deletePictures,
  details,
  favourites,
  learn,
  meant,
  opened,
  restorePictures,
  showsDeleted,
  toggleChosen,
  toggleFavourites,
} from "./pictures.ts";

/** Pixels above and below what is in sight. */
const OVERSCAN = 400;
const MOVES: Readonly<Record<string, Move>> = {
  ArrowUp: "up",
  ArrowDown: "down",
  Home: "first",
  End: "last",
  PageUp: "pageUp",
  PageDown: "pageDown",
};

/** `onScroller`: gets what scrolls to a day. */
export function VirtualGallery({ onScroller }: { readonly onScroller: (scrollTo: (day: string) => void) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const [{ width, height }, setSize] = useState({ width: 0, height: 0 });
  const [top, setTop] = useState(0);
  const found = days.value ?? [];
  const layout = useMemo(() => galleryLayout(found, width), [found, width]);

  useLayoutEffect(() => {
    const element = box.current!;
    const measure = () => {
      const { paddingInlineStart, paddingInlineEnd } = getComputedStyle(element);
      const padding = Number.parseFloat(paddingInlineStart) + Number.parseFloat(paddingInlineEnd);
      setSize({ width: element.clientWidth - padding, height: element.clientHeight });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useAnchor(box, layout);
  useEffect(() => {
    onScroller((day) => {
      const heading = layout.rows.find((row) => row.type === "heading" && row.day === day);
      if (heading) box.current?.scrollTo({ top: heading.top });
    });
  }, [layout]);

  const rows = width === 0 ? [] : rowsBetween(layout, top - OVERSCAN, top + height + OVERSCAN);
  const inSight = rows.flatMap((row) => (row.type === "pictures" ? row.ids : []));
  useEffect(() => learn(inSight), [inSight.join()]);

  const show = (id: number | undefined) => {
    current.value = id;
    const row = id === undefined ? undefined : layout.rows[layout.rowOf.get(id) ?? -1];
    const element = box.current;
    if (!row || !element) return;
    if (row.top < element.scrollTop) element.scrollTop = row.top - (row === layout.rows[1] ? row.top : 0);
    else if (row.top + row.height > element.scrollTop + element.clientHeight)
      element.scrollTop = row.top + row.height - element.clientHeight;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    const isRtl = document.documentElement.dir === "rtl";
    const sideways = { ArrowLeft: isRtl ? "after" : "before", ArrowRight: isRtl ? "before" : "after" } as const;
    const move = MOVES[key] ?? sideways[key as keyof typeof sideways];
    const page = Math.max(1, Math.floor(height / layout.cell) - 1);
    if (move) show(moved(layout, current.peek(), move, page));
    else if (key === "Enter") opened.value = current.peek();
    else if (key === " " && current.peek() !== undefined) toggleChosen(current.peek()!);
    else if (key === "f") toggleFavourites(meant());
    else if (key === "Delete") (showsDeleted.peek() ? restorePictures : deletePictures)(meant());
    else if (key === "Escape") chosen.value = new Set();
    else return;
    event.preventDefault();
  };
  const onClick = (event: MouseEvent) => {
    const target = event.target as Element;
    const id = Number(target.closest<HTMLElement>("[data-id]")?.dataset.id);
    if (!Number.isInteger(id)) return;
    current.value = id;
    // The list has the keys: its options are told by aria-activedescendant.
    box.current?.focus({ preventScroll: true });
    const chooses = event.ctrlKey || event.metaKey || event.shiftKey || target.closest(".mark") !== null;
    if (chooses) toggleChosen(id);
    else opened.value = id;
  };
  const active =
    current.value !== undefined && inSight.includes(current.value) ? `picture-${current.value}` : undefined;
  return (
    <div
      ref={box}
      class="gallery-scroll"
      role="listbox"
      aria-multiselectable="true"
      aria-label={t("gallery.pictures")}
      aria-activedescendant={active}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onClick={onClick}
      onFocus={() => {
        current.value ??= layout.ids[0];
      }}
      onScroll={({ currentTarget }) => setTop(currentTarget.scrollTop)}
    >
      <div class="gallery-sheet" role="presentation" style={{ blockSize: `${layout.height}px` }}>
        {rows.map((row) => (
          <Row key={`${row.type}-${row.top}-${row.day}`} row={row} layout={layout} />
        ))}
      </div>
    </div>
  );
}

function Row({ row, layout: { cell, ids } }: { readonly row: GalleryRow; readonly layout: GalleryLayout }) {
  const place = { transform: `translateY(${row.top}px)`, blockSize: `${row.height}px` };
  if (row.type === "heading") {
    return (
      <div class="gallery-day" role="presentation" aria-hidden="true" style={place}>
        <b>{dayWords(row.day)}</b>
        <span>{t("gallery.count", { count: row.count })}</span>
      </div>
    );
  }
  return (
    <div class="gallery-row" role="presentation" style={place}>
      {row.ids.map((id, at) => (
        <Cell key={id} id={id} day={row.day} side={cell} place={row.first + at + 1} all={ids.length} />
      ))}
    </div>
  );
}

interface CellProps {
  readonly id: number;
  readonly day: string;
  readonly side: number;
  readonly place: number;
  readonly all: number;
}

function Cell({ id, day, side, place, all }: CellProps) {
  const [isLost, setLost] = useState(false);
  const picture = details.value.get(id);
  const isFavourite = favourites.value.has(id);
  const isChosen = chosen.value.has(id);
  const name = picture?.prompt ? picture.prompt : t("gallery.number", { number: id });
  const label = [name, dayWords(day), isFavourite && t("gallery.favourite")].filter(Boolean).join(", ");
  return (
    <div
      id={`picture-${id}`}
      class={current.value === id ? "cell current" : "cell"}
      role="option"
      aria-selected={isChosen}
      aria-label={label}
      aria-posinset={place}
      aria-setsize={all}
      tabIndex={-1}
      data-id={id}
      style={{ inlineSize: `${side}px`, blockSize: `${side}px` }}
    >
      {!isLost && <img src={thumbnailOf(id)} alt="" decoding="async" draggable={false} onError={() => setLost(true)} />}
      <span class="mark">{isChosen && <Icon name="check" />}</span>
      {isFavourite && (
        <span class="starred">
          <Icon name="star" />
        </span>
      )}
    </div>
  );
}

/** What was at the top stays there when pictures come or go, or the columns change. */
function useAnchor(box: { readonly current: HTMLDivElement | null }, layout: GalleryLayout): void {
  const before = useRef<GalleryLayout | undefined>(undefined);
  useLayoutEffect(() => {
    const element = box.current!;
    const old = before.current;
    before.current = layout;
    if (!old || old === layout || element.scrollTop <= 0) return;
    const row = rowsBetween(old, element.scrollTop, element.scrollTop + 1)[0];
    const id = row?.type === "pictures" ? row.ids[0] : undefined;
    const now = id === undefined ? undefined : layout.rowOf.get(id);
    if (row && now !== undefined) element.scrollTop += layout.rows[now]!.top - row.top;
  }, [layout]);
}

/** To make one takes longer than all else of a cell. */
const dayFormat = computed(() => new Intl.DateTimeFormat(language.value, { dateStyle: "full", timeZone: "UTC" }));

/** "Thursday, 26 November 2026", as the language says it. */
export function dayWords(day: string): string {
  return dayFormat.value.format(new Date(`${day}T00:00:00Z`));
}
