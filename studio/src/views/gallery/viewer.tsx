/** @file One picture, large, with what it says of its making and what can be done with it; arrows go to its neighbours. */
import "./viewer.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../../api/client.ts";
import type { GalleryPicture } from "../../api/gallery.ts";
import type { JobFields, Recalled } from "../../api/types.ts";
import { language, t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { titleOf } from "../../parts/words.ts";
import { notifyFailure } from "../../shell/notices.tsx";
import { withoutSeed } from "../../state/form.ts";
import { drawVariations, useAll, useFields } from "../draw/drawing.ts";
import { PictureTools } from "../draw/picture-tools.tsx";
import {
  current,
  days,
  deletePictures,
  details,
  favourites,
  learn,
  opened,
  restorePictures,
  showsDeleted,
  toggleFavourites,
} from "./pictures.ts";

export function Viewer() {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = opened.value;
  useEffect(() => {
    const element = dialog.current;
    if (id === undefined) element?.close();
    else if (!element?.open) element?.showModal();
    if (id !== undefined) learn([id]);
  }, [id]);
  const step = (by: number) => {
    const all = days.peek()?.flatMap(({ ids }) => ids) ?? [];
    const next = all[all.indexOf(id ?? -1) + by];
    if (next !== undefined) {
      opened.value = next;
      current.value = next;
    }
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (id === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const forth = document.documentElement.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = forth === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    if (event.key === forth) step(1);
    else if (event.key === back) step(-1);
    else if (event.key === "f") toggleFavourites([id]);
    else if (event.key === "Delete") (showsDeleted.peek() ? restorePictures : deletePictures)([id]);
    else return;
    event.preventDefault();
  };
  const picture = id === undefined ? undefined : details.value.get(id);
  return (
    <dialog
      ref={dialog}
      class="viewer"
      aria-label={t("gallery.viewer")}
      onKeyDown={onKeyDown}
      onClose={() => {
        opened.value = undefined;
      }}
    >
      {id !== undefined && (
        <>
          <div class="viewer-picture">
            {picture && (
              <img
                key={picture.url}
                src={picture.url}
                alt={t("draw.picture", { prompt: picture.prompt })}
                {...{ width: picture.width, height: picture.height }}
              />
            )}
            <button type="button" class="icon-only back" aria-label={t("gallery.before")} onClick={() => step(-1)}>
              <Icon name="chevron" />
            </button>
            <button type="button" class="icon-only forth" aria-label={t("gallery.after")} onClick={() => step(1)}>
              <Icon name="chevron" />
            </button>
          </div>
          <div class="viewer-side">
            <div class="viewer-tools">
              <Tools id={id} picture={picture} />
              <button
                type="button"
                class="quiet icon-only"
                aria-label={t("app.close")}
                onClick={() => dialog.current?.close()}
              >
                <Icon name="close" />
              </button>
            </div>
            {picture && <About key={picture.asset} picture={picture} />}
          </div>
        </>
      )}
    </dialog>
  );
}

function Tools({ id, picture }: { readonly id: number; readonly picture: GalleryPicture | undefined }) {
  if (showsDeleted.value) {
    return (
      <button type="button" onClick={() => restorePictures([id])}>
        <Icon name="undo" />
        {t("gallery.restore")}
      </button>
    );
  }
  return (
    <>
      <button
        type="button"
        class="icon-only"
        aria-pressed={favourites.value.has(id)}
        aria-label={t("gallery.favourite")}
        onClick={() => toggleFavourites([id])}
      >
        <Icon name="star" />
      </button>
      <a
        class="button icon-only"
        href={picture?.url}
        download={`solvay-${id}.${picture?.mediaType.split("/")[1] ?? "png"}`}
        aria-label={t("draw.download")}
      >
        <Icon name="download" />
      </a>
      <button type="button" class="icon-only" aria-label={t("gallery.delete")} onClick={() => deletePictures([id])}>
        <Icon name="trash" />
      </button>
    </>
  );
}

/** Fields that stand by themselves, above the others. */
const PROMPTS = ["prompt", "negativePrompt"];

function About({ picture }: { readonly picture: GalleryPicture }) {
  const [recalled, setRecalled] = useState<Recalled | undefined>();
  useEffect(() => {
    api.settingsOf(picture.asset).then(setRecalled, notifyFailure);
  }, []);
  const job: JobFields = recalled?.job ?? (picture.prompt === "" ? {} : { prompt: picture.prompt });
  // Its template stands before what chance made of it.
  const written = withoutSeed(job);
  const leave = (does: () => void) => () => {
    opened.value = undefined;
    does();
  };
  const others = Object.entries(job).filter(([name]) => !PROMPTS.includes(name));
  const when = new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "short" });
  return (
    <>
      <p class="viewer-prompt" dir="auto">
        {String(written.prompt ?? "")}
      </p>
      {job.negativePrompt !== undefined && job.negativePrompt !== "" && (
        <p class="hint" dir="auto">
          {`${t("field.negativePrompt")}: ${job.negativePrompt}`}
        </p>
      )}
      <div class="actions">
        <button type="button" class="primary" onClick={leave(() => useAll(job))}>
          {t("draw.useAll")}
        </button>
        <button type="button" onClick={leave(() => useFields(written, [...PROMPTS, "template", "negativeTemplate"]))}>
          {t("draw.usePrompt")}
        </button>
        <button type="button" disabled={job.seed === undefined} onClick={leave(() => useFields(job, ["seed"]))}>
          {t("draw.useSeed")}
        </button>
        <button type="button" onClick={leave(() => void drawVariations(job))}>
          {t("draw.variations")}
        </button>
        <PictureTools
          asset={picture.asset}
          job={job}
          leave={() => {
            opened.value = undefined;
          }}
        />
      </div>
      <Verdict recalled={recalled} />
      <dl class="facts">
        <Fact name={t("gallery.when")} value={when.format(new Date(picture.createdAt))} />
        <Fact name={t("draw.size")} value={t("draw.sizeOf", { width: picture.width, height: picture.height })} />
        {others.map(([name, value]) => (
          <Fact key={name} name={titleOf(name)} value={textOf(value)} />
        ))}
        {Object.entries(recalled?.facts ?? {}).map(([name, value]) => (
          <Fact key={name} name={titleOf(name)} value={value} />
        ))}
      </dl>
      <details>
        <summary>{t("gallery.infotext")}</summary>
        <pre dir="auto">{picture.infotext}</pre>
      </details>
    </>
  );
}

function Verdict({ recalled }: { readonly recalled: Recalled | undefined }) {
  if (!recalled?.remake) return null;
  const { exact, reasons } = recalled.remake;
  if (exact) {
    return (
      <p class="exact">
        <Icon name="check" />
        {t("gallery.exact")}
      </p>
    );
  }
  return (
    <details class="inexact">
      <summary>{t("gallery.inexact")}</summary>
      <ul>
        {reasons.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
    </details>
  );
}

function Fact({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <bdi>{value}</bdi>
      </dd>
    </div>
  );
}

function textOf(value: unknown): string {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
