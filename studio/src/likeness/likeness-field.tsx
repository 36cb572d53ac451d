/** @file Pictures beside the prompt (IP-Adapters): a place for each adapter, with its pictures and where each of them counts. */
import "../controls/controls.css";
import "./likeness.css";
import { api } from "../api/client.ts";
import type { SchemaField } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import { DropZone } from "../parts/picture-slot.tsx";
import { hintOf } from "../parts/words.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { form, setField } from "../state/form.ts";
import { mode } from "../state/settings.ts";
import { type Likeness, LikenessRow } from "./likeness-row.tsx";

function usesOf(value: unknown): readonly Likeness[] {
  return Array.isArray(value) ? (value as Likeness[]).filter((use) => typeof use?.file === "string") : [];
}

/** In Simple only where there is an adapter, or one is in use. */
export function LikenessField({ field }: { readonly field: SchemaField }) {
  const { name, kind } = field;
  const uses = usesOf(form.value[name]);
  const { files = [], parts = [] } = kind;
  if (mode.value === "simple" && files.length === 0 && uses.length === 0) return null;
  const set = (next: readonly Likeness[]) => setField(name, next.length === 0 ? undefined : next);
  const add = (picture: File) => {
    const use = (image: string) => set([...usesOf(form.peek()[name]), { file: files[0]!, images: [image] }]);
    api.upload(picture).then(({ sha256 }) => use(`sha256:${sha256}`), notifyFailure);
  };
  return (
    <fieldset class="controls likeness">
      <legend>{t("likeness.title")}</legend>
      {uses.map((use, at) => (
        <LikenessRow
          // Rows have no name of their own, and keep their places.
          key={`${at}`}
          {...{ use, files, parts }}
          onChange={(changed) => set(changed ? uses.with(at, changed) : uses.toSpliced(at, 1))}
        />
      ))}
      {files.length > 0 ? (
        <DropZone words={t(uses.length === 0 ? "likeness.add" : "likeness.another")} onFile={add} />
      ) : (
        <p class="hint">{t("likeness.none")}</p>
      )}
      {mode.value === "advanced" && (
        <p class="hint" dir="auto">
          {hintOf(field)}
        </p>
      )}
    </fieldset>
  );
}
