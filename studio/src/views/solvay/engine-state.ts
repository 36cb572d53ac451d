/** @file What the engine does, as signals: its plan, where it is, which blocks are on the device, and how that went over the last minutes. */
import { effect, signal, untracked } from "@preact/signals";
import { ApiError } from "../../api/client.ts";
import { followEngine, type Measured, type Moment, type Plan, type Progress, planOf } from "../../api/machine.ts";
import { jobOfForm, schema } from "../../state/form.ts";

/** Of the graphs: at four a second, some minutes. */
const MAX_SAMPLES = 900;

export interface Sample {
  /** Seconds of the engine's clock. */
  readonly atS: number;
  readonly deviceBytes: number;
  readonly ramBytes: number;
  /** Bytes a second since the sample before. */
  readonly loadedRate: number;
  readonly readRate: number;
  /** Share of the time in which compute stood still, 0..1. */
  readonly waiting: number;
}

export interface Blocks {
  readonly resident: ReadonlySet<string>;
  readonly loading: ReadonlySet<string>;
  readonly segment: string | undefined;
}

const NOTHING: Blocks = { resident: new Set(), loading: new Set(), segment: undefined };

/** The one that is carried out, else that of the form's job. */
export const plan = signal<Plan | undefined>(undefined);
/** Why the form's job can't be planned, in the server's words. */
export const refusal = signal<string | undefined>(undefined);
export const progress = signal<Progress | undefined>(undefined);
export const measured = signal<Measured | undefined>(undefined);
/** The job that `plan` is of; undefined: the form's. */
export const plannedJob = signal<string | undefined>(undefined);
export const blocks = signal<Blocks>(NOTHING);
export const samples = signal<readonly Sample[]>([]);

let latest: Moment | undefined;

function take(moment: Moment): void {
  const resident = new Set(blocks.peek().resident);
  for (const key of moment.left) resident.delete(key);
  for (const key of moment.arrived) resident.add(key);
  blocks.value = { resident, loading: new Set(moment.loading), segment: moment.segment };
  const before = latest;
  latest = moment;
  const seconds = before ? (moment.atMs - before.atMs) / 1000 : 0;
  // Counters begin again with each image.
  const rate = (now: number, then: number) => (seconds > 0 ? Math.max(0, now >= then ? now - then : now) / seconds : 0);
  const sample = {
    atS: moment.atMs / 1000,
    deviceBytes: moment.deviceBytes,
    ramBytes: moment.ramBytes,
    loadedRate: rate(moment.loadedBytes, before?.loadedBytes ?? 0),
    readRate: rate(moment.readBytes, before?.readBytes ?? 0),
    waiting: Math.min(1, rate(moment.waitMs, before?.waitMs ?? 0) / 1000),
  };
  const last = samples.peek().at(-1);
  // Another engine's clock begins anew.
  const kept = last && last.atS > sample.atS ? [] : samples.peek();
  samples.value = [...kept, sample].slice(-MAX_SAMPLES);
}

/** While the view is shown. Returns what ends it. */
export function followWork(onFailure: (error: unknown) => void): () => void {
  const end = followEngine({
    onOpen: () => {
      blocks.value = NOTHING;
      latest = undefined;
    },
    onPlan: ({ job, plan: carried }) => {
      plan.value = carried;
      plannedJob.value = job;
    },
    onProgress: (now) => {
      progress.value = now.over ? undefined : now;
    },
    onMeasured: (found) => {
      measured.value = found;
    },
    onMoment: take,
  });
  // Nothing was drawn yet: what would be, as soon as the form's fields are known.
  const stop = effect(() => {
    if (!schema.value || plan.peek()) return;
    planOf(untracked(jobOfForm)).then(
      (found) => {
        refusal.value = undefined;
        plan.value ??= found;
      },
      (error: unknown) => {
        if (error instanceof ApiError && error.status === 400) refusal.value = error.message;
        else onFailure(error);
      },
    );
  });
  return () => {
    stop();
    end();
  };
}
