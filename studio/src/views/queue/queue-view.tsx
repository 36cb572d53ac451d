/** @file The queue: what is drawn, what waits, what is over, whoever asked for it. */
import "./queue.css";
import { api } from "../../api/client.ts";
import type { Job } from "../../api/types.ts";
import { t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { JobPicture } from "../../parts/job-picture.tsx";
import { notifyFailure } from "../../shell/notices.tsx";
import { learnJobs, over, running, waiting } from "../../state/jobs.ts";

export default function QueueView() {
  const isEmpty = running.value.length + waiting.value.length + over.value.length === 0;
  return (
    <div class="page">
      <h1>{t("nav.queue")}</h1>
      {isEmpty && <p class="empty">{t("queue.empty")}</p>}
      <Part title={t("queue.running")} jobs={running.value} />
      <Part title={t("queue.waiting", { count: waiting.value.length })} jobs={waiting.value} />
      <Part title={t("queue.over")} jobs={over.value} />
    </div>
  );
}

function Part({ title, jobs }: { readonly title: string; readonly jobs: readonly Job[] }) {
  if (jobs.length === 0) return null;
  return (
    <section>
      <h2>{title}</h2>
      <ul class="jobs">
        {jobs.map((job) => (
          <Row key={job.id} job={job} />
        ))}
      </ul>
    </section>
  );
}

function Row({ job }: { readonly job: Job }) {
  const { id, state, error } = job;
  const words = { prompt: String(job.job.prompt ?? "") };
  const isOpen = state === "queued" || state === "running";
  const does = (what: (id: string) => Promise<Job>) => () =>
    void what(id).then((changed) => learnJobs([changed]), notifyFailure);
  return (
    <li class={`job ${state}`}>
      <JobPicture job={job} small />
      <div class="about">
        <p dir="auto">{words.prompt}</p>
        {error && <p class="wrong">{error.message}</p>}
      </div>
      {isOpen && (
        <button type="button" class="quiet icon-only" aria-label={t("queue.cancel", words)} onClick={does(api.cancel)}>
          <Icon name="close" />
        </button>
      )}
      {(state === "failed" || state === "cancelled") && (
        <button type="button" class="quiet icon-only" aria-label={t("queue.retry", words)} onClick={does(api.retry)}>
          <Icon name="retry" />
        </button>
      )}
    </li>
  );
}
