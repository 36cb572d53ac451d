/** @file pg-boss, set up: it claims jobs, sees who shows signs of life, and gives the jobs of others back. It never gives one up. */
import type { PgBoss } from "pg-boss";
import type { Database } from "./database.ts";

export const QUEUE = "pictures";

/** When a worker counts as dead. */
export interface Heartbeat {
  /** How often a claim shows a sign of life. */
  readonly touchMs: number;
  /** A claim that shows none for so long is given to another; pg-boss takes 10 and more. */
  readonly lostAfterS: number;
  /** That is looked after so often, by one of all processes. */
  readonly monitorS: number;
}

export const HEARTBEAT: Heartbeat = { touchMs: 5_000, lostAfterS: 15, monitorS: 10 };
/** Claims end them (claims.ts), and that only we know. */
const RETRIES = 1_000_000;
/** As long as pg-boss allows: signs of life count, not how long a picture takes. */
const LONGEST_S = 23 * 3600;
/** pg-boss removes what waits for longer, after two weeks if it isn't told: a job may wait for its worker as long as it takes. */
const KEPT_S = 2 ** 31 - 1;

/** Held while pg-boss makes its tables: of several processes that start at once it lets only one live. */
const STARTING_LOCK = 0x50_1a_13;

export async function openBoss(
  database: Database,
  heartbeat: Heartbeat,
  onError: (error: Error) => void,
): Promise<PgBoss> {
  if (!database.shared) return await startedBoss(database, heartbeat, onError);
  return await database.transaction(async (sql) => {
    await sql.query(`select pg_advisory_xact_lock(${STARTING_LOCK})`);
    return await startedBoss(database, heartbeat, onError);
  });
}

async function startedBoss(
  database: Database,
  { lostAfterS, monitorS }: Heartbeat,
  onError: (error: Error) => void,
): Promise<PgBoss> {
  const { PgBoss } = await import("pg-boss");
  const boss = new PgBoss({
    ...{ db: database.boss, backend: database.shared ? "postgres" : "pglite", schedule: false },
    // It looks as often as the more seldom of these says.
    ...{ superviseIntervalSeconds: monitorS, monitorIntervalSeconds: monitorS },
    // A few thousand rows: nothing to mend.
    ...{ monitorVacuum: false, reindex: false },
  });
  boss.on("error", onError);
  await boss.start();
  const lasting = {
    ...{ heartbeatSeconds: lostAfterS, expireInSeconds: LONGEST_S, retentionSeconds: KEPT_S },
    ...{ retryLimit: RETRIES, retryDelay: 0 },
  };
  const queue = await boss.getQueue(QUEUE);
  if (!queue) await boss.createQueue(QUEUE, lasting);
  // Made by a program of the past.
  else if (queue.retentionSeconds !== KEPT_S) await boss.updateQueue(QUEUE, lasting);
  return boss;
}
