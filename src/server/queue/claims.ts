/**
 * @file The queue as workers have it: a job is claimed, shows signs of life, and ends. Each claim gets the next fence, and only the
 * latest fence may say anything of its job, so that a worker that was thought dead can't undo what another did.
 */
import type { PgBoss } from "pg-boss";
import { SolvayError } from "../../errors.ts";
import type { GenerateJob } from "../../job/types.ts";
import { QUEUE } from "./boss.ts";
import type { Database, Sql } from "./database.ts";
import { addEvent, type EventType, type JobEvent } from "./event-log.ts";
import { type JobError, type JobRecord, type JobRow, type JobState, jobRows, recordOf } from "./job-record.ts";

/** How often a claim should show a sign of life. */
export const TOUCH_MS = 5_000;
/** Claims of one job in a row that end without a step drawn further than ever: it may be the job that ends them. */
const MAX_CLAIMS = 3;

/** A job that a worker has. */
export interface Claim {
  readonly record: JobRecord;
  readonly fence: number;
  /** pg-boss's number of it. */
  readonly retryCount: number;
  /** A claim before this one ended, and no step was drawn since: it may be the job that ends them, and is drawn by itself. */
  readonly suspect: boolean;
}

export interface DonePicture {
  readonly sha256: string;
  readonly name: string;
  readonly mediaType: string;
  readonly bytes: number;
  readonly width: number;
  readonly height: number;
  readonly infotext: string;
}

/** Takes a claim back: the job stays where it stands in the queue. */
class LeftWaiting extends Error {}

export class Claims {
  readonly #database: Database;
  readonly #boss: PgBoss;

  constructor(database: Database, boss: PgBoss) {
    this.#database = database;
    this.#boss = boss;
  }

  /** The next job for a worker; undefined where none waits. */
  async claim(): Promise<Claim | undefined> {
    for (;;) {
      const claimed = await this.#database.transaction((sql) => this.#claimOne(sql));
      if (claimed !== "passed over") return claimed;
    }
  }

