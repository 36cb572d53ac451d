/** @file What Draw does: asks for the form's job, and shows what comes of it. */
import { signal } from "@preact/signals";
import { api } from "../../api/client.ts";
import type { JobFields, JobValue } from "../../api/types.ts";
import { notifyFailure } from "../../shell/notices.tsx";
import { count, fill, form, jobOfForm, rememberPrompt, schema } from "../../state/form.ts";
import { learnJobs } from "../../state/jobs.ts";
import { modelChoice } from "../../state/loras.ts";
import { isPhone } from "../../state/settings.ts";

/** The job whose picture is shown large; undefined: the one that is drawn, or was drawn last. */
export const selected = signal<string | undefined>(undefined);

export async function draw(): Promise<void> {
  if (!schema.peek()) return;
  const job = jobOfForm();
  rememberPrompt(String(job.prompt ?? ""));
  await submit(job, count.peek());
}

async function submit(job: JobFields, pictures: number, model = modelChoice.peek()): Promise<void> {
  try {
    learnJobs(await api.submit(job, pictures, 0, model));
    selected.value = undefined;
    // Below the form, on a phone.
    if (isPhone.peek()) document.querySelector(".stage")?.scrollIntoView({ behavior: "smooth" });
  } catch (error) {
    notifyFailure(error);
  }
}

/** The form gets all of a picture's settings, and a way back. */
export function useAll(job: JobFields): void {
  fill({ ...job });
}

export function useFields(job: JobFields, names: readonly string[]): void {
  const { ...fields } = form.peek() as Record<string, JobValue>;
  for (const name of names) {
    delete fields[name];
    if (job[name] !== undefined) fields[name] = job[name];
  }
  fill(fields);
}

const VARIATION_STRENGTH = 0.2;
const VARIATIONS = 4;

/** A few pictures whose noise is near this one's. `model`: default: that of the form. */
export async function drawVariations({ subseed: _, ...job }: JobFields, model?: string): Promise<void> {
  await submit({ ...job, subseedStrength: VARIATION_STRENGTH }, VARIATIONS, model);
}

const LARGER_TIMES = 2;

/** The same picture drawn a second time at a larger size. */
export async function drawLarger(job: JobFields): Promise<void> {
  await submit({ ...job, hiresScale: LARGER_TIMES }, 1);
}
