/** @file When what waits will be ready: what the plan says of jobs of its shape, asked for once each, after what is left of those that are drawn. */
import { computed, effect, signal } from "@preact/signals";
import { api } from "../api/client.ts";
import type { Job, JobFields } from "../api/types.ts";
import { schema } from "./form.ts";
import { running, waiting } from "./jobs.ts";

/** Jobs of more shapes than that are taken for the last one's. */
const MAX_SHAPES = 24;

/** Milliseconds of one picture, by shape; undefined: asked for, or not to be had. */
const predicted = signal<ReadonlyMap<string, number | undefined>>(new Map());

/** Equal for jobs whose plans are. A prompt counts by its length in chunks of about 75 words' worth of characters. */
function shapeOf({ job, upscale }: Pick<Job, "job" | "upscale">): string {
  // Of one picture.
  if (upscale) return JSON.stringify(upscale);
  const fields = (schema.value?.fields ?? []).filter(({ shapesPlan }) => shapesPlan);
  return JSON.stringify(
    fields.map(({ name, kind }) => {
      const value = job[name];
      return kind.type === "text" && typeof value === "string"
        ? Math.ceil(value.length / 300)
        : kind.type === "picture"
          ? value !== undefined
          : value;
    }),
  );
}

let asking = false;

effect(() => {
  // Read at once: what isn't read while a plan is on its way doesn't call this again.
  const open = [...running.value, ...waiting.value];
  const known = predicted.value;
  if (!schema.value || asking) return;
  const unknown = open.find((job) => !known.has(shapeOf(job)));
  if (!unknown || known.size >= MAX_SHAPES) return;
  asking = true;
  const shape = shapeOf(unknown);
  const { seed: _, ...job } = unknown.job as JobFields & { readonly seed?: unknown };
  const set = (ms: number | undefined) => {
    asking = false;
    predicted.value = new Map(predicted.peek()).set(shape, ms);
  };
  (unknown.upscale ? api.planUpscale(unknown.upscale) : api.plan(job as JobFields)).then(
    ({ predictedMs }) => set(predictedMs),
    () => set(undefined),
  );
});

/** Milliseconds of one such job; undefined: not known. */
function predictedMs(job: Job): number | undefined {
  return predicted.value.get(shapeOf(job));
}

/** Milliseconds until each job that waits is ready, by id, as far as they are known. */
export const readyMs = computed<ReadonlyMap<string, number>>(() => {
  const left = running.value.map((job) => job.etaMs ?? predictedMs(job) ?? 0);
  let sum = Math.max(0, ...left);
  const ready = new Map<string, number>();
  for (const job of waiting.value) {
    const ms = predictedMs(job);
    if (ms === undefined) break;
    sum += ms;
    ready.set(job.id, sum);
  }
  return ready;
});
