/** @file The picture to begin with, in the form: dropped, chosen, or taken from a picture that was drawn; then what of it is drawn anew. */
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Size } from "../../api/types.ts";
import { openEnlarge } from "../../enlarge/enlarge.tsx";
import { t } from "../../messages/translate.ts";
import { Field } from "../../parts/field.tsx";
import { Icon } from "../../parts/icon.tsx";
import { PartPrompt } from "../../parts/part-prompt.tsx";
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
  const { maskImage, outpaint, detail } = form.value;
  const strength = schema.value?.fields.find(({ name }) => name === "strength");
  const mask = pictureAddress(maskImage);
  return (
    <>
      <div class="chosen">
        <div class="chosen-picture">
          <img src={address} alt={t("start.title")} />
          {detail !== undefined && <PartMark detail={String(detail)} address={address} />}
          {mask !== undefined && <img class="chosen-mask" src={mask} alt={t("start.mask")} />}
        </div>
        <div class="chosen-actions">
          <button
            type="button"
            onClick={() => {
              editing.value = "mask";
            }}
          >
            <Icon name="brush" />
            {t("start.edit")}
          </button>
          <button type="button" class="quiet" onClick={() => openEnlarge(address.replace("/api/assets/", ""))}>
            <Icon name="zoom" />
            {t("enlarge.open")}
          </button>
          <button type="button" class="quiet" onClick={endStartPicture}>
            <Icon name="close" />
            {t("start.remove")}
          </button>
          {outpaint !== undefined && <span class="hint">{t("start.grows")}</span>}
        </div>
      </div>
      {detail !== undefined && <PartPrompt />}
      {strength && <Field field={strength} />}
    </>
  );
}

/** Where the part lies, over the small picture. */
function PartMark({ detail, address }: { readonly detail: string; readonly address: string }) {
  const [size, setSize] = useState<Size>();
  useEffect(() => {
    const image = new Image();
    image.src = address;
    const learn = () => setSize({ width: image.naturalWidth, height: image.naturalHeight });
    image.decode().then(learn, () => {});
  }, [address]);
  const [left, top, width, height] = detail.split(",").map(Number);
  if (!size || height === undefined) return null;
  const share = (pixels: number | undefined, of: number) => `${(100 * (pixels ?? 0)) / of}%`;
  const place = {
    ...{ left: share(left, size.width), top: share(top, size.height) },
    ...{ inlineSize: share(width, size.width), blockSize: share(height, size.height) },
  };
  return <span class="chosen-part" style={place} />;
}

/** Loaded when it is first opened. */
function LazyEditor() {
  const [loaded, setLoaded] = useState<{ readonly Editor: ComponentType }>();
  const wanted = editing.value !== undefined;
  useEffect(() => {
    if (wanted && !loaded) import("../../editor/editor.tsx").then(({ Editor }) => setLoaded({ Editor }), notifyFailure);
  }, [wanted]);
  return loaded ? <loaded.Editor /> : null;
}
