/** @file The queue: what is drawn, what waits, what is over, whoever asked for it; the same in every browser that looks. */
import "./queue.css";
import type { ComponentChildren } from "preact";
import { api } from "../../api/client.ts";
import type { Job } from "../../api/types.ts";
import { duration, t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { useCommands } from "../../shell/commands.ts";
import { notifyFailure } from "../../shell/notices.tsx";
import { readyMs } from "../../state/estimates.ts";
import { jobsKnown, learnJobs, over, running, waiting } from "../../state/jobs.ts";
import { QueueRow } from "./queue-row.tsx";

/** Of those that are over: the gallery has all pictures. */
const OVER_SHOWN = 30;

export default function QueueView() {
  useCommands(() => [{ title: t("queue.cancelAll"), run: cancelWaiting }]);
  if (!jobsKnown.value) return <p class="empty">{t("app.loading")}</p>;
  const [drawn, next, ended] = [running.value, waiting.value, over.value];
  const last = next.at(-1);
  const allMs = last && readyMs.value.get(last.id);
  return (
    <div class="page queue">
      <h1>{t("nav.queue")}</h1>
      {drawn.length + next.length + ended.length === 0 && <p class="empty">{t("queue.empty")}</p>}
      {drawn.length > 0 && <Part title={t("queue.running")} jobs={drawn} />}
      {next.length > 0 && (
        <Part title={t("queue.waiting", { count: next.length })} jobs={next} ordered>
          {allMs !== undefined && <span class="hint">{t("queue.all", { time: duration(allMs) })}</span>}
          <button type="button" class="quiet" onClick={cancelWaiting}>
            <Icon name="close" />
            {t("queue.cancelAll")}
          </button>
        </Part>
      )}
      {ended.length > 0 && <Part title={t("queue.over")} jobs={ended.slice(0, OVER_SHOWN)} />}
    </div>
  );
}

/** From the last one on, so that none of them begins meanwhile. */
async function cancelAll(jobs: readonly Job[]): Promise<void> {
  for (const { id } of jobs.toReversed()) learnJobs([await api.cancel(id)]);
}

function cancelWaiting(): void {
  cancelAll(waiting.peek()).catch(notifyFailure);
}

interface PartProps {
  readonly title: string;
  readonly jobs: readonly Job[];
  /** Its order can be changed. */
  readonly ordered?: boolean;
  readonly children?: ComponentChildren;
}

function Part({ title, jobs, ordered = false, children }: PartProps) {
  return (
    <section>
      <div class="part-head">
        <h2>{title}</h2>
        {children}
      </div>
      <ol class="jobs">
        {jobs.map((job, at) => (
          <QueueRow key={job.id} job={job} {...(ordered && { order: { jobs, at } })} />
        ))}
      </ol>
    </section>
  );
}
