/** @file What a network will look at, as the engine will make it: drawn anew while its thresholds move. */
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../messages/translate.ts";
import { type Preparation, Preparations } from "./preparation.ts";

export function ControlPreview({ address, width, height, preprocess, low, high, fit }: Preparation) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const preparations = useRef<Preparations | undefined>(undefined);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const made = new Preparations(({ image }) => {
      setFailed(image === undefined);
      const shown = canvas.current;
      if (!image || !shown) return;
      Object.assign(shown, { width: image.width, height: image.height });
      shown.getContext("2d")!.putImageData(image, 0, 0);
      shown.dataset.made = String(Number(shown.dataset.made ?? 0) + 1);
    });
    preparations.current = made;
    return () => made.end();
  }, []);
  useEffect(() => {
    preparations.current?.ask({ address, width, height, preprocess, low, high, fit });
  }, [address, width, height, preprocess, low, high, fit]);
  return (
    <figure class="control-preview">
      <canvas
        ref={canvas}
        role="img"
        aria-label={t("control.preview")}
        style={{ aspectRatio: `${width} / ${height}` }}
        {...{ width, height }}
      />
      <figcaption class="hint">{t(failed ? "control.unread" : "control.preview")}</figcaption>
    </figure>
  );
}
