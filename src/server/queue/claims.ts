/**
 * @file The queue as workers have it: a job is claimed, shows signs of life, and ends. Each claim gets the next fence, and only the
 * latest fence may say anything of its job, so that a worker that was thought dead can't undo what another did.
 */
import type { PgBoss } from "pg-boss";
import { SolvayError } from "../../errors.ts";
import { QUEUE } from "./boss.ts";
import type { Database, Sql } from "./database.ts";
import { addEvent, type EventType, type JobEvent } from "./event-log.ts";
import { type JobError, type JobRecord, type JobRow, type JobState, jobRows, recordOf } from "./job-record.ts";
import { fetchJob, nextJob, offerLost, type Wanted } from "./next-job.ts";
import { FITS_MODEL, LIVING } from "./workers.ts";

/** Claims of one job in a row that end without a step drawn further than ever: it may be the job that ends them. */
const MAX_CLAIMS = 5;

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

/** A job that may be claimed. */
export type NextJob = Pick<Claim, "record" | "suspect">;

/** The job stays where it stands in the queue. */
class LeftWaiting extends Error {}

export class Claims {
  readonly #database: Database;
  readonly #boss: PgBoss;

  constructor(database: Database, boss: PgBoss) {
    this.#database = database;
    this.#boss = boss;
  }

  /**
   * The next job for a worker; undefined where none waits. `fits` may say of one that it is not to be claimed: then it stays where it is, and
   * no job behind it is looked at.
   */
  async claim(wanted: Wanted, fits: (next: NextJob) => boolean = () => true): Promise<Claim | undefined> {
    for (;;) {
      try {
        const claimed = await this.#database.transaction((sql) => this.#claimOne(sql, wanted, fits));
        if (claimed !== "passed over") return claimed;
      } catch (error) {
        if (error instanceof LeftWaiting) return undefined;
        throw error;
      }
    }
  }

  /** The job that comes next, as far as one can see without claiming it. */
  async next(wanted: Wanted): Promise<JobRecord | undefined> {
    const row = await nextJob(this.#database, wanted, { lock: false });
    return row && recordOf(row);
  }

  async #claimOne(
    sql: Sql,
    wanted: Wanted,
    fits: (next: NextJob) => boolean,
  ): Promise<Claim | "passed over" | undefined> {
    const next = await nextJob(sql, wanted, { lock: true });
    if (!next) return undefined;
    const { id } = next;
    const suspect = next.claims > 0;
    if (!fits({ record: recordOf(next), suspect })) throw new LeftWaiting();
    const retryCount = await fetchJob(this.#boss, sql, Number(next.number));
    if (retryCount === undefined) {
      // Unless another one claimed it between the two.
      await offerLost(this.#boss, sql, next);
      return "passed over";
    }
    const [row] = await sql.query<JobRow>(
      `update solvay.jobs set state = 'running', fence = coalesce(fence, 0) + 1, claims = claims + 1, step = 0,
       started_at = null where id = $1 returning *`,
      [id],
    );
    const claim = { record: recordOf(row!), fence: row!.fence!, retryCount, suspect };
    if (row!.claims > MAX_CLAIMS) {
      await this.#end(sql, claim, "failed", poison(id));
      return "passed over";
    }
    await sql.query(
      `insert into solvay.turns (owner, at) values ($1, clock_timestamp())
       on conflict (owner) do update set at = excluded.at`,
      [row!.owner],
    );
    return claim;
  }

  /** Its model is there, and it is being drawn: what was before is not the job's time. */
  async started({ record: { id }, fence }: Claim, worker: string): Promise<void> {
    await this.#database.transaction(async (sql) => {
      const [row] = await sql.query(
        `update solvay.jobs set started_at = now() where id = $1 and fence = $2 and state = 'running' returning id`,
        [id, fence],
      );
      if (row) await addEvent(sql, id, "started", { claim: fence, worker });
    });
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

  /** It can't be done with that worker's budgets or files: it waits for another one (endRefused). */
  async refuse(claim: Claim, worker: string, error: JobError): Promise<void> {
    await this.#database.transaction(async (sql) => {
      await sql.query(
        `insert into solvay.refusals (job, worker, error) select $1::uuid, id, $3::jsonb from solvay.workers
         where id = $2::uuid on conflict do nothing`,
        [claim.record.id, worker, JSON.stringify(error)],
      );
      await this.#giveBack(sql, claim, error.message, true);
    });
    await this.endRefused();
  }

  /** Jobs that every living worker of their model has refused end with the reason. */
  async endRefused(): Promise<void> {
    const rows = await this.#database.query<{ id: string; error: JobError }>(
      `select j.id, (select r.error from solvay.refusals r where r.job = j.id limit 1) as error from solvay.jobs j
       where j.state = 'queued' and exists (select from solvay.refusals r where r.job = j.id)
         and not exists (select from solvay.workers w where ${LIVING} and ${FITS_MODEL}
           and not exists (select from solvay.refusals r where r.job = j.id and r.worker = w.id))`,
    );
    for (const { id, error } of rows) {
      await this.#database.transaction(async (sql) => {
        const [row] = await sql.query(
          `update solvay.jobs set state = 'failed', error = $2::jsonb, finished_at = now() where id = $1 and state = 'queued'
           returning id`,
          [id, JSON.stringify(error)],
        );
        if (!row) return;
        await this.#boss.deleteJob(QUEUE, id, { db: sql.boss });
        await addEvent(sql, id, "failed", { error });
      });
    }
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
  async giveBack(claim: Claim, why: string, blameless: boolean): Promise<void> {
    await this.#database.transaction((sql) => this.#giveBack(sql, claim, why, blameless));
  }

  async #giveBack(
    sql: Sql,
    { record: { id }, fence, retryCount }: Claim,
    why: string,
    blameless: boolean,
  ): Promise<void> {
    const [row] = await sql.query(
      `update solvay.jobs set state = 'queued', started_at = null, claims = claims - $3
       where id = $1 and fence = $2 and state = 'running' returning id`,
      [id, fence, blameless ? 1 : 0],
    );
    if (!row) return;
    await this.#boss.fail(QUEUE, { id, retryCount }, { why }, { db: sql.boss });
    await addEvent(sql, id, "returned", { why });
  }

  /** Gives all claims back: nobody else can have one where the database is this process's own. Resolves to how many there were. */
  async recover(): Promise<number> {
    await this.#database.query("delete from solvay.workers");
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
    { record: { id }, fence }: Claim,
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
    // Its row of this table says what became of it.
    await this.#boss.deleteJob(QUEUE, id, { db: sql.boss });
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
