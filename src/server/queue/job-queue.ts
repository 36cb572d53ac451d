/**
 * @file The queue as clients have it: jobs are asked for, looked at, cancelled. A job's row is the truth; pg-boss's row of the same
 * number is its claim (claims.ts), and both change in one transaction.
 */
import { randomUUID } from "node:crypto";
import type { PgBoss } from "pg-boss";
import { UsageError } from "../../errors.ts";
import type { GenerateJob, UpscaleJob } from "../../job/types.ts";
import { QUEUE } from "./boss.ts";
import type { Database, Sql } from "./database.ts";
import { addEvent } from "./event-log.ts";
import { isJobId, type JobRecord, type JobRow, type JobState, jobRows, recordOf } from "./job-record.ts";
import { offerJob } from "./next-job.ts";
import { movedBefore, newPriorities } from "./queue-order.ts";

export interface NewJob {
  /** Nothing is left to chance in it. */
  readonly job: GenerateJob;
  /** Where that is what is asked for: `job` says only of what. */
  readonly upscale?: UpscaleJob | undefined;
  /** The name of the model that draws it. */
  readonly model: string;
  /** What the model's files hold; undefined: whichever has the name. */
  readonly content?: string | undefined;
  /** What draws the same picture has the same one. */
  readonly hash: string;
  /** The same of what was asked for, before seeds were drawn. */
  readonly askedHash: string;
}

export interface Asking {
  /** The name of the key that asks. */
  readonly owner: string;
  readonly priority?: number | undefined;
  readonly idempotencyKey?: string | undefined;
}

export interface QueueLimits {
  /** Jobs that wait or run. */
  readonly open: number;
  /** Of them, one key's. */
  readonly openOfOne: number;
}

/** Held while jobs are added: so many that ask at once don't pass the limits together. */
const ADDING_LOCK = 0x50_1a_12;

export class JobQueue {
  readonly #database: Database;
  readonly #boss: PgBoss;
  readonly #limits: QueueLimits;

  constructor(database: Database, boss: PgBoss, limits: QueueLimits) {
    this.#database = database;
    this.#boss = boss;
    this.#limits = limits;
  }

