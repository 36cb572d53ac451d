/**
 * @file The grid that was asked for last, kept over reloads: its cells are jobs of the queue like any others. One that is larger than the queue's room is
 * asked for in parts, the next as cells are done, for as long as a page is open.
 */
import { computed, effect } from "@preact/signals";
import { ApiError, ask } from "../api/client.ts";
import type { Job, JobFields } from "../api/types.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { jobs, jobsKnown, learnJobs } from "./jobs.ts";
import { modelChoice } from "./loras.ts";
import { persisted } from "./persisted.ts";

export interface Grid {
  readonly axes: readonly { readonly name: string; readonly texts: readonly string[] }[];
  /** Jobs, the first axis counting fastest; null: not asked for yet. */
  readonly cells: readonly (string | null)[];
  readonly prompt: string;
  /** What is still to be asked for; absent: nothing. */
  readonly rest?: Rest | undefined;
}

/** What the server is asked for, and from which cell on. */
interface Rest {
  readonly body: Readonly<Record<string, unknown>>;
  readonly from: number;
}

export interface AxisForm {
  /** A field, or "prompt-sr" for words of the prompt; "": the axis is not used. */
  readonly field: string;
  /** As a person writes them: "10, 20-40:10". */
  readonly values: string;
}

const NO_AXIS: AxisForm = { field: "", values: "" };
const MAX_CHARS = 2000;
/** Fewer open cells than that: the next part is asked for. */
const FEW_OPEN = 8;
/** Where the queue had no room, and nothing of ours is open. */
const AGAIN_MS = 3_000;

export const axisForms = persisted<readonly AxisForm[]>(
  "grid-axes",
  [{ field: "steps", values: "" }, { field: "guidance", values: "" }, NO_AXIS],
  (kept) => {
    if (!Array.isArray(kept) || kept.length !== 3) return undefined;
    return kept.map(({ field, values }: Partial<AxisForm>) => ({
      field: String(field ?? "").slice(0, 60),
      values: String(values ?? "").slice(0, MAX_CHARS),
    }));
  },
);

export const grid = persisted<Grid | undefined>("grid", undefined, (kept) => {
  const { axes, cells, prompt, rest } = (kept ?? {}) as Partial<Grid>;
  const isSound =
    Array.isArray(axes) &&
    Array.isArray(cells) &&
    axes.every((axis) => typeof axis?.name === "string" && Array.isArray(axis.texts)) &&
    cells.every((id) => id === null || /^[0-9a-f-]{36}$/.test(id));
  const isRest = typeof rest?.from === "number" && typeof rest.body === "object";
  return isSound ? { axes, cells, prompt: String(prompt), ...(isRest && { rest }) } : undefined;
});

/** Rejects with ApiError where an axis can't be read. */
export async function askGrid(job: JobFields): Promise<void> {
  const used = axisForms.peek().filter(({ field, values }) => field !== "" && values.trim() !== "");
  const axes = Object.fromEntries(used.map(({ field, values }, at) => ["xyz"[at]!, `${field}=${values}`]));
  // One for all parts.
  const seed = job.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!;
  const model = modelChoice.peek();
  const body = { job: { ...job, seed }, ...axes, ...(model !== "" && { model }) };
  grid.value = await withPart({ axes: [], cells: [], prompt: String(job.prompt ?? "") }, { body, from: 0 });
}

/** The grid with as many more cells as the queue has room for. */
async function withPart(before: Grid, { body, from }: Rest): Promise<Grid> {
  const {
    axes,
    jobs: cells,
    next,
  } = await ask<{
    readonly axes: Grid["axes"];
    readonly jobs: readonly (Job | null)[];
    readonly next: number | null;
  }>("/api/grids", { json: { ...body, from } });
  learnJobs(cells.filter((each) => each !== null));
  return {
    ...{ axes, prompt: before.prompt, cells: cells.map((job, at) => job?.id ?? before.cells[at] ?? null) },
    ...(next !== null && { rest: { body, from: next } }),
  };
}

const openCells = computed(() => {
  const states = grid.value?.cells.map((id) => (id === null ? undefined : jobs.value.get(id)?.state)) ?? [];
  return states.filter((state) => state === "queued" || state === "running").length;
});

let asking = false;

/** Asks for the next part, and again after a while where there was no room for it. */
async function feed(of: Grid, rest: Rest): Promise<void> {
  asking = true;
  let next: Grid = of;
  try {
    next = await withPart(of, rest);
  } catch (error) {
    // A full queue, or a server that is away, is waited for; what it refuses is told once.
    const isWaitedFor = error instanceof ApiError && (error.status === 0 || error.status === 503);
    next = isWaitedFor ? { ...of } : { ...of, rest: undefined };
    if (!isWaitedFor) notifyFailure(error);
  }
  if (next.rest?.from === rest.from) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  // What it is set to may be asked for at once.
  asking = false;
  if (grid.peek() === of) grid.value = next;
}

effect(() => {
  const of = grid.value;
  const isDue = jobsKnown.value && openCells.value < FEW_OPEN;
  // Behind the turn in which signals change.
  if (of?.rest && isDue && !asking) queueMicrotask(() => grid.peek() === of && !asking && void feed(of, of.rest!));
});

/** What is not asked for yet is left out. */
export function endGrid(): void {
  const of = grid.peek();
  if (of) grid.value = { ...of, rest: undefined };
}
