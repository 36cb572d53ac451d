/** @file The picture to begin with, in the form: dropped, chosen, or taken from a picture that was drawn; then what of it is drawn anew. */
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../../messages/translate.ts";
import { Field } from "../../parts/field.tsx";
import { Icon } from "../../parts/icon.tsx";
import { DropZone } from "../../parts/picture-slot.tsx";
import { notifyFailure } from "../../shell/notices.tsx";
import { form, schema } from "../../state/form.ts";
import { beginWithFile, editing, endStartPicture, pictureAddress } from "../../state/start-picture.ts";

export function StartPicture() {
  const address = pictureAddress(form.value.initImage);
  return (
    <fieldset class="start-picture">
      <legend>{t("start.title")}</legend>
      {address === undefined ? (
        <DropZone words={t("start.choose")} onFile={(file) => void beginWithFile(file)} />
      ) : (
        <Chosen address={address} />
      )}
      <LazyEditor />
    </fieldset>
  );
}

function Chosen({ address }: { readonly address: string }) {
  const { maskImage, outpaint } = form.value;
  const strength = schema.value?.fields.find(({ name }) => name === "strength");
  const mask = pictureAddress(maskImage);
  return (
    <>
      <div class="chosen">
        <div class="chosen-picture">
          <img src={address} alt={t("start.title")} />
          {mask !== undefined && <img class="chosen-mask" src={mask} alt={t("start.mask")} />}
        </div>
        <div class="chosen-actions">
          <button
            type="button"
            onClick={() => {
              editing.value = true;
            }}
          >
            <Icon name="brush" />
            {t("start.edit")}
          </button>
          <button type="button" class="quiet" onClick={endStartPicture}>
            <Icon name="close" />
            {t("start.remove")}
          </button>
          {outpaint !== undefined && <span class="hint">{t("start.grows")}</span>}
        </div>
      </div>
      {strength && <Field field={strength} />}
    </>
  );
}

/** Loaded when it is first opened. */
function LazyEditor() {
  const [loaded, setLoaded] = useState<{ readonly Editor: ComponentType }>();
  const wanted = editing.value;
  useEffect(() => {
    if (wanted && !loaded) import("../../editor/editor.tsx").then(({ Editor }) => setLoaded({ Editor }), notifyFailure);
  }, [wanted]);
  return loaded ? <loaded.Editor /> : null;
}
