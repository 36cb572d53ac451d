/**
 * @file A PostgreSQL server that several processes share. Connections that it ends are opened again: a restarted database costs whoever asks
 * meanwhile some seconds, or the error Away. Its URL holds a password, so that only its place is ever told.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Client, Notification, PoolClient } from "pg";
import type { Db as BossDatabase } from "pg-boss";
import { UsageError } from "../../errors.ts";
import { Away, patiently } from "../away.ts";
import type { Database, Sql } from "./database.ts";

export interface PostgresOptions {
  /** Of connections that were lost; they are opened again. */
  readonly onTrouble: (what: string, error: unknown) => void;
  /** How long a statement waits for a server that is away, before it says so. Default 10 s. */
  readonly patienceMs?: number;
}

const CONNECTIONS = 6;
const CONNECT_MS = 10_000;
/** A server that does not answer for so long is away. */
const ANSWER_MS = 60_000;
const PATIENCE_MS = 10_000;
/** Between tries to listen again, and between looks at what a lost notice may have told. */
const LISTEN_AGAIN_MS = 500;
const LOOK_MS = 2_000;
const TRANSACTION_TRIES = 4;

/** `url`: postgres://USER:PASSWORD@HOST:PORT/DATABASE. Rejects with UsageError `E_USAGE`, or with Away `E_DATABASE`. */
export async function openPostgres(
  url: string,
  { onTrouble, patienceMs = PATIENCE_MS }: PostgresOptions,
): Promise<Database> {
  const place = placeOf(url);
  const { default: pg } = await import("pg");
  const pool = new pg.Pool({
    ...{ connectionString: url, max: CONNECTIONS, application_name: "solvay", keepAlive: true },
    ...{ connectionTimeoutMillis: CONNECT_MS, query_timeout: ANSWER_MS },
  });
  // One that was at rest: the next statement gets another.
  pool.on("error", (error) => onTrouble("a connection to the database is lost", told(error, place)));
  const closing = new AbortController();

  const connect = () =>
    patiently(() => pool.connect().catch((error: unknown) => Promise.reject(told(error, place))), {
      patienceMs,
      signal: closing.signal,
    });

  /** Whatever of it fails, the connection is given back, or given up. */
  async function connected<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await connect();
    let lost: Error | undefined;
    // Lost between two statements: the next one fails by it.
    const onError = (error: Error) => {
      lost = error;
    };
    client.on("error", onError);
    try {
      return await work(client);
    } catch (error) {
      const shown = told(error, place);
      if (shown instanceof Away) lost = shown;
      throw shown;
    } finally {
      client.off("error", onError);
      client.release(lost);
    }
  }

  async function transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await connected(async (client) => {
          await client.query("begin");
          try {
            const result = await work(sqlOf(client));
            await client.query("commit");
            return result;
          } catch (error) {
            await client.query("rollback").catch(() => {});
            throw error;
          }
        });
      } catch (error) {
        if (!isConflict(error) || tries >= TRANSACTION_TRIES) throw error;
      }
    }
  }

  const one = async (text: string, values: readonly unknown[] = []) => {
    const ask = () => connected((client) => client.query(text, [...values]));
    // What only reads may be asked again where its connection was lost in the middle.
    return /^\s*select\b/i.test(text) ? await patiently(ask, { patienceMs }) : await ask();
  };

  // The first connection tells what is wrong with the URL.
  await one("select 1");
  const listeners: Promise<void>[] = [];
  return {
    query: async <Row>(text: string, values: readonly unknown[] = []) => (await one(text, values)).rows as Row[],
    boss: bossOf(one),
    transaction,
    async run(text) {
      await one(text);
    },
    async listen(channel, onNotice) {
      const open = () => new pg.Client({ connectionString: url, application_name: "solvay listens", keepAlive: true });
      const looking = setInterval(onNotice, LOOK_MS);
      closing.signal.addEventListener("abort", () => clearInterval(looking), { once: true });
      listeners.push(keepListening(open, channel, onNotice, closing.signal));
    },
    shared: true,
    ownBytes: 0,
    async [Symbol.asyncDispose]() {
      closing.abort();
      await Promise.all(listeners);
      await pool.end();
    },
  };
}

/** Listens until the signal, on a connection of its own that is opened again whenever it ends. */
async function keepListening(
  open: () => Client,
  channel: string,
  onNotice: () => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const client = open();
    const ended = Promise.withResolvers<void>();
    client.on("error", () => ended.resolve());
    client.on("end", () => ended.resolve());
    client.on("notification", (notice: Notification) => notice.channel === channel && onNotice());
    const stop = () => ended.resolve();
    signal.addEventListener("abort", stop, { once: true });
    try {
      await client.connect();
      await client.query(`listen ${channel}`);
      // What came while nobody listened.
      onNotice();
      await ended.promise;
    } catch {
      // It is tried again below; whoever asks the database is told that it is away.
    }
    signal.removeEventListener("abort", stop);
    await client.end().catch(() => {});
    if (!signal.aborted) await delay(LISTEN_AGAIN_MS, undefined, { signal }).catch(() => {});
  }
}

type Ask = (text: string, values?: readonly unknown[]) => Promise<{ rows: unknown[] }>;

function sqlOf(client: PoolClient): Sql {
  const ask: Ask = (text, values = []) => client.query(text, [...values]);
  return {
    query: async <Row>(text: string, values?: readonly unknown[]) => (await ask(text, values)).rows as Row[],
    boss: bossOf(ask),
  };
}

function bossOf(ask: Ask): BossDatabase {
  return { executeSql: async (text, values) => await ask(text, values) };
}

/** Host, port and database. Throws UsageError for what is no URL of PostgreSQL's. */
function placeOf(url: string): string {
  const parsed = URL.parse(url);
  if (parsed && /^postgres(ql)?:$/.test(parsed.protocol)) return `${parsed.host || "localhost"}${parsed.pathname}`;
  const problem = "no URL of a PostgreSQL server";
  const next = "write postgres://USER@HOST:5432/DATABASE (the password may be in PGPASSWORD), or embedded";
  throw new UsageError({ code: "E_USAGE", subject: "--database", problem, next });
}

/** By the classes of SQLSTATE: 08 connections, 57P the server stops or starts, 53300 too many connections. */
const AWAY_STATES = /^(08...|57P0[123]|53300)$/;
const AWAY_CODES = [
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ENOENT",
];
/** Of errors without a code. */
const AWAY_WORDS =
  /^(Connection terminated|Query read timeout|timeout exceeded|Client has encountered a connection error|Client was closed)/i;

/** The error as it is told: away, where it is. */
function told(error: unknown, place: string): unknown {
  const { code = "", message = "" } = error as { readonly code?: string; readonly message?: string };
  const causes = error instanceof AggregateError ? (error.errors as NodeJS.ErrnoException[]) : [];
  const away = AWAY_STATES.test(code) || AWAY_CODES.includes(code) || (code === "" && AWAY_WORDS.test(message));
  if (!away && !causes.some((cause) => AWAY_CODES.includes(cause.code ?? ""))) return error;
  const problem = `the database can't be reached (${message || code || causes[0]?.message})`;
  return new Away({
    code: "E_DATABASE",
    subject: place,
    problem,
    next: "see that it runs, and that this address is its own",
    cause: error,
  });
}

/** Two transactions stood in each other's way: the same again goes well. */
function isConflict(error: unknown): boolean {
  return ["40001", "40P01"].includes((error as { readonly code?: string }).code ?? "");
}
