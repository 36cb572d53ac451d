/** @file What happened to jobs, numbered and kept: whoever listens says which number it had last, and misses nothing. */
import { setTimeout as delay } from "node:timers/promises";
import { patiently } from "../away.ts";
import type { Database, Sql } from "./database.ts";

export type EventType = "queued" | "started" | "step" | "note" | "done" | "failed" | "cancelled" | "returned";

export interface JobEvent {
  /** Counts up; numbers may be left out. */
  readonly seq: number;
  readonly job: string;
  readonly type: EventType;
  readonly data: Readonly<Record<string, unknown>>;
  /** ISO 8601. */
  readonly at: string;
}

interface EventRow extends Omit<JobEvent, "at" | "seq"> {
  readonly seq: number | string;
  readonly at: Date;
}

const CHANNEL = "solvay_events";
/** Events that are kept in memory, so that many listeners read the database once. */
const RECENT = 1000;
const PAGE = 500;
/** Between two readings. */
const GATHER_MS = 25;

/** Held from an event to the end of its transaction: numbers become seen in their order, and no reader passes over one. */
const ORDER_LOCK = 0x50_1a_11;

/** Adds an event in the statement's own transaction, of which it is the last; listeners hear of it when that is done. */
export async function addEvent(sql: Sql, job: string, type: EventType, data: JobEvent["data"] = {}): Promise<void> {
  await sql.query(
    `with held as materialized (select pg_advisory_xact_lock(${ORDER_LOCK}))
     insert into solvay.events (job, type, data) select $1::uuid, $2, $3::jsonb from held returning pg_notify('${CHANNEL}', '')`,
    [job, type, JSON.stringify(data)],
  );
}

export class EventLog {
  readonly #database: Database;
  /** In order, without gaps between the first and the last. */
  #recent: JobEvent[] = [];
  #last = 0;
  #news = Promise.withResolvers<void>();
  #waiting = Promise.withResolvers<void>();
  #reading: Promise<void> | undefined;
  #again = false;

  private constructor(database: Database) {
    this.#database = database;
  }

  static async open(database: Database): Promise<EventLog> {
    const log = new EventLog(database);
    const [row] = await database.query<{ last: number | string }>(
      "select coalesce(max(seq), 0) as last from solvay.events",
    );
    log.#last = Number(row?.last ?? 0);
    await database.listen(CHANNEL, () => log.#read());
    return log;
  }

  /** Number of the latest event. */
  get last(): number {
    return this.#last;
  }

  /** Resolves when a job has come to wait. */
  get waiting(): Promise<void> {
    return this.#waiting.promise;
  }

  /** Events after number `after`, those to come as well, until the signal. Holds nothing for a listener that is slow. */
  async *since(after: number, signal: AbortSignal): AsyncGenerator<JobEvent, void, undefined> {
    let cursor = after;
    const stopped = Promise.withResolvers<void>();
    const stop = () => stopped.resolve();
    signal.addEventListener("abort", stop, { once: true });
    try {
      while (!signal.aborted) {
        const news = this.#news.promise;
        // A database that is away costs listeners nothing but time.
        const patience = { patienceMs: Number.POSITIVE_INFINITY, signal };
        const events = await patiently(() => this.#after(cursor), patience).catch((error: unknown) => {
          if (signal.aborted) return [];
          throw error;
        });
        for (const event of events) {
          cursor = event.seq;
          yield event;
          if (signal.aborted) return;
        }
        if (cursor < this.#last) continue;
        await Promise.race([news, stopped.promise]);
      }
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  async #after(cursor: number): Promise<readonly JobEvent[]> {
    const [first] = this.#recent;
    if (cursor >= this.#last) return [];
    if (first && cursor >= first.seq - 1) return this.#recent.filter(({ seq }) => seq > cursor);
    return await this.#page(cursor);
  }

  async #page(after: number): Promise<readonly JobEvent[]> {
    const text = "select seq, job, type, data, at from solvay.events where seq > $1 order by seq limit $2";
    const rows = await this.#database.query<EventRow>(text, [after, PAGE]);
    return rows.map((row) => ({ ...row, seq: Number(row.seq), at: row.at.toISOString() }));
  }

  /** One reading at a time; what is told meanwhile is read after it. */
  #read(): void {
    this.#again = true;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
  }

  async #readAll(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      const events = await this.#page(this.#last).catch(() => []);
      if (events.length === 0) continue;
      this.#last = events.at(-1)!.seq;
      this.#recent = [...this.#recent, ...events].slice(-RECENT);
      const news = this.#news;
      this.#news = Promise.withResolvers();
      news.resolve();
      if (events.some(({ type }) => type === "queued" || type === "returned")) {
        const waiting = this.#waiting;
        this.#waiting = Promise.withResolvers();
        waiting.resolve();
      }
      if (events.length === PAGE) this.#again = true;
      // Many processes write: they are not read one by one.
      else await delay(GATHER_MS, undefined, { ref: false });
    }
  }
}
