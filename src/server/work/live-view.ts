/**
 * @file What the engine does at the moment, for pages that watch it: the plan that is carried out, the phase, what lies where, and what the last
 * picture took beside what was planned. The engine is watched only while somebody listens, and a slow listener gets the latest, not all.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Engine, GenerateEvent, PassTotals, PlanReport, ResidencyEvent } from "../../job/types.ts";

/** What a picture took, beside its plan. */
export interface Measured {
  readonly job: string;
  readonly elapsedMs: number;
  readonly peakDeviceBytes: number;
  readonly peakRamBytes: number;
  readonly passes: readonly PassTotals[];
}

export interface Planned {
  readonly job: string;
  readonly plan: PlanReport;
}

/** Where the work is. */
export interface Progress {
  readonly job: string;
  readonly title: string;
  readonly step?: number;
  readonly steps?: number;
  /** The job has ended. */
  readonly over?: true;
}

/** As a moment of the engine's, but of the blocks only what has changed since the one before. */
export interface MomentChange extends Omit<ResidencyEvent, "resident"> {
  readonly arrived: readonly string[];
  readonly left: readonly string[];
}

export type LiveEvent =
  | { readonly type: "plan"; readonly data: Planned }
  | { readonly type: "progress"; readonly data: Progress }
  | { readonly type: "measured"; readonly data: Measured }
  | { readonly type: "moment"; readonly data: MomentChange };

/** Moments of the engine come no oftener. */
const EVERY_MS = 250;
/** Until an engine that is opened again is looked for. */
const LOOK_MS = 1000;

/** Those of which the latest is all there is to tell. */
const LATEST = ["plan", "progress", "measured"] as const;
type LatestData = { readonly [Type in (typeof LATEST)[number]]?: Extract<LiveEvent, { type: Type }>["data"] };

export class LiveView {
  readonly #engine: () => Engine | undefined;
  #latest: LatestData = {};
  #moment: ResidencyEvent | undefined;
  #news = Promise.withResolvers<void>();
  #listeners = 0;
  #watching: AbortController | undefined;

  constructor(engine: () => Engine | undefined) {
    this.#engine = engine;
  }

  get latest(): LatestData {
    return this.#latest;
  }

  /** What the engine tells of a job. */
  take(job: string, event: GenerateEvent): void {
    if (event.type === "plan") this.#tell({ plan: { job, plan: event.plan } });
    else if (event.type === "phase") this.#tell({ progress: { job, title: event.title } });
    else if (event.type === "step") {
      const { progress } = this.#latest;
      const title = progress?.job === job ? progress.title : "";
      this.#tell({ progress: { job, title, step: event.step, steps: event.steps } });
    } else if (event.type === "image") {
      const { elapsedMs, peakDeviceBytes, peakRamBytes, passes } = event;
      this.#tell({ measured: { job, elapsedMs, peakDeviceBytes, peakRamBytes, passes } });
    }
  }

  /** The job is over, however it ended. */
  end(job: string): void {
    if (this.#latest.progress?.job === job) this.#tell({ progress: { job, title: "", over: true } });
  }

  /** What there is, then what changes, until the signal. */
  async *listen(signal: AbortSignal): AsyncGenerator<LiveEvent, void, undefined> {
    const stopped = Promise.withResolvers<void>();
    const stop = () => stopped.resolve();
    signal.addEventListener("abort", stop, { once: true });
    this.#begin();
    const told = new Map<string, unknown>();
    let moment: ResidencyEvent | undefined;
    try {
      while (!signal.aborted) {
        const news = this.#news.promise;
        for (const type of LATEST) {
          const data = this.#latest[type];
          if (data === undefined || data === told.get(type)) continue;
          told.set(type, data);
          yield { type, data } as LiveEvent;
        }
        if (this.#moment && this.#moment !== moment) {
          const data = changeOf(moment, this.#moment);
          moment = this.#moment;
          yield { type: "moment", data };
        }
        await Promise.race([news, stopped.promise]);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      this.#listeners--;
      if (this.#listeners === 0) this.#watching?.abort();
    }
  }

  #begin(): void {
    this.#listeners++;
    if (this.#watching && !this.#watching.signal.aborted) return;
    const watching = new AbortController();
    this.#watching = watching;
    void this.#watch(watching.signal);
  }

  async #watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const watched = this.#engine()?.watch({ everyMs: EVERY_MS, signal }) ?? [];
        for await (const moment of watched) {
          this.#moment = moment;
          this.#tell({});
        }
      } catch {
        // The engine has ended: another one is opened, or the server stops.
      }
      await delay(LOOK_MS, undefined, { signal }).catch(() => {});
    }
  }

  #tell(changed: LatestData): void {
    this.#latest = { ...this.#latest, ...changed };
    const news = this.#news;
    this.#news = Promise.withResolvers();
    news.resolve();
  }
}

function changeOf(before: ResidencyEvent | undefined, { resident, ...moment }: ResidencyEvent): MomentChange {
  const old = new Set(before?.resident);
  const now = new Set(resident);
  return {
    ...moment,
    arrived: resident.filter((key) => !old.has(key)),
    left: [...old].filter((key) => !now.has(key)),
  };
}
