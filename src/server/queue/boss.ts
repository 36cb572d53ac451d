/** @file pg-boss, set up: it claims jobs, sees who shows signs of life, and gives the jobs of others back. It never gives one up. */
import type { PgBoss } from "pg-boss";
import type { Database } from "./database.ts";

export const QUEUE = "pictures";
/** A claim that shows no sign of life for so long is given to another; that is looked after every MONITOR_S. */
const HEARTBEAT_S = 20;
const MONITOR_S = 10;
/** Claims end them (claims.ts), and that only we know. */
const RETRIES = 1_000_000;
/** As long as pg-boss allows: signs of life count, not how long a picture takes. */
const LONGEST_S = 23 * 3600;

export async function openBoss(database: Database, onError: (error: Error) => void): Promise<PgBoss> {
  const { PgBoss } = await import("pg-boss");
  const boss = new PgBoss({
    ...{ db: database.boss, backend: "pglite", schedule: false, monitorIntervalSeconds: MONITOR_S },
    // A few thousand rows: nothing to mend.
    ...{ monitorVacuum: false, reindex: false },
  });
  boss.on("error", onError);
  await boss.start();
  if (!(await boss.getQueue(QUEUE))) {
    const lasting = { heartbeatSeconds: HEARTBEAT_S, expireInSeconds: LONGEST_S, retryLimit: RETRIES, retryDelay: 0 };
    await boss.createQueue(QUEUE, lasting);
  }
  return boss;
}
