/** @file What servers and workers stand on: the database with its queue, and the store of the pictures, wherever they were said to be. */
import path from "node:path";
import type { PgBoss } from "pg-boss";
import type { Logger } from "pino";
import { UsageError } from "../errors.ts";
import { SYSTEM_CLOCK } from "../node/clock.ts";
import { acquireLock } from "../node/disk/lock.ts";
import { patiently } from "./away.ts";
import { Assets } from "./pictures/assets.ts";
import { folderStore, type PictureStore } from "./pictures/picture-store.ts";
import { type Environment, s3Store } from "./pictures/s3-store.ts";
import { type Heartbeat, openBoss } from "./queue/boss.ts";
import { Claims } from "./queue/claims.ts";
import { type Database, openEmbedded } from "./queue/database.ts";
import { EventLog } from "./queue/event-log.ts";
import { openPostgres } from "./queue/postgres.ts";
import { prepareTables } from "./queue/tables.ts";
import { WorkerEntries } from "./queue/workers.ts";

/** The database inside the process. */
export const EMBEDDED = "embedded";

export interface BackingOptions {
  /** EMBEDDED, or the URL of a PostgreSQL server. */
  readonly database: string;
  /** Folder of the embedded database, and of what is unfinished there. */
  readonly stateFolder: string;
  /** A folder, or s3://BUCKET/PREFIX. */
  readonly images: string;
  /** For the keys of a bucket. */
  readonly env: Environment;
  readonly heartbeat: Heartbeat;
}

export interface Backing extends AsyncDisposable {
  readonly database: Database;
  readonly boss: PgBoss;
  readonly claims: Claims;
  readonly log: EventLog;
  readonly store: PictureStore;
  /** Of the states of unfinished pictures: whoever may go on with a job can read them. */
  readonly stateStore: PictureStore;
  readonly assets: Assets;
  readonly entries: WorkerEntries;
}

/** A database and a bucket that start together with this process are waited for. */
const PATIENCE_MS = 60_000;

/** Rejects with UsageError `E_SERVE_RUNS`, with Away where database or bucket can't be reached, and as openPostgres and s3Store do. */
export async function openBacking(options: BackingOptions, logger: Logger, signal: AbortSignal): Promise<Backing> {
  const { stateFolder, images, env, heartbeat } = options;
  await using owned = new AsyncDisposableStack();
  const patience = { patienceMs: PATIENCE_MS, signal };
  const shared = options.database !== EMBEDDED;
  if (!shared) owned.use(await lockOf(path.join(stateFolder, "serve.lock"), signal));
  const onTrouble = (what: string, error: unknown) => logger.warn({ err: error }, what);
  const database = owned.use(
    shared
      ? await patiently(() => openPostgres(options.database, { onTrouble }), patience)
      : await openEmbedded(path.join(stateFolder, "database")),
  );
  await patiently(() => prepareTables(database), patience);
  const boss = await openBoss(database, heartbeat, (error) => onTrouble("queue", error));
  owned.defer(() => boss.stop({ graceful: false }));
  const claims = new Claims(database, boss);
  const log = await EventLog.open(database);
  const recovered = shared ? 0 : await claims.recover();
  if (recovered > 0) logger.info({ jobs: recovered }, "jobs of a process that ended are back in the queue");
  const store = images.startsWith("s3:") ? await s3Store(images, env) : folderStore(images);
  // A bucket that refuses is told now, not after the first picture.
  await patiently(() => store.get("solvay"), patience);
  const stateStore = shared ? store : folderStore(stateFolder);
  const stack = owned.move();
  return {
    ...{ database, boss, claims, log, store, stateStore },
    assets: new Assets(database, store),
    entries: new WorkerEntries(database),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** One process a folder. Rejects with UsageError `E_SERVE_RUNS`. */
async function lockOf(file: string, signal: AbortSignal): Promise<AsyncDisposable> {
  const refused = new AbortController();
  const onWait = (owner: string) => {
    const problem = `${owner} serves from this folder`;
    refused.abort(
      new UsageError({
        code: "E_SERVE_RUNS",
        subject: path.dirname(file),
        problem,
        next: "stop it, or set SOLVAY_STATE",
      }),
    );
  };
  return await acquireLock(file, { clock: SYSTEM_CLOCK, signal: AbortSignal.any([signal, refused.signal]), onWait });
}
