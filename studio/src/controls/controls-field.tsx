/** @file Networks that steer a picture by others (ControlNets): a place for each, with the picture that it looks at and what is made of that first. */
import "./controls.css";
import { api } from "../api/client.ts";
import type { SchemaField } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import { DropZone } from "../parts/picture-slot.tsx";
import { hintOf } from "../parts/words.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { form, setField } from "../state/form.ts";
import { mode } from "../state/settings.ts";
import { ControlRow, type ControlUse } from "./control-row.tsx";

function usesOf(value: unknown): readonly ControlUse[] {
  return Array.isArray(value) ? (value as ControlUse[]).filter((use) => typeof use?.file === "string") : [];
}

/** In Simple only where there is a network, or one is in use. */
export function ControlsField({ field }: { readonly field: SchemaField }) {
  const { name, kind } = field;
  const uses = usesOf(form.value[name]);
  const { files = [] } = kind;
  if (mode.value === "simple" && files.length === 0 && uses.length === 0) return null;
  const set = (next: readonly ControlUse[]) => setField(name, next.length === 0 ? undefined : next);
  const add = (picture: File) => {
    const use = (image: string) => set([...usesOf(form.peek()[name]), { file: files[0]!, image }]);
    api.upload(picture).then(({ sha256 }) => use(`sha256:${sha256}`), notifyFailure);
  };
  return (
    <fieldset class="controls">
      <legend>{t("control.title")}</legend>
      {uses.map((use, at) => (
        <ControlRow
          // Rows have no name of their own, and keep their places.
          key={`${at}`}
          {...{ use, kind }}
          onChange={(changed) => set(changed ? uses.with(at, changed) : uses.toSpliced(at, 1))}
        />
      ))}
      {files.length > 0 ? (
        <>
          <DropZone words={t(uses.length === 0 ? "control.add" : "control.another")} onFile={add} />
          {uses.length === 0 && form.value.initImage !== undefined && (
            <button type="button" class="quiet" onClick={() => set([{ file: files[0]! }])}>
              {t("control.addStart")}
            </button>
          )}
        </>
      ) : (
        <p class="hint">{t("control.none")}</p>
      )}
      {mode.value === "advanced" && (
        <p class="hint" dir="auto">
          {hintOf(field)}
        </p>
      )}
    </fieldset>
  );
}
