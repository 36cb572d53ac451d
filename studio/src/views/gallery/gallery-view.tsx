/** @file The gallery: every picture that was drawn, found by words and settings, by day, by favourites; large, beside another, deleted and brought back. */
import "./gallery.css";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { useCommands } from "../../shell/commands.ts";
import { Comparison } from "./comparison.tsx";
import {
  chosen,
  compared,
  days,
  deletePictures,
  followGallery,
  onlyFavourites,
  restorePictures,
  showsDeleted,
  toggleFavourites,
  total,
  words,
} from "./pictures.ts";
import { Viewer } from "./viewer.tsx";
import { dayWords, VirtualGallery } from "./virtual-gallery.tsx";

export default function GalleryView() {
  useEffect(followGallery, []);
  const search = useRef<HTMLInputElement>(null);
  const scrollTo = useRef<(day: string) => void>(() => {});
  useCommands(() => [
    { title: t("gallery.search"), keys: "/", run: () => search.current?.focus() },
    { title: t("gallery.onlyFavourites"), run: () => switchOver(onlyFavourites) },
    { title: t("gallery.onlyDeleted"), run: () => switchOver(showsDeleted) },
    ...(chosen.value.size === 2 ? [{ title: t("gallery.compare"), keys: "C", run: compare }] : []),
  ]);
  const isEmpty = days.value !== undefined && total.value === 0;
  return (
    <div class="gallery">
      <header class="gallery-head">
        <h1 class="hidden">{t("nav.gallery")}</h1>
        <label class="find">
          <span class="hidden">{t("gallery.search")}</span>
          <Icon name="search" />
          <input
            ref={search}
            type="search"
            value={words.value}
            placeholder={t("gallery.searchHint")}
            spellcheck={false}
            onInput={({ currentTarget }) => {
              words.value = currentTarget.value;
            }}
          />
        </label>
        <Switch state={onlyFavourites} icon="star" title={t("gallery.onlyFavourites")} />
        <Switch state={showsDeleted} icon="trash" title={t("gallery.onlyDeleted")} />
        <select
          aria-label={t("gallery.toDay")}
          value=""
          disabled={total.value === 0}
          onChange={({ currentTarget }) => {
            scrollTo.current(currentTarget.value);
            currentTarget.value = "";
          }}
        >
          <option value="">{t("gallery.days")}</option>
          {days.value?.map(
            ({ day, ids }) =>
              ids.length > 0 && (
                <option key={day} value={day}>
                  {`${dayWords(day)} (${ids.length})`}
                </option>
              ),
          )}
        </select>
        <span class="hint" role="status">
          {days.value && t("gallery.count", { count: total.value })}
        </span>
      </header>
      {isEmpty ? (
        <p class="empty">{t(words.value !== "" || onlyFavourites.value ? "gallery.none" : "gallery.empty")}</p>
      ) : (
        <VirtualGallery
          onScroller={(own) => {
            scrollTo.current = own;
          }}
        />
      )}
      {chosen.value.size > 0 && <Selection />}
      <Viewer />
      <Comparison />
    </div>
  );
}

function switchOver(state: { value: boolean }): void {
  state.value = !state.value;
}

function Switch({
  state,
  icon,
  title,
}: {
  readonly state: { value: boolean };
  readonly icon: "star" | "trash";
  readonly title: string;
}) {
  return (
    <button
      type="button"
      class="icon-only"
      aria-pressed={state.value}
      aria-label={title}
      title={title}
      onClick={() => switchOver(state)}
    >
      <Icon name={icon} />
    </button>
  );
}

function compare(): void {
  const [one, other] = [...chosen.peek()];
  if (one !== undefined && other !== undefined) compared.value = [one, other];
}

/** What can be done with those that are chosen. */
function Selection() {
  const ids = [...chosen.value];
  return (
    <section class="selection" aria-label={t("gallery.selection")}>
      <span>{t("gallery.chosen", { count: ids.length })}</span>
      {ids.length === 2 && (
        <button type="button" onClick={compare}>
          {t("gallery.compare")}
        </button>
      )}
      {showsDeleted.value ? (
        <button type="button" onClick={() => restorePictures(ids)}>
          <Icon name="undo" />
          {t("gallery.restore")}
        </button>
      ) : (
        <>
          <button type="button" onClick={() => toggleFavourites(ids)}>
            <Icon name="star" />
            {t("gallery.favourite")}
          </button>
          <button type="button" onClick={() => deletePictures(ids)}>
            <Icon name="trash" />
            {t("gallery.delete")}
          </button>
        </>
      )}
      <button
        type="button"
        class="quiet icon-only"
        aria-label={t("gallery.unchoose")}
        onClick={() => {
          chosen.value = new Set();
        }}
      >
        <Icon name="close" />
      </button>
    </section>
  );
}