  /**
   * Adds jobs, or gives back those that the same idempotency key added before. Throws UsageError `E_QUEUE_FULL`, `E_QUEUE_SHARE`, or
   * `E_IDEMPOTENCY` where that key meant other jobs.
   */
  async submit(
    jobs: readonly NewJob[],
    { owner, priority = 0, idempotencyKey }: Asking,
  ): Promise<readonly JobRecord[]> {
    return await this.#database.transaction(async (sql) => {
      await sql.query(`select pg_advisory_xact_lock(${ADDING_LOCK})`);
      const keys = jobs.map((_, at) => (idempotencyKey === undefined ? undefined : `${idempotencyKey}/${at}`));
      if (idempotencyKey !== undefined) {
        const before = await jobRows(sql, "owner = $1 and idempotency_key like $2 order by number", [
          owner,
          `${likeText(idempotencyKey)}/%`,
        ]);
        if (before.length > 0) return sameJobs(before, jobs, idempotencyKey);
      }
      await this.#requireRoom(sql, owner, jobs.length);
      const request = randomUUID();
      const rows: JobRow[] = [];
      for (const [at, { job, upscale, model, content = "", hash, askedHash }] of jobs.entries()) {
        const [row] = await sql.query<JobRow>(
          `insert into solvay.jobs (id, hash, asked_hash, job, owner, idempotency_key, request, state, priority, model, upscale, content)
           values ($1, $2, $8, $3, $4, $5, $6, 'queued', $7, $9, $10, $11) returning *`,
          [
            ...[randomUUID(), hash, JSON.stringify(job), owner, keys[at] ?? null, request, priority, askedHash, model],
            ...[upscale ? JSON.stringify(upscale) : null, content],
          ],
        );
        rows.push(row!);
      }
      for (const row of rows) await this.#send(sql, row);
      return rows.map(recordOf);
    });
  }

  /** Undefined: there is no such job, or not any more. */
  async get(id: string): Promise<JobRecord | undefined> {
    if (!isJobId(id)) return undefined;
    const [row] = await jobRows(this.#database, "id = $1", [id]);
    return row && recordOf(row);
  }

  /** The newest first. */
  async list(limit: number, state?: JobState): Promise<readonly JobRecord[]> {
    const where = "($1::text is null or state = $1) order by number desc limit $2";
    return (await jobRows(this.#database, where, [state ?? null, limit])).map(recordOf);
  }

  /** Those that were asked for at once, in that order. */
  async ofRequest(request: string): Promise<readonly JobRecord[]> {
    return (await jobRows(this.#database, "request = $1 order by number", [request])).map(recordOf);
  }

  /** How many jobs are in each state. */
  async counts(): Promise<Readonly<Partial<Record<JobState, number>>>> {
    const text = "select state, count(*)::int as count from solvay.jobs group by state";
    const rows = await this.#database.query<{ state: JobState; count: number }>(text);
    return Object.fromEntries(rows.map(({ state, count }) => [state, count]));
  }

  /** Undefined: there is no such job. A job that is over stays as it is. */
  async cancel(id: string): Promise<JobRecord | undefined> {
    if (!isJobId(id)) return undefined;
    await this.#database.transaction(async (sql) => {
      const [row] = await sql.query(
        `update solvay.jobs set state = 'cancelled', finished_at = now() where id = $1 and state in ('queued', 'running')
         returning id`,
        [id],
      );
      if (!row) return;
      await this.#boss.deleteJob(QUEUE, id, { db: sql.boss });
      await addEvent(sql, id, "cancelled");
    });
    return await this.get(id);
  }

  /** Puts a failed or cancelled job into the queue again. Undefined: there is no such job. */
  async retry(id: string): Promise<JobRecord | undefined> {
    if (!isJobId(id)) return undefined;
    await this.#database.transaction(async (sql) => {
      const [row] = await sql.query<JobRow>(
        `update solvay.jobs set state = 'queued', error = null, claims = 0, best_step = 0, step = 0, started_at = null,
         finished_at = null where id = $1 and state in ('failed', 'cancelled') returning *`,
        [id],
      );
      if (!row) return;
      await this.#requireRoom(sql, row.owner, 0);
      await sql.query("delete from solvay.refusals where job = $1", [id]);
      await this.#boss.deleteJob(QUEUE, id, { db: sql.boss });
      await this.#send(sql, row);
    });
    return await this.get(id);
  }

  /** Jobs of a higher number come first. Undefined: there is no such job. */
  async prioritise(id: string, priority: number): Promise<JobRecord | undefined> {
    if (!isJobId(id)) return undefined;
    await this.#database.transaction((sql) => setPriority(sql, id, priority));
    return await this.get(id);
  }

  /** The job comes right before that one, at the end where that is undefined. Others keep their order. Undefined: there is no such job. */
  async move(id: string, before: string | undefined): Promise<JobRecord | undefined> {
    if (!isJobId(id)) return undefined;
    await this.#database.transaction(async (sql) => {
      const rows = await jobRows(sql, "state = 'queued' for update", []);
      const waiting = rows.map((row) => ({ id: row.id, number: Number(row.number), priority: row.priority }));
      // From the last one on, so that nobody overtakes meanwhile.
      for (const [each, priority] of newPriorities(movedBefore(waiting, id, before)))
        await setPriority(sql, each, priority);
    });
    return await this.get(id);
  }

  async #send(sql: Sql, row: JobRow): Promise<void> {
    await offerJob(this.#boss, sql, row);
    await addEvent(sql, row.id, "queued", { priority: row.priority });
  }

  /** How many jobs it would take now of this owner. */
  async room(owner: string): Promise<number> {
    const { open, openOfOne } = this.#limits;
    const { all, own } = await openJobs(this.#database, owner);
    return Math.max(0, Math.min(open - all, owner === "" ? open : openOfOne - own));
  }

  async #requireRoom(sql: Sql, owner: string, more: number): Promise<void> {
    const { open, openOfOne } = this.#limits;
    const { all, own } = await openJobs(sql, owner);
    if (all + more > open) {
      const problem = `the queue is full (found ${all} jobs and ${more} more, allowed ${open})`;
      throw new UsageError({ code: "E_QUEUE_FULL", problem, next: "try again later" });
    }
    if (owner !== "" && own + more > openOfOne) {
      const problem = `this key has too many jobs (found ${own} and ${more} more, allowed ${openOfOne})`;
      throw new UsageError({ code: "E_QUEUE_SHARE", problem, next: "wait for some of them" });
    }
  }
}

function likeText(text: string): string {
  return text.replaceAll(/[\\%_]/g, (char) => `\\${char}`);
}

function sameJobs(before: readonly JobRow[], jobs: readonly NewJob[], key: string): readonly JobRecord[] {
  const same = before.length === jobs.length && before.every((row, at) => row.asked_hash === jobs[at]!.askedHash);
  if (same) return before.map(recordOf);
  const problem = `this idempotency key stands for other jobs (found ${JSON.stringify(key.slice(0, 60))})`;
  throw new UsageError({ code: "E_IDEMPOTENCY", problem, next: "ask with a new key" });
}

/** Of a job that waits; whoever looks at the queue is told. */
async function setPriority(sql: Sql, id: string, priority: number): Promise<void> {
  const text = "update solvay.jobs set priority = $2 where id = $1 and state = 'queued' returning id";
  const [row] = await sql.query(text, [id, priority]);
  if (row) await addEvent(sql, id, "queued", { priority });
}

/** That wait or run: everybody's, and the owner's. */
async function openJobs(sql: Sql | Database, owner: string): Promise<{ readonly all: number; readonly own: number }> {
  const [row] = await sql.query<{ all: number; own: number }>(
    `select count(*)::int as all, (count(*) filter (where owner = $1))::int as own from solvay.jobs
     where state in ('queued', 'running')`,
    [owner],
  );
  return { all: row?.all ?? 0, own: row?.own ?? 0 };
}