  /** The job that comes next, as far as one can see without claiming it. */
  async next(): Promise<GenerateJob | undefined> {
    const [row] = await jobRows(this.#database, "state = 'queued' order by priority desc, number limit 1", []);
    return row?.job;
  }

  /** The next job where it `fits` and is no suspect; undefined: it stays the next. No job behind it is looked at. */
  async claimNeighbour(fits: (job: GenerateJob) => boolean): Promise<Claim | undefined> {
    for (;;) {
      try {
        const claimed = await this.#database.transaction(async (sql) => {
          const one = await this.#claimOne(sql);
          if (one && one !== "passed over" && (one.suspect || !fits(one.record.job))) throw new LeftWaiting();
          return one;
        });
        if (claimed !== "passed over") return claimed;
      } catch (error) {
        if (error instanceof LeftWaiting) return undefined;
        throw error;
      }
    }
  }

  async #claimOne(sql: Sql): Promise<Claim | "passed over" | undefined> {
    const [taken] = await this.#boss.fetch(QUEUE, { includeMetadata: true, db: sql.boss });
    if (!taken) return undefined;
    const { id, retryCount } = taken;
    const [row] = await sql.query<JobRow>(
      `update solvay.jobs set state = 'running', fence = coalesce(fence, 0) + 1, claims = claims + 1, step = 0,
       started_at = coalesce(started_at, now()) where id = $1 and state in ('queued', 'running') returning *`,
      [id],
    );
    const attempt = { id, retryCount };
    if (!row) {
      await this.#boss.complete(QUEUE, attempt, null, { db: sql.boss });
      return "passed over";
    }
    const claim = { record: recordOf(row), fence: row.fence!, retryCount, suspect: row.claims > 1 };
    if (row.claims > MAX_CLAIMS) {
      await this.#end(sql, claim, "failed", poison(id));
      return "passed over";
    }
    await addEvent(sql, id, "started", { claim: row.fence });
    return claim;
  }

  /** A sign of life. False: the job is somebody else's by now, or cancelled. */
  async touch({ record: { id }, fence, retryCount }: Claim): Promise<boolean> {
    const [row] = await jobRows(this.#database, "id = $1 and fence = $2 and state = 'running'", [id, fence]);
    if (!row) return false;
    await this.#boss.touch(QUEUE, { id, retryCount });
    return true;
  }

  /** How far it is. */
  async progress({ record: { id }, fence }: Claim, step: number, steps: number, data: JobEvent["data"]): Promise<void> {
    await this.#database.transaction(async (sql) => {
      const [row] = await sql.query(
        `update solvay.jobs set step = $3, steps = $4, claims = case when $3 > best_step then 1 else claims end,
         best_step = greatest(best_step, $3) where id = $1 and fence = $2 and state = 'running' returning id`,
        [id, fence, step, steps],
      );
      if (row) await addEvent(sql, id, "step", { ...data, step, steps });
    });
  }

  async note({ record: { id } }: Claim, text: string): Promise<void> {
    await this.#database.transaction((sql) => addEvent(sql, id, "note", { text }));
  }

  /** The picture is there. False: the job is somebody else's by now, or cancelled. */
  async finish(claim: Claim, picture: DonePicture): Promise<boolean> {
    return await this.#database.transaction(async (sql) => {
      const { sha256, name, mediaType, bytes, width, height, infotext } = picture;
      await sql.query(
        `insert into solvay.assets (sha256, name, media_type, bytes, width, height) values ($1, $2, $3, $4, $5, $6)
         on conflict (sha256) do update set name = excluded.name`,
        [sha256, name, mediaType, bytes, width, height],
      );
      if (!(await this.#end(sql, claim, "done", undefined, sha256))) return false;
      await sql.query("insert into solvay.gallery (job, asset, infotext) values ($1, $2, $3) on conflict do nothing", [
        claim.record.id,
        sha256,
        infotext,
      ]);
      return true;
    });
  }

  /** It can't be done, and trying again won't help. */
  async fail(claim: Claim, error: JobError): Promise<void> {
    await this.#database.transaction((sql) => this.#end(sql, claim, "failed", error));
  }

  /** Gives a job back, to be claimed again; `blameless` where it was not the job that ended the claim. */
  async giveBack({ record: { id }, fence, retryCount }: Claim, why: string, blameless: boolean): Promise<void> {
    await this.#database.transaction(async (sql) => {
      const [row] = await sql.query(
        `update solvay.jobs set state = 'queued', claims = claims - $3 where id = $1 and fence = $2 and state = 'running'
         returning id`,
        [id, fence, blameless ? 1 : 0],
      );
      if (!row) return;
      await this.#boss.fail(QUEUE, { id, retryCount }, { why }, { db: sql.boss });
      await addEvent(sql, id, "returned", { why });
    });
  }

  /** Gives all claims back: nobody else can have one where the database is this process's own. Resolves to how many there were. */
  async recover(): Promise<number> {
    const rows = await jobRows(this.#database, "state = 'running'", []);
    for (const { id } of rows) {
      await this.#database.transaction(async (sql) => {
        await sql.query("update solvay.jobs set state = 'queued', fence = coalesce(fence, 0) + 1 where id = $1", [id]);
        await this.#boss.fail(QUEUE, id, { why: "the process ended" }, { db: sql.boss });
        await addEvent(sql, id, "returned", { why: "the process ended" });
      });
    }
    return rows.length;
  }

  async #end(
    sql: Sql,
    { record: { id }, fence, retryCount }: Claim,
    state: EventType & JobState,
    error?: JobError,
    asset?: string,
  ): Promise<boolean> {
    const [row] = await sql.query(
      `update solvay.jobs set state = $3, error = $4, asset = $5, finished_at = now()
       where id = $1 and fence = $2 and state = 'running' returning id`,
      [id, fence, state, error ? JSON.stringify(error) : null, asset ?? null],
    );
    if (!row) return false;
    await this.#boss.complete(QUEUE, { id, retryCount }, null, { db: sql.boss });
    await addEvent(sql, id, state, { ...(error && { error }), ...(asset !== undefined && { asset }) });
    return true;
  }
}

function poison(id: string): JobError {
  const problem = `${MAX_CLAIMS} claims ended without one step drawn further`;
  const next = "look at the server's log, then retry the job";
  const { code, message } = new SolvayError({ code: "E_POISON_JOB", subject: id, problem, next });
  return { code, message };
}
