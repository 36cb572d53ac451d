/**
 * @file The editor of a picture to begin with: a mask painted over it with a soft brush, how far it grows at its sides, or one part of it that is drawn by
 * itself and laid back.
 */
import "./editor.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import { t } from "../messages/translate.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { form, setField } from "../state/form.ts";
import { editing, fitPart, fitSize, pictureAddress } from "../state/start-picture.ts";
import { Board } from "./board.tsx";
import { type Margins, marginsOfText, textOfMargins } from "./margins.tsx";
import type { Brush, Painting } from "./painting.ts";
import { type Region, regionOfText, textOfRegion } from "./region.tsx";
import { EditorTools, type Tool } from "./tools.tsx";

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
        editing.value = undefined;
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
  const [tool, setTool] = useState<Tool>(editing.peek() === "part" || form.peek().detail ? "part" : "paint");
  const [region, setRegion] = useState<Region>();
  const address = pictureAddress(form.peek().initImage);
  useEffect(() => {
    if (address === undefined) return;
    const loading = new Image();
    loading.src = address;
    loading.decode().then(() => {
      // A brush that one sees at once, whatever the picture's size.
      setBrush({ erases: false, radius: Math.max(4, Math.round(loading.naturalWidth / 14)), softness: 0.5 });
      setRegion(regionOfText(form.peek().detail, { width: loading.naturalWidth, height: loading.naturalHeight }));
      setImage(loading);
    }, notifyFailure);
  }, [address]);
  const done = async () => {
    try {
      // A part is drawn by itself: the mask is its box, and nothing grows.
      const mask = region ? undefined : await painting?.file();
      setField("maskImage", mask && `sha256:${(await api.upload(mask)).sha256}`);
      setField("outpaint", region ? undefined : textOfMargins(margins));
      setField("detail", region && textOfRegion(region));
      if (region) fitPart(region);
      else if (image) fitSize({ width: image.naturalWidth, height: image.naturalHeight });
      close();
    } catch (error) {
      notifyFailure(error);
    }
  };
  // Painted is drawn in place, a part by itself: one of both.
  const choose = (next: Tool) => {
    setTool(next);
    if (next !== "part") setRegion(undefined);
    setBrush((now) => now && { ...now, erases: next === "erase" });
  };
  if (!image || !brush) return <p class="empty">{t("app.loading")}</p>;
  return (
    <>
      <EditorTools
        {...{ tool, painting, brush, image }}
        canUndo={painting?.canUndo ?? false}
        canRedo={painting?.canRedo ?? false}
        hasRegion={region !== undefined}
        onTool={choose}
        onBrush={setBrush}
        onClose={close}
        onDone={() => void done()}
      />
      <Board
        {...{ image, brush, margins, region }}
        isPart={tool === "part"}
        onRegion={setRegion}
        mask={pictureAddress(form.peek().maskImage)}
        onBrush={(next) => {
          setBrush(next);
          if (next.erases !== brush.erases) choose(next.erases ? "erase" : "paint");
        }}
        onMargins={setMargins}
        onPainting={setPainting}
        onChange={() => tell((count) => count + 1)}
      />
    </>
  );
}
