/** @file What the server says of plans, of machines, and of what its engine does right now. */
import { ask } from "./client.ts";
import type { JobFields } from "./types.ts";

export type Place = "pinned" | "streamed from RAM" | "streamed" | "passing";

export interface Block {
  readonly key: string;
  readonly segment: string;
  readonly owner: string;
  readonly bytes: number;
  readonly place: Place;
}

export interface PassPlan {
  readonly id: string;
  readonly repeats: number;
  readonly predictedMs: number;
  readonly predictedWaitMs: number;
  readonly map: readonly Block[];
}

export interface PhasePlan {
  readonly id: string;
  readonly title: string;
  readonly reasons: readonly string[];
  readonly passes: readonly PassPlan[];
}

export interface Tiers {
  readonly deviceBytes: number;
  readonly ramBytes: number;
}

export interface Plan {
  readonly machine: string;
  readonly basis: string;
  readonly budgets: Tiers;
  readonly peak: Tiers;
  readonly weightBytes: number;
  readonly loadedBytes: number;
  readonly predictedMs: number;
  readonly phases: readonly PhasePlan[];
}

export interface PlanRefused {
  readonly error: { readonly code: string; readonly message: string };
}

export interface PlanVariant {
  readonly as?: string;
  /** Bytes. */
  readonly vram?: number;
  readonly ram?: number;
}

export interface DescribedMachine extends Tiers {
  readonly name: string;
  readonly hardware: string;
  readonly basis: string;
}

export interface PassTotals {
  readonly pass: string;
  readonly runs: number;
  readonly totalMs: number;
  readonly waitMs: number;
}

export interface Measured {
  readonly job: string;
  readonly elapsedMs: number;
  readonly peakDeviceBytes: number;
  readonly peakRamBytes: number;
  readonly passes: readonly PassTotals[];
}

export interface Progress {
  readonly job: string;
  readonly title: string;
  readonly step?: number;
  readonly steps?: number;
  readonly over?: boolean;
}

/** Of blocks only what has changed since the moment before. */
export interface Moment {
  readonly atMs: number;
  readonly pass?: string;
  readonly segment?: string;
  readonly arrived: readonly string[];
  readonly left: readonly string[];
  readonly loading: readonly string[];
  readonly deviceBytes: number;
  readonly ramBytes: number;
  readonly rssBytes: number;
  readonly readBytes: number;
  readonly loadedBytes: number;
  readonly waitMs: number;
}

export interface LiveListener {
  /** The connection is new: nothing that was told before counts. */
  readonly onOpen: () => void;
  readonly onPlan: (planned: { readonly job: string; readonly plan: Plan }) => void;
  readonly onProgress: (progress: Progress) => void;
  readonly onMeasured: (measured: Measured) => void;
  readonly onMoment: (moment: Moment) => void;
}

export function planOf(job: JobFields): Promise<Plan> {
  return ask<Plan>("/api/plan", { json: { job } });
}

export async function plansOf(
  job: JobFields,
  variants: readonly PlanVariant[],
  { brief, signal }: { readonly brief: boolean; readonly signal: AbortSignal },
): Promise<readonly (Plan | PlanRefused)[]> {
  const answer = await ask<{ readonly plans: readonly (Plan | PlanRefused)[] }>("/api/plan", {
    json: { job, variants, brief },
    signal,
  });
  return answer.plans;
}

export async function machines(): Promise<readonly DescribedMachine[]> {
  return (await ask<{ readonly machines: readonly DescribedMachine[] }>("/api/machines")).machines;
}

/** While the page is in sight: browsers have few connections to a server, and nobody looks at others. Returns what ends it. */
export function followEngine(listener: LiveListener): () => void {
  let source: EventSource | undefined;
  const connect = () => {
    const opened = new EventSource("/api/telemetry/live");
    source = opened;
    opened.addEventListener("open", listener.onOpen);
    const on = (type: string, take: (data: never) => void) => {
      opened.addEventListener(type, ({ data }: MessageEvent<string>) => take(JSON.parse(data) as never));
    };
    on("plan", listener.onPlan);
    on("progress", listener.onProgress);
    on("measured", listener.onMeasured);
    on("moment", listener.onMoment);
  };
  const look = () => {
    source?.close();
    source = undefined;
    if (!document.hidden) connect();
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    document.removeEventListener("visibilitychange", look);
    source?.close();
  };
}
