/** @file The grid that was asked for last, kept over reloads: its cells are jobs of the queue like any others. */
import { ask } from "../api/client.ts";
import type { Job, JobFields } from "../api/types.ts";
import { learnJobs } from "./jobs.ts";
import { modelChoice } from "./loras.ts";
import { persisted } from "./persisted.ts";

export interface Grid {
  readonly axes: readonly { readonly name: string; readonly texts: readonly string[] }[];
  /** Jobs, the first axis counting fastest. */
  readonly cells: readonly string[];
  readonly prompt: string;
}

export interface AxisForm {
  /** A field, or "prompt-sr" for words of the prompt; "": the axis is not used. */
  readonly field: string;
  /** As a person writes them: "10, 20-40:10". */
  readonly values: string;
}

const NO_AXIS: AxisForm = { field: "", values: "" };
const MAX_CHARS = 2000;

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
  const { axes, cells, prompt } = (kept ?? {}) as Partial<Grid>;
  const isSound =
    Array.isArray(axes) &&
    Array.isArray(cells) &&
    axes.every((axis) => typeof axis?.name === "string" && Array.isArray(axis.texts)) &&
    cells.every((id) => /^[0-9a-f-]{36}$/.test(id));
  return isSound ? { axes, cells, prompt: String(prompt) } : undefined;
});

/** Rejects with ApiError where an axis can't be read. */
export async function askGrid(job: JobFields): Promise<void> {
  const used = axisForms.peek().filter(({ field, values }) => field !== "" && values.trim() !== "");
  const axes = Object.fromEntries(used.map(({ field, values }, at) => ["xyz"[at]!, `${field}=${values}`]));
  const found = await ask<{ readonly axes: Grid["axes"]; readonly jobs: readonly Job[] }>("/api/grids", {
    json: { job, ...axes, ...(modelChoice.peek() !== "" && { model: modelChoice.peek() }) },
  });
  learnJobs(found.jobs);
  grid.value = { axes: found.axes, cells: found.jobs.map(({ id }) => id), prompt: String(job.prompt ?? "") };
}
