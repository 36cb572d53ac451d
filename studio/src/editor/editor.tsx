/** @file The editor of a picture to begin with: a mask painted over it with a soft brush, and how far it grows at its sides. */
import "./editor.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import { t } from "../messages/translate.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { form, setField } from "../state/form.ts";
import { editing, fitSize, pictureAddress } from "../state/start-picture.ts";
import { Board } from "./board.tsx";
import { type Margins, marginsOfText, textOfMargins } from "./margins.tsx";
import type { Brush, Painting } from "./painting.ts";
import { EditorTools } from "./tools.tsx";

export function Editor() {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = editing.value;
  useEffect(() => {
    if (shown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [shown]);
  return (
    <dialog
      ref={dialog}
      class="editor"
      aria-label={t("editor.title")}
      onClose={() => {
        editing.value = false;
      }}
    >
      {shown && <Desk close={() => dialog.current?.close()} />}
    </dialog>
  );
}

function Desk({ close }: { readonly close: () => void }) {
  const [image, setImage] = useState<HTMLImageElement>();
  const [painting, setPainting] = useState<Painting>();
  const [, tell] = useState(0);
  const [brush, setBrush] = useState<Brush>();
  const [margins, setMargins] = useState<Margins>(marginsOfText(form.peek().outpaint));
  const address = pictureAddress(form.peek().initImage);
  useEffect(() => {
    if (address === undefined) return;
    const loading = new Image();
    loading.src = address;
    loading.decode().then(() => {
      // A brush that one sees at once, whatever the picture's size.
      setBrush({ erases: false, radius: Math.max(4, Math.round(loading.naturalWidth / 14)), softness: 0.5 });
      setImage(loading);
    }, notifyFailure);
  }, [address]);
  const done = async () => {
    try {
      const mask = await painting?.file();
      setField("maskImage", mask && `sha256:${(await api.upload(mask)).sha256}`);
      setField("outpaint", textOfMargins(margins));
      if (image) fitSize({ width: image.naturalWidth, height: image.naturalHeight });
      close();
    } catch (error) {
      notifyFailure(error);
    }
  };
  if (!image || !brush) return <p class="empty">{t("app.loading")}</p>;
  return (
    <>
      <EditorTools {...{ painting, brush, image }} onBrush={setBrush} onClose={close} onDone={() => void done()} />
      <Board
        {...{ image, brush, margins }}
        mask={pictureAddress(form.peek().maskImage)}
        onBrush={setBrush}
        onMargins={setMargins}
        onPainting={setPainting}
        onChange={() => tell((count) => count + 1)}
      />
    </>
  );
}
