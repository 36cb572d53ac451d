/**
 * @file Which job a worker gets next: of the models that it can open and not of those that it refused, the highest priority first; then what
 * is of the model that it holds; then keys take turns; then the order of asking.
 */
import type { PgBoss } from "pg-boss";
import { QUEUE } from "./boss.ts";
import type { Sql } from "./database.ts";
import type { JobRow } from "./job-record.ts";

/** What a worker can draw. */
export interface Wanted {
  /** Names of models; "" stands for jobs of a time when they had none. */
  readonly models: readonly string[];
  /** What their files hold, where that is known: a job that means another model of the same name is for others. */
  readonly contents: Readonly<Record<string, string>>;
  /** The model that is open: its jobs come first. */
  readonly held?: string | undefined;
  /** Its number in the table of workers. */
  readonly worker: string;
}

/** The job that comes next; `lock`: no other transaction gets it as long as this one lasts. */
export async function nextJob(
  sql: Sql,
  { models, contents, held = "", worker }: Wanted,
  { lock }: { readonly lock: boolean },
): Promise<JobRow | undefined> {
  const [row] = await sql.query<JobRow>(
    `select j.* from solvay.jobs j left join solvay.turns t on t.owner = j.owner
     where (j.state = 'queued' or (j.state = 'running' and not exists (
         -- Its worker has shown no sign of life: pg-boss took the claim back.
         select from pgboss.job b where b.name = '${QUEUE}' and b.id = j.id and b.state = 'active')))
       and j.model = any ($1::text[])
       and (j.content = '' or coalesce($4::jsonb->>j.model, j.content) = j.content)
       and not exists (select from solvay.refusals r where r.job = j.id and r.worker = $3::uuid)
     order by j.priority desc, (j.model = $2 or j.upscale is not null) desc, t.at nulls first, j.number limit 1
     ${lock ? "for update of j skip locked" : ""}`,
    [models, held, worker, JSON.stringify(contents)],
  );
  return row;
}

/** Lets pg-boss have it, whose priority of a job is its number: by that a worker fetches this very one. */
export async function offerJob(boss: PgBoss, sql: Sql, { id, number }: Pick<JobRow, "id" | "number">): Promise<void> {
  await boss.send(QUEUE, null, { id, priority: Number(number), db: sql.boss });
}

/** Offers a job again that pg-boss doesn't have any more, or has ended: its row is what counts. */
export async function offerLost(boss: PgBoss, sql: Sql, job: Pick<JobRow, "id" | "number">): Promise<void> {
  const kept = `select from pgboss.job where name = '${QUEUE}' and id = $1 and state <= 'active'`;
  if ((await sql.query(kept, [job.id])).length > 0) return;
  await boss.deleteJob(QUEUE, job.id, { db: sql.boss });
  await offerJob(boss, sql, job);
}

/** Claims it from pg-boss. Undefined: it is somebody's already, or pg-boss has lost it. */
export async function fetchJob(boss: PgBoss, sql: Sql, number: number): Promise<number | undefined> {
  const just = { minPriority: number, maxPriority: number };
  const [taken] = await boss.fetch(QUEUE, { includeMetadata: true, db: sql.boss, ...just });
  return taken?.retryCount;
}
