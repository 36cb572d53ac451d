/**
 * @file Adapters by which a model draws in few steps: how they want to be sampled. Their files don't say it; their authors' model cards do, and names tell them
 * apart. Sources: latent-consistency/lcm-lora-sdxl, ByteDance/SDXL-Lightning, ByteDance/Hyper-SD, tianweiy/DMD2, h1t/TCD-SDXL-LoRA.
 */
import type { SamplerName } from "../sampler/samplers.ts";
import type { ScheduleName } from "../sampler/schedules.ts";

/** How to sample. */
export interface SamplingAdvice {
  /** "Hyper-SD". */
  readonly title: string;
  readonly sampler: SamplerName;
  readonly schedule?: ScheduleName;
  readonly steps: number;
  readonly guidanceScale: number;
}

/** "Lightning: it draws in few steps, with --sampler euler --steps 4 ...". */
export function adviceText({ title, sampler, schedule, steps, guidanceScale }: SamplingAdvice): string {
  const course = schedule === undefined ? sampler : `${sampler} --schedule ${schedule}`;
  return `${title}: it draws in few steps, with --sampler ${course} --steps ${steps} --guidance ${guidanceScale}`;
}

/** Whether a job does about what is advised: fewer steps than that are too few, twice as many too many. */
export function followsAdvice(
  job: { readonly sampler: string; readonly schedule?: string; readonly steps: number; readonly guidance: number },
  { sampler, schedule, steps, guidanceScale }: SamplingAdvice,
): boolean {
  const isSampled = job.sampler === sampler && (schedule === undefined || job.schedule === schedule);
  return isSampled && job.steps >= steps && job.steps <= 2 * steps && Math.abs(job.guidance - guidanceScale) <= 1;
}

interface Row {
  readonly pattern: RegExp;
  readonly title: string;
  readonly sampler: SamplerName;
  readonly schedule?: ScheduleName;
  /** Where the name doesn't tell ("4step"). */
  readonly steps: number;
  readonly guidanceScale: number;
}

/** Of several that fit the first counts. A guidance of 1 asks the model once. */
const ROWS: readonly Row[] = [
  { pattern: /dmd2/, title: "DMD2", sampler: "lcm", schedule: "trailing", steps: 4, guidanceScale: 1 },
  {
    pattern: /xl-?lightning|lightning-?(\d{1,2}-?steps?|lora)/,
    title: "Lightning",
    sampler: "euler",
    schedule: "trailing",
    steps: 4,
    guidanceScale: 1,
  },
  { pattern: /hyper-?(sd|xl).*\b1-?step/, title: "Hyper-SD", sampler: "tcd", steps: 1, guidanceScale: 1 },
  {
    pattern: /hyper-?(sd|xl).*cfg/,
    title: "Hyper-SD",
    sampler: "ddim",
    schedule: "trailing",
    steps: 8,
    guidanceScale: 5,
  },
  { pattern: /hyper-?(sd|xl)/, title: "Hyper-SD", sampler: "ddim", schedule: "trailing", steps: 8, guidanceScale: 1 },
  { pattern: /\btcd\b/, title: "TCD", sampler: "tcd", steps: 4, guidanceScale: 1 },
  { pattern: /\blcm\b/, title: "LCM", sampler: "lcm", steps: 4, guidanceScale: 1 },
];

/** "4step", "8-steps", "1 step". */
const STEPS = /\b(\d{1,2})-?steps?\b/;
const MAX_STEPS = 50;

/** Metadata in which an adapter has its name. */
const NAMED_IN = ["ss_output_name", "modelspec.title"] as const;

/** `name`: the file's. Undefined for adapters that change what is drawn, not how. */
export function samplingAdvice(name: string, metadata: ReadonlyMap<string, string>): SamplingAdvice | undefined {
  const texts = [name, ...NAMED_IN.map((key) => metadata.get(key) ?? "")].map((text) =>
    text
      .slice(0, 300)
      .toLowerCase()
      .replace(/\.safetensors$/, "")
      .replaceAll(/[\s_.]+/g, "-"),
  );
  for (const text of texts) {
    const row = ROWS.find(({ pattern }) => pattern.test(text));
    if (!row) continue;
    const { pattern: _, ...advice } = row;
    const told = Number(STEPS.exec(text)?.[1] ?? 0);
    return told >= 1 && told <= MAX_STEPS ? { ...advice, steps: told } : advice;
  }
  return undefined;
}
