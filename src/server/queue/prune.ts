/**
 * @file What is forgotten, so that a server that runs for years stays bounded: old events, jobs that failed or were cancelled, uploads that no
 * job names any more, states of jobs that are over. Pictures that were drawn and their jobs are kept: they are the gallery.
 */
import type { PictureStore } from "../pictures/picture-store.ts";
import type { Database } from "./database.ts";

/** Listeners that were away for longer begin anew; and no more events than this, however new. */
const EVENT_DAYS = 7;
const MOST_EVENTS = 1_000_000;
/** Of failed and cancelled jobs, and of uploads. */
const KEPT_DAYS = 30;
const EVERY_MS = 3_600_000;
/** Pictures that are removed from the store at a time. */
const UPLOADS_AT_ONCE = 500;

export interface PruneParts {
  readonly database: Database;
  readonly store: PictureStore;
  readonly stateStore: PictureStore;
  /** Removes what people deleted, when that can't be undone any more. */
  readonly purge: () => Promise<void>;
  readonly onTrouble: (what: string, error: unknown) => void;
}

/** Now and every hour, until it is disposed. Several processes may do it at once. */
export function keepPruned(parts: PruneParts): Disposable {
  const again = () => void prune(parts).catch((error: unknown) => parts.onTrouble("nothing can be pruned", error));
  again();
  const timer = setInterval(again, EVERY_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

export async function prune({ database, store, stateStore, purge }: Omit<PruneParts, "onTrouble">): Promise<void> {
  await purge();
  await database.query("delete from solvay.events where at < now() - make_interval(days => $1)", [EVENT_DAYS]);
  await database.query("delete from solvay.events where seq <= (select max(seq) from solvay.events) - $1::bigint", [
    MOST_EVENTS,
  ]);
  await database.query(
    `delete from solvay.jobs where state in ('failed', 'cancelled') and finished_at < now() - make_interval(days => $1)`,
    [KEPT_DAYS],
  );
  // Of workers that died.
  await database.query(
    "delete from solvay.previews p where not exists (select from solvay.jobs j where j.id = p.job and j.state = 'running')",
  );
  await pruneUploads(database, store);
  for await (const name of stateStore.list("unfinished")) {
    const [, id] = /^unfinished\/([0-9a-f-]{36})\.solvay$/.exec(name) ?? [];
    if (id === undefined) continue;
    const open = "select 1 from solvay.jobs where id = $1::uuid and state in ('queued', 'running')";
    const [job] = await database.query(open, [id]);
    if (!job) await stateStore.remove(name);
  }
}

/** Uploads that neither a job nor the gallery has. */
async function pruneUploads(database: Database, store: PictureStore): Promise<void> {
  for (;;) {
    const rows = await database.query<{ name: string }>(
      `with old as materialized (
         select a.sha256 from solvay.assets a
         where a.name like 'uploads/%' and a.created_at < now() - make_interval(days => $1)
           and not exists (select from solvay.gallery g where g.asset = a.sha256)
       ), named as materialized (
         select distinct found[1] as sha256 from solvay.jobs, regexp_matches(concat(job, upscale), 'sha256:([0-9a-f]{64})', 'g') found
         where exists (select from old)
       )
       delete from solvay.assets where sha256 in (
         select sha256 from old where sha256 not in (select sha256 from named) limit $2) returning name`,
      [KEPT_DAYS, UPLOADS_AT_ONCE],
    );
    for (const { name } of rows) await store.remove(name);
    if (rows.length < UPLOADS_AT_ONCE) return;
  }
}
