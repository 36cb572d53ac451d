/** @file What can be made of a picture that was drawn: begin with it, draw a part of it anew, draw it larger, enlarge it by a network. */
import type { JobFields } from "../../api/types.ts";
import { openEnlarge } from "../../enlarge/enlarge.tsx";
import { t } from "../../messages/translate.ts";
import { go } from "../../shell/route.ts";
import { beginWithAsset } from "../../state/start-picture.ts";
import { drawLarger } from "./drawing.ts";

interface PictureToolsProps {
  readonly asset: string;
  readonly job: JobFields;
  /** Before another view is shown. */
  readonly leave?: () => void;
}

export function PictureTools({ asset, job, leave = () => {} }: PictureToolsProps) {
  const inForm = (does: () => Promise<void>) => () => {
    leave();
    go("draw");
    void does();
  };
  return (
    <>
      <button type="button" onClick={inForm(() => beginWithAsset(asset))}>
        {t("start.begin")}
      </button>
      <button type="button" onClick={inForm(() => beginWithAsset(asset, "part"))}>
        {t("start.part")}
      </button>
      <button type="button" onClick={inForm(() => drawLarger(job))}>
        {t("start.larger")}
      </button>
      <button
        type="button"
        onClick={() => {
          leave();
          openEnlarge(asset);
        }}
      >
        {t("enlarge.open")}
      </button>
    </>
  );
}
