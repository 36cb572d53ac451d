/** @file The large picture with what can be done with it, and the latest ones in a row. */
import { api, plainWords } from "../../api/client.ts";
import type { Job } from "../../api/types.ts";
import { duration, t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { JobPicture } from "../../parts/job-picture.tsx";
import { notifyFailure } from "../../shell/notices.tsx";
import { jobs, learnJobs, over, running, waiting } from "../../state/jobs.ts";
import { selected, useAll } from "./drawing.ts";
import { PictureActions } from "./picture-actions.tsx";

const STRIP = 24;

export function Stage() {
  // One that was stopped keeps its place as long as there is something to see of it, one that failed until something else ends.
  const finished = over.value.filter(
    ({ state, preview }, at) => state === "done" || preview !== undefined || (state === "failed" && at === 0),
  );
  const chosen = selected.value === undefined ? undefined : jobs.value.get(selected.value);
  const shown = chosen ?? running.value[0] ?? finished[0];
  const strip = [...running.value, ...finished].slice(0, STRIP);
  return (
    <section class="stage" aria-label={t("draw.current")}>
      <div class="large">
        {shown ? (
          <>
            <JobPicture key={shown.id} job={shown} />
            <Caption job={shown} />
          </>
        ) : (
          <div class="empty">
            <p>{t("draw.empty")}</p>
            <p class="hint">{t("draw.emptyHint")}</p>
          </div>
        )}
      </div>
      {strip.length > 0 && (
        <ul class="strip" aria-label={t("draw.recent")}>
          {strip.map((job) => (
            <li key={job.id}>
              <button
                type="button"
                aria-pressed={job.id === shown?.id}
                onClick={() => {
                  selected.value = job.id;
                }}
              >
                <JobPicture job={job} small />
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Stopped({ job: { id, job, state, step, steps = 0, error } }: { readonly job: Job }) {
  const words =
    state === "failed" ? (error ? plainWords(error.message) : t("queue.failed")) : t("draw.stopped", { step, steps });
  return (
    <div class="caption">
      <p class={state === "failed" ? "wrong" : undefined} dir="auto">
        {words}
      </p>
      <button type="button" onClick={() => void api.retry(id).then((again) => learnJobs([again]), notifyFailure)}>
        <Icon name="retry" />
        {t("app.again")}
      </button>
      <button type="button" onClick={() => useAll(job)}>
        {t("draw.useAll")}
      </button>
    </div>
  );
}

function Caption({ job }: { readonly job: Job }) {
  const { state, step, steps = 0, etaMs, upscale } = job;
  if (state === "done") return <PictureActions key={job.id} job={job} />;
  if (state === "failed" || state === "cancelled") return <Stopped job={job} />;
  const made = upscale ? "enlarge.step" : "draw.step";
  const words = state === "running" ? t(made, { step, steps }) : t("draw.waiting");
  return (
    <p class="caption">
      <span>{words}</span>
      {state === "running" && etaMs !== undefined && <span>{t("draw.left", { time: duration(etaMs) })}</span>}
      {waiting.value.length > 0 && <span>{t("queue.waiting", { count: waiting.value.length })}</span>}
    </p>
  );
}
