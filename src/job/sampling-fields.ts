/** @file The fields of a job that say how it is sampled: sampler, schedule, guidance, and where the noise comes from. Part of fields.ts. */
import { COURSE_TABLE, SAMPLER_TABLE, SCHEDULE_TABLE } from "../sampler/names.ts";
import { RNG_TABLE } from "../sampler/noise-source.ts";
import type { Fields } from "./field-type.ts";

/** An infotext's entry: the schedule is the model's own, and its title only the nearest to it. */
export const MODEL_SCHEDULE = "Model schedule";

export const SAMPLING_FIELDS = {
  sampler: {
    kind: { type: "named", table: SAMPLER_TABLE },
    description: "sampler",
    absent: "the model's own",
    flag: { usage: "--sampler <name>", group: "Picture" },
    loop: { word: "sampler", usage: "NAME|model", clear: "model", cleared: "the model's own" },
    infotext: { name: "Sampler", write: ({ samplerName }) => text(samplerName), read: (sampler) => ({ sampler }) },
    aliases: ["sampler_name", "sampler_index"],
    shapesPlan: true,
  },
  schedule: {
    kind: { type: "named", table: SCHEDULE_TABLE },
    description: "schedule of the noise levels",
    default: "default",
    flag: { usage: "--schedule <name>", group: "Picture" },
    loop: { word: "schedule", usage: "NAME|default", clear: "default", cleared: "the model's own" },
    infotext: {
      name: "Schedule type",
      write: ({ scheduleType }) => text(scheduleType),
      read: (schedule, entries) => (entries.has(MODEL_SCHEDULE) ? {} : { schedule }),
      beside: [MODEL_SCHEDULE],
    },
    omitsDefault: true,
    aliases: ["schedule_type"],
    shapesPlan: true,
  },
  scheduler: {
    kind: { type: "named", table: COURSE_TABLE },
    description: 'sampler and schedule by one name ("DPM++ 2M Karras")',
    absent: "none",
    flag: { usage: "--scheduler <name>", group: "Picture" },
    loop: { word: "scheduler", usage: "NAME|none", clear: "none", cleared: "none" },
    shapesPlan: true,
  },
  guidanceRescale: {
    kind: { type: "decimal", min: 0, max: 1 },
    description: "how far guidance is scaled back to the deviation of the prompt's own prediction",
    default: 0,
    flag: { usage: "--guidance-rescale <n>", group: "Picture" },
    loop: { word: "rescale", usage: "N" },
    infotext: { name: "Guidance rescale" },
    omitsDefault: true,
    aliases: ["guidance_rescale", "cfg_rescale"],
  },
  rng: {
    kind: { type: "named", table: RNG_TABLE },
    description: "noise as torch draws it on the CPU, or on a graphics card (philox: most A1111 pictures)",
    default: "cpu",
    flag: { usage: "--rng <name>", group: "Picture" },
    loop: { word: "rng", usage: "cpu|philox" },
    infotext: { name: "RNG", write: ({ rng }) => (rng === "torch-cuda" ? "NV" : "CPU"), read: (rng) => ({ rng }) },
    omitsDefault: true,
    aliases: ["randn_source"],
  },
  subseed: {
    kind: { type: "seed" },
    description: "seed of a variation",
    absent: "drawn at random",
    flag: { usage: "--subseed <n>", group: "Picture" },
    loop: { word: "subseed", usage: "N|random", clear: "random", cleared: "random" },
    infotext: { name: "Variation seed" },
    aliases: ["variation_seed"],
  },
  subseedStrength: {
    kind: { type: "decimal", min: 0, max: 1 },
    description: "how far the first noise goes over to the variation's",
    default: 0,
    flag: { usage: "--subseed-strength <n>", group: "Picture" },
    loop: { word: "variation", usage: "N" },
    infotext: { name: "Variation seed strength" },
    omitsDefault: true,
    aliases: ["subseed_strength", "variation_strength"],
  },
} as const satisfies Fields;

function text(value: unknown): string | undefined {
  return value === undefined ? undefined : String(value);
}
