/** @file The database that a server keeps its jobs in, as little of it as we use: statements, transactions, notices, and the queue's own way in. */
import { setImmediate } from "node:timers/promises";
import type { PGlite } from "@electric-sql/pglite";
import type { Db as BossDatabase } from "pg-boss";
import { TurnQueue } from "../../engine/turn-queue.ts";
import { makeDatabaseFolder } from "./database-folder.ts";
import { openPglite } from "./pglite.ts";

/** Something that runs one statement: the database, or a transaction. Values stand for $1, $2 ... */
export interface Sql {
  query<Row>(text: string, values?: readonly unknown[]): Promise<readonly Row[]>;
  /** The same for pg-boss. */
  readonly boss: BossDatabase;
}

export interface Database extends Sql, AsyncDisposable {
  /** All of `work`'s statements, or none. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /** Statements without values, one after another. */
  run(text: string): Promise<void>;
  /** Calls `onNotice` for what any process sends by pg_notify; also now and then, where a notice may have been lost. */
  listen(channel: string, onNotice: () => void): Promise<void>;
  /** Other processes may have it open too. */
  readonly shared: boolean;
  /** Bytes of memory that it takes inside this process. */
  readonly ownBytes: number;
}

/** What PGlite takes with the settings of pglite.ts, its WebAssembly's code included: measured 100 MiB above a bare process. */
const EMBEDDED_BYTES = 192 * 1024 ** 2;

/** PostgreSQL inside this process, in `folder`, which no other process may have open. Rejects with DeviceError `E_DATABASE`, or the system's errors. */
export async function openEmbedded(folder: string): Promise<Database> {
  await makeDatabaseFolder(folder);
  const { fromPglite } = await import("pg-boss");
  const pglite = await openPglite(folder);
  const turns = new TurnQueue();
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    using _ = await turns.take();
    return await work();
  };
  const query = statements(pglite);
  return {
    query: (text, values) => inTurn(() => query(text, values)),
    boss: fromPglite(pglite),
    ownBytes: EMBEDDED_BYTES,
    shared: false,
    transaction: (work) =>
      inTurn(() => pglite.transaction((open) => work({ query: statements(open), boss: bossOf(open) }))),
    async run(text) {
      await pglite.exec(text);
    },
    async listen(channel, onNotice) {
      await pglite.listen(channel, () => onNotice());
    },
    [Symbol.asyncDispose]: () => pglite.close(),
  };
}

type Statements = Pick<PGlite, "query" | "exec">;

/**
 * The WebAssembly runs in this thread, and its promises hand one statement on to the next: a pause before each lets the socket be looked at, which
 * would wait for a whole transaction (20 ms) without it.
 */
function statements(open: Statements): Sql["query"] {
  return async <Row>(text: string, values: readonly unknown[] = []) => {
    await setImmediate();
    return (await open.query<Row>(text, [...values])).rows;
  };
}

/** pg-boss sends several statements at once where they have no values. */
function bossOf(open: Statements): BossDatabase {
  return {
    async executeSql(text, values) {
      await setImmediate();
      if (values && values.length > 0) return await open.query(text, values);
      const results = await open.exec(text);
      return { rows: results.flatMap(({ rows }) => rows) };
    },
  };
}
