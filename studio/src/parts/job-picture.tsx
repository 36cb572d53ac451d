/** @file A job's picture in a box of its shape: the picture, or what it looks like so far; nothing moves when one takes the other's place. */
import { useState } from "preact/hooks";
import type { Job, Size } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import { model } from "../state/form.ts";
import { pictureAddress } from "../state/start-picture.ts";

/** Shapes that nobody tells apart. */
const ALIKE = 0.02;

/** As far as it is known before it is drawn. */
function sizeOf({ job }: Pick<Job, "job">): Size {
  const { defaultWidth = 1, defaultHeight = 1 } = model.value ?? {};
  const scale = Number(job.hiresScale ?? 1);
  return { width: Number(job.width ?? defaultWidth) * scale, height: Number(job.height ?? defaultHeight) * scale };
}

export function JobPicture({ job, small = false }: { readonly job: Job; readonly small?: boolean }) {
  const { id, url, state, step, steps, preview: last, upscale } = job;
  const [broken, setBroken] = useState("");
  // Of pictures from pictures it is known for certain when they are there.
  const [found, setFound] = useState<Size>();
  const { width, height } = found ?? sizeOf(job);
  const words = { prompt: String(job.job.prompt ?? "") };
  const preview = state === "running" && step > 0 ? `/api/jobs/${id}/preview?step=${step}` : undefined;
  const before = upscale && pictureAddress(upscale.image);
  const shown = url ?? (upscale ? before : (preview ?? last));
  const isStopped = url === undefined && (state === "cancelled" || state === "failed");
  return (
    <div
      class={`picture${small ? " small" : ""}${isStopped ? " stopped" : ""}`}
      style={{ aspectRatio: `${width} / ${height}`, "--shape": `${width / height}` }}
    >
      {shown !== undefined && broken !== shown && (
        <img
          src={shown}
          class={url ? undefined : "preview"}
          alt={t(url ? "draw.picture" : "draw.preview", words)}
          {...{ width, height }}
          decoding="async"
          onError={() => setBroken(shown)}
          onLoad={({ currentTarget: { naturalWidth, naturalHeight } }) => {
            if (url === undefined || Math.abs(naturalWidth / naturalHeight - width / height) < ALIKE) return;
            setFound({ width: naturalWidth, height: naturalHeight });
          }}
        />
      )}
      {isStopped && !small && <span class="badge">{t(`queue.${state}`)}</span>}
      {state === "running" && (
        <progress
          aria-label={t(upscale ? "enlarge.step" : "draw.step", { step, steps: steps ?? 0 })}
          value={step}
          max={steps || 1}
        />
      )}
    </div>
  );
}
