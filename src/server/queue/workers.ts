/** @file The workers of a database: which models each can open, and when it was seen last. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Database } from "./database.ts";

/** A worker `w` that was seen of late. */
export const LIVING = "w.seen_at > now() - interval '30 seconds'";
/** One that was not seen for so long is forgotten. */
const FORGOTTEN = "interval '1 day'";

export interface WorkerEntry {
  readonly id: string;
  /** Machine and process. */
  readonly name: string;
  readonly models: readonly string[];
  readonly startedAt: string;
  readonly seenAt: string;
}

interface WorkerRow extends Omit<WorkerEntry, "startedAt" | "seenAt"> {
  readonly started_at: Date;
  readonly seen_at: Date;
}

/** A worker's own entry, from its start to its end. */
export class WorkerEntries {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Resolves to its number. */
  async enter(models: readonly string[]): Promise<string> {
    const id = randomUUID();
    await this.#database.query(`delete from solvay.workers where seen_at < now() - ${FORGOTTEN}`);
    await this.#write(id, models);
    return id;
  }

  /** It lives, and can open these. */
  async seen(id: string, models: readonly string[]): Promise<void> {
    await this.#write(id, models);
  }

  async leave(id: string): Promise<void> {
    await this.#database.query("delete from solvay.workers where id = $1", [id]);
  }

  /** Those that were seen of late. */
  async living(): Promise<readonly WorkerEntry[]> {
    const text = `select id, name, models, started_at, seen_at from solvay.workers w where ${LIVING} order by started_at, id`;
    const rows = await this.#database.query<WorkerRow>(text);
    return rows.map(({ started_at, seen_at, ...row }) => ({
      ...row,
      startedAt: started_at.toISOString(),
      seenAt: seen_at.toISOString(),
    }));
  }

  async #write(id: string, models: readonly string[]): Promise<void> {
    await this.#database.query(
      `insert into solvay.workers (id, name, models) values ($1, $2, $3::jsonb)
       on conflict (id) do update set models = excluded.models, seen_at = now()`,
      [id, `${hostname()}/${process.pid}`, JSON.stringify(models)],
    );
  }
}
