/**
 * @file What suits a model of a kind that its name tells, where that differs from the defaults: checkpoints say it nowhere else. From model cards:
 * stabilityai/sdxl-turbo, ByteDance/SDXL-Lightning and checkpoints made with them, Laxhar/noobai-XL-Vpred-1.0.
 */
import { samplingAdvice } from "../../../adapters/few-steps.ts";
import type { JsonObject } from "../../../source/json-fields.ts";

export interface ModelAdvice {
  /** "Lightning"; absent: nothing is known of it. */
  readonly kind?: string;
  /** Fields of a job. */
  readonly advice: JsonObject;
}

/** Of several that fit the first counts. */
const ROWS: readonly { readonly pattern: RegExp; readonly kind: string; readonly advice: JsonObject }[] = [
  // Guidance of 1 asks the model once a step.
  {
    pattern: /sd-?xl-?turbo/,
    kind: "Turbo",
    advice: { sampler: "euler-ancestral", schedule: "trailing", steps: 4, guidance: 1 },
  },
  { pattern: /turbo/, kind: "Turbo", advice: { sampler: "dpmpp-sde", schedule: "karras", steps: 6, guidance: 2 } },
  {
    pattern: /lightning/,
    kind: "Lightning",
    advice: { sampler: "euler", schedule: "trailing", steps: 6, guidance: 1.5 },
  },
  { pattern: /v-?pred/, kind: "v-prediction", advice: { sampler: "euler", guidance: 5, guidanceRescale: 0.7 } },
];

/** `model`: a path, or a name. */
export function modelAdvice(model: string): ModelAdvice {
  const name = (model.split(/[\\/]/).at(-1) ?? model).toLowerCase().replaceAll(/[\s_.]+/g, "-");
  const few = samplingAdvice(name, new Map());
  if (few) {
    const { title: kind, sampler, schedule, steps, guidanceScale: guidance } = few;
    return { kind, advice: { sampler, ...(schedule && { schedule }), steps, guidance } };
  }
  const row = ROWS.find(({ pattern }) => pattern.test(name));
  return row ? { kind: row.kind, advice: row.advice } : { advice: {} };
}
