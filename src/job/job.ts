/** @file A job: one picture, as plain JSON. What it may hold is in fields.ts, its check in schema.ts. */
import { UsageError } from "../errors.ts";
import { JOB_FIELDS } from "./fields.ts";
import { drawSeed, type Seed } from "./seed.ts";

export interface GenerateJob {
  readonly prompt: string;
  /** Left out and "" differ: only without one do models that ask for it get a zero embedding. */
  readonly negativePrompt?: string;
  /** 0 .. 2^64-1, above 2^53-1 as a string of digits. Default, and -1: drawn at random and reported in the events. */
  readonly seed?: Seed;
  /** 1..1000. Default 30. */
  readonly steps?: number;
  /** Guidance scale, 0..100; <= 1 turns classifier-free guidance off. Default 5. */
  readonly guidance?: number;
  /** Pixels, a multiple of 8 from 16 to 4096. Default: the model's own size. */
  readonly width?: number;
  /** As `width`. */
  readonly height?: number;
}

/** What a plan depends on. */
export type PlanJob = Pick<GenerateJob, "steps" | "guidance" | "width" | "height">;

/** A job with nothing left open. */
export type FullJob = Omit<Required<GenerateJob>, "negativePrompt"> & Pick<GenerateJob, "negativePrompt">;

/** What a job leaves to the model: its own picture size in pixels. */
export interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/** Fills in what a checked job leaves open: the table's defaults, the model's, and a seed. */
export function completeJob(job: GenerateJob, model: PictureSize): FullJob {
  const given: Readonly<Record<string, unknown>> = { ...job };
  const fallback: Readonly<Record<string, unknown>> = { ...model, seed: job.seed ?? drawSeed() };
  const values = Object.entries(JOB_FIELDS).map(([name, field]) => {
    const standing = "default" in field ? field.default : fallback[name];
    return [name, given[name] ?? standing] as const;
  });
  return Object.fromEntries(values.filter(([, value]) => value !== undefined)) as unknown as FullJob;
}

/** The VAE makes `scale` pixels of one latent cell, and one there must be. Throws UsageError. */
export function requireLatent({ width, height }: PictureSize, scale: number): void {
  for (const [field, pixels] of Object.entries({ width, height })) {
    if (pixels >= scale) continue;
    throw new UsageError({
      code: "E_JOB",
      subject: field,
      problem: `out of range (found ${pixels}, allowed at least ${scale} pixels with this model)`,
      next: `give ${field} a value in that range`,
    });
  }
}
