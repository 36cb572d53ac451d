/** @file Two pictures over each other: a slider says how much of each is seen. */
import "./comparison.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { compared, details, learn } from "./pictures.ts";

export function Comparison() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [share, setShare] = useState(50);
  const pair = compared.value;
  useEffect(() => {
    if (!pair) return;
    learn(pair);
    setShare(50);
    dialog.current?.showModal();
  }, [pair]);
  const [under, over] = pair?.map((id) => details.value.get(id)) ?? [];
  return (
    <dialog
      ref={dialog}
      class="comparison"
      aria-label={t("gallery.compare")}
      onClose={() => {
        compared.value = undefined;
      }}
    >
      {under && over && (
        <>
          <div class="comparison-pictures" style={{ aspectRatio: `${under.width} / ${under.height}` }}>
            <img src={under.url} alt={t("draw.picture", { prompt: under.prompt })} />
            <img
              src={over.url}
              alt={t("draw.picture", { prompt: over.prompt })}
              style={{ clipPath: `inset(0 0 0 ${share}%)` }}
            />
            <span class="comparison-line" style={{ left: `${share}%` }} />
            <input
              type="range"
              dir="ltr"
              min={0}
              max={100}
              value={share}
              aria-label={t("gallery.slider")}
              onInput={({ currentTarget }) => setShare(Number(currentTarget.value))}
            />
          </div>
          <div class="comparison-words">
            <p dir="auto">{under.prompt}</p>
            <p dir="auto">{over.prompt}</p>
          </div>
        </>
      )}
      <button type="button" class="quiet icon-only" aria-label={t("app.close")} onClick={() => dialog.current?.close()}>
        <Icon name="close" />
      </button>
    </dialog>
  );
}
