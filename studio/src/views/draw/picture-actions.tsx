/** @file What can be done with a picture that was drawn. */
import { useEffect, useState } from "preact/hooks";
import { api } from "../../api/client.ts";
import type { Job, JobFields } from "../../api/types.ts";
import { t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { notify, notifyFailure } from "../../shell/notices.tsx";
import { schema } from "../../state/form.ts";
import { drawVariations, useAll, useFields } from "./drawing.ts";
import { PictureTools } from "./picture-tools.tsx";
import { linkOf } from "./shared-link.ts";

export function PictureActions({ job: { job: asked, url, id, asset, upscale } }: { readonly job: Job }) {
  const [recalled, setRecalled] = useState<JobFields>();
  // A larger copy tells itself how its picture was made.
  useEffect(() => {
    if (upscale) api.settingsOf(asset!).then((found) => setRecalled(found.job), notifyFailure);
  }, []);
  const job = recalled ?? asked;
  const share = () => {
    const link = linkOf(job, schema.peek()?.fields ?? []);
    // Pages without a certificate have no clipboard: the address then shows the link.
    const copied = navigator.clipboard ? navigator.clipboard.writeText(link) : Promise.reject(new Error(link));
    copied.then(() => notify(t("draw.copied")), notifyFailure);
  };
  return (
    <div class="actions">
      <button type="button" onClick={() => useAll(job)}>
        {t("draw.useAll")}
      </button>
      <button type="button" onClick={() => useFields(job, ["seed"])}>
        {t("draw.useSeed")}
      </button>
      <button type="button" onClick={() => useFields(job, ["prompt", "negativePrompt"])}>
        {t("draw.usePrompt")}
      </button>
      <button type="button" onClick={() => void drawVariations(job)}>
        {t("draw.variations")}
      </button>
      <a class="button icon-only" href={url} download={`solvay-${id.slice(0, 8)}`} aria-label={t("draw.download")}>
        <Icon name="download" />
      </a>
      <button type="button" class="icon-only" aria-label={t("draw.share")} onClick={share}>
        <Icon name="link" />
      </button>
      <span class="row-end" />
      <PictureTools asset={asset!} job={job} />
    </div>
  );
}
