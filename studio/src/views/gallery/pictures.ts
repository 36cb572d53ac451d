/** @file What the gallery shows: the index that its search and switches ask for, details of pictures that are in sight, what is chosen, and what is done to it. */
import { computed, effect, signal } from "@preact/signals";
import { onServerEvent } from "../../api/events.ts";
import {
  changePictures,
  type GalleryDay,
  type GalleryPicture,
  galleryIndex,
  galleryPictures,
} from "../../api/gallery.ts";
import { t } from "../../messages/translate.ts";
import { notify, notifyFailure } from "../../shell/notices.tsx";

const TYPING_MS = 180;
const NEWS_MS = 400;
const LOOK_MS = 60;
/** Details that are kept. */
const MAX_DETAILS = 3000;

export const words = signal("");
export const onlyFavourites = signal(false);
export const showsDeleted = signal(false);

/** Undefined: not known yet. */
export const days = signal<readonly GalleryDay[] | undefined>(undefined);
export const favourites = computed(() => new Set(days.value?.flatMap((day) => day.favourites)));
export const total = computed(() => days.value?.reduce((sum, { ids }) => sum + ids.length, 0) ?? 0);

/** The picture that keys move. */
export const current = signal<number | undefined>(undefined);
export const chosen = signal<ReadonlySet<number>>(new Set());
/** Shown large. */
export const opened = signal<number | undefined>(undefined);
/** Two that are laid over each other. */
export const compared = signal<readonly [number, number] | undefined>(undefined);

export const details = signal<ReadonlyMap<number, GalleryPicture>>(new Map());

let asked = 0;

async function refresh(): Promise<void> {
  const number = ++asked;
  const filter = { words: words.peek().trim(), favourite: onlyFavourites.peek(), deleted: showsDeleted.peek() };
  try {
    const found = await galleryIndex(filter);
    if (number === asked) days.value = found;
  } catch (error) {
    if (number === asked) notifyFailure(error);
  }
}

/** While the gallery is shown. Returns what ends it. */
export function followGallery(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const soon = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => void refresh(), ms);
  };
  let first = true;
  const ends = [
    effect(() => {
      void words.value;
      void onlyFavourites.value;
      void showsDeleted.value;
      soon(first ? 0 : TYPING_MS);
      first = false;
    }),
    onServerEvent(({ type }) => {
      if (type === "done") soon(NEWS_MS);
    }),
    () => clearTimeout(timer),
  ];
  return () => {
    for (const end of ends) end();
  };
}

const wanted = new Set<number>();
let looking: ReturnType<typeof setTimeout> | undefined;

/** Asks for the details of those that are not known, of many calls at once. */
export function learn(ids: readonly number[]): void {
  const known = details.peek();
  for (const id of ids) if (!known.has(id)) wanted.add(id);
  if (wanted.size === 0) return;
  clearTimeout(looking);
  looking = setTimeout(async () => {
    const all = [...wanted];
    wanted.clear();
    try {
      const found = await galleryPictures(all, showsDeleted.peek());
      const entries = [...details.peek(), ...found.map((picture) => [picture.id, picture] as const)];
      details.value = new Map(entries.slice(-MAX_DETAILS));
    } catch (error) {
      notifyFailure(error);
    }
  }, LOOK_MS);
}

/** What a command is about: those that are chosen, else the current one. */
export function meant(): readonly number[] {
  if (chosen.peek().size > 0) return [...chosen.peek()];
  return current.peek() === undefined ? [] : [current.peek()!];
}

export function toggleChosen(id: number): void {
  const next = new Set(chosen.peek());
  if (!next.delete(id)) next.add(id);
  chosen.value = next;
}

/** All become favourites, unless all are. */
export function toggleFavourites(ids: readonly number[]): void {
  if (ids.length === 0) return;
  const before = days.peek();
  const favourite = !ids.every((id) => favourites.peek().has(id));
  const own = new Set(ids);
  days.value = before?.map((day) => {
    const others = day.favourites.filter((id) => !own.has(id));
    return { ...day, favourites: favourite ? [...others, ...day.ids.filter((id) => own.has(id))] : others };
  });
  changePictures("favourite", ids, { favourite }).catch((error: unknown) => {
    days.value = before;
    notifyFailure(error);
  });
}

/** They vanish at once, and a notice brings them back. */
export function deletePictures(ids: readonly number[]): void {
  if (ids.length === 0) return;
  hide(ids);
  const undo = () => void changePictures("restore", ids).then(refresh, notifyFailure);
  changePictures("delete", ids).then(
    () => notify(t("gallery.deleted", { count: ids.length }), { title: t("app.undo"), run: undo }),
    (error: unknown) => {
      notifyFailure(error);
      void refresh();
    },
  );
}

export function restorePictures(ids: readonly number[]): void {
  if (ids.length === 0) return;
  hide(ids);
  changePictures("restore", ids).then(
    () => notify(t("gallery.restored", { count: ids.length })),
    (error: unknown) => {
      notifyFailure(error);
      void refresh();
    },
  );
}

function hide(ids: readonly number[]): void {
  const own = new Set(ids);
  const all = days.peek()?.flatMap((day) => day.ids) ?? [];
  const at = all.findIndex((id) => own.has(id));
  const left = all.filter((id) => !own.has(id));
  const next = left[Math.min(Math.max(0, at), left.length - 1)];
  if (current.peek() !== undefined && own.has(current.peek()!)) current.value = next;
  if (opened.peek() !== undefined && own.has(opened.peek()!)) opened.value = next;
  chosen.value = new Set();
  days.value = days.peek()?.map((day) => ({
    ...day,
    ids: day.ids.filter((id) => !own.has(id)),
    favourites: day.favourites.filter((id) => !own.has(id)),
  }));
}
