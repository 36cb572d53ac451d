/** @file One job of the queue: its picture, how far it is, and what can be done with it; dragged by its handle where its place can change. */
import { useRef, useState } from "preact/hooks";
import { api, plainWords } from "../../api/client.ts";
import type { Job } from "../../api/types.ts";
import { duration, t } from "../../messages/translate.ts";
import { Icon, type IconName } from "../../parts/icon.tsx";
import { JobPicture } from "../../parts/job-picture.tsx";
import { notifyFailure } from "../../shell/notices.tsx";
import { readyMs } from "../../state/estimates.ts";
import { learnJobs } from "../../state/jobs.ts";

interface Order {
  readonly jobs: readonly Job[];
  /** Its place among them. */
  readonly at: number;
}

export function QueueRow({ job, order }: { readonly job: Job; readonly order?: Order }) {
  const { id, state, error } = job;
  const title = job.upscale ? t("enlarge.job", { prompt: String(job.job.prompt ?? "") }) : String(job.job.prompt ?? "");
  const words = { prompt: title.slice(0, 80) };
  const isOpen = state === "queued" || state === "running";
  const does = (what: (id: string) => Promise<Job>) => () =>
    void what(id).then((changed) => learnJobs([changed]), notifyFailure);
  return (
    <li class={`job ${state}`} data-job={id}>
      {order && <Handle id={id} order={order} />}
      <JobPicture job={job} small />
      <div class="about">
        <p dir="auto">{title}</p>
        <p class={error ? "wrong" : "hint"}>{error ? plainWords(error.message) : stateWords(job)}</p>
      </div>
      <div class="row-actions">
        {order && <Moves id={id} order={order} prompt={words.prompt} />}
        {isOpen && <Action icon="close" title={t("queue.cancel", words)} onClick={does(api.cancel)} />}
        {(state === "failed" || state === "cancelled") && (
          <Action icon="retry" title={t("queue.retry", words)} onClick={does(api.retry)} />
        )}
      </div>
    </li>
  );
}

function stateWords({ id, state, step, steps = 0, etaMs, upscale }: Job): string {
  if (state === "running") {
    const left = etaMs === undefined ? "" : ` · ${t("draw.left", { time: duration(etaMs) })}`;
    return t(upscale ? "enlarge.step" : "draw.step", { step, steps }) + left;
  }
  if (state !== "queued") return t(`queue.${state}`);
  const ms = readyMs.value.get(id);
  return ms === undefined ? t("draw.waiting") : t("queue.ready", { time: duration(ms) });
}

interface ActionProps {
  readonly icon: IconName;
  readonly title: string;
  readonly disabled?: boolean;
  readonly onClick: () => void;
}

function Action({ icon, title, disabled = false, onClick }: ActionProps) {
  return (
    <button type="button" class="quiet icon-only" aria-label={title} title={title} {...{ disabled, onClick }}>
      <Icon name={icon} />
    </button>
  );
}

function move(id: string, before: Job | undefined): void {
  api.move(id, before?.id ?? null).then((changed) => learnJobs([changed]), notifyFailure);
}

interface MovesProps {
  readonly id: string;
  readonly order: Order;
  readonly prompt: string;
}

function Moves({ id, order: { jobs, at }, prompt }: MovesProps) {
  const isFirst = at === 0;
  return (
    <>
      <Action icon="first" title={t("queue.first", { prompt })} disabled={isFirst} onClick={() => move(id, jobs[0])} />
      <Action icon="up" title={t("queue.up", { prompt })} disabled={isFirst} onClick={() => move(id, jobs[at - 1])} />
      <Action
        icon="down"
        title={t("queue.down", { prompt })}
        disabled={at === jobs.length - 1}
        onClick={() => move(id, jobs[at + 2])}
      />
    </>
  );
}

/** For pointers; keys have the buttons. */
function Handle({ id, order: { jobs, at } }: { readonly id: string; readonly order: Order }) {
  const handle = useRef<HTMLSpanElement>(null);
  const [target, setTarget] = useState<number>();
  /** Place before which a pointer at that height would put it. */
  const placeAt = (y: number): number => {
    const rows = [...(handle.current?.closest("ol")?.children ?? [])];
    const below = rows.findIndex((row) => {
      const { top, height } = row.getBoundingClientRect();
      return y < top + height / 2;
    });
    return below < 0 ? rows.length : below;
  };
  const show = (place: number | undefined) => {
    setTarget(place);
    const rows = [...(handle.current?.closest("ol")?.children ?? [])];
    for (const [index, row] of rows.entries()) row.classList.toggle("drop-before", index === place);
  };
  return (
    <span
      ref={handle}
      class={target === undefined ? "handle" : "handle held"}
      aria-hidden="true"
      onPointerDown={(event) => {
        event.preventDefault();
        event.currentTarget.setPointerCapture(event.pointerId);
        show(at);
      }}
      onPointerMove={({ clientY }) => target !== undefined && show(placeAt(clientY))}
      onPointerUp={() => {
        if (target !== undefined && target !== at && target !== at + 1) move(id, jobs[target]);
        show(undefined);
      }}
      onPointerCancel={() => show(undefined)}
    >
      <Icon name="drag" />
    </span>
  );
}
