/** @file A job of the queue as the database has it, and as clients see it. */
import type { GenerateJob, UpscaleJob } from "../../job/types.ts";
import type { Sql } from "./database.ts";

export const JOB_STATES = ["queued", "running", "done", "failed", "cancelled"] as const;
export type JobState = (typeof JOB_STATES)[number];

/** Why a job failed, in the words of errors.ts. */
export interface JobError {
  readonly code: string;
  readonly message: string;
}

export interface JobRecord {
  readonly id: string;
  /** In the order of asking. */
  readonly number: number;
  /** What draws the same picture has the same one. */
  readonly hash: string;
  /** Of an upscale: the prompt of the picture that is enlarged, as far as that tells it, and the picture. */
  readonly job: GenerateJob;
  /** Undefined: the job is drawn. */
  readonly upscale: UpscaleJob | undefined;
  /** The name of the model that draws it; "" for an upscale. */
  readonly model: string;
  readonly owner: string;
  /** Shared by the jobs that were asked for at once. */
  readonly request: string;
  readonly state: JobState;
  readonly priority: number;
  readonly step: number;
  readonly steps: number | undefined;
  readonly error: JobError | undefined;
  /** sha256 of its picture. */
  readonly asset: string | undefined;
  readonly createdAt: string;
  readonly startedAt: string | undefined;
  readonly finishedAt: string | undefined;
}

export interface JobRow {
  readonly id: string;
  /** In the order of asking; drivers give it as either. */
  readonly number: number | string;
  readonly hash: string;
  readonly asked_hash: string;
  readonly job: GenerateJob;
  readonly upscale: UpscaleJob | null;
  readonly model: string;
  readonly owner: string;
  readonly request: string;
  readonly state: JobState;
  readonly priority: number;
  readonly fence: number | null;
  readonly step: number;
  readonly steps: number | null;
  readonly claims: number;
  readonly error: JobError | null;
  readonly asset: string | null;
  readonly created_at: Date;
  readonly started_at: Date | null;
  readonly finished_at: Date | null;
}

export function recordOf(row: JobRow): JobRecord {
  const { id, hash, job, model, owner, request, state, priority, step, steps, error, asset } = row;
  return {
    ...{ id, number: Number(row.number), hash, job, model, owner, request, state, priority, step },
    upscale: row.upscale ?? undefined,
    steps: steps ?? undefined,
    error: error ?? undefined,
    asset: asset ?? undefined,
    createdAt: row.created_at.toISOString(),
    startedAt: row.started_at?.toISOString(),
    finishedAt: row.finished_at?.toISOString(),
  };
}

export function isOver({ state }: Pick<JobRecord, "state">): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}

/** Anything else is no job's, and no statement of the database's. */
export function isJobId(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);
}

export async function jobRows(sql: Sql, where: string, values: readonly unknown[]): Promise<readonly JobRow[]> {
  return await sql.query<JobRow>(`select * from solvay.jobs where ${where}`, values);
}
