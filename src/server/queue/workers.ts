/** @file The workers of a database: which models each can open, and when it was seen last. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { EngineInfo } from "../../job/types.ts";
import type { Database } from "./database.ts";

/** What a worker can open, and has open. */
export interface WorkerOffer {
  /** Names of the models that it can open. */
  readonly models: readonly string[];
  /** What their files hold, by their names, where that is known. */
  readonly contents: Readonly<Record<string, string>>;
  /** Of the one that is open. */
  readonly info?: EngineInfo | undefined;
}

/** A worker `w` may draw a job `j`, as far as its model goes. */
export const FITS_MODEL = `(j.model = '' or (w.models ? j.model
  and (j.content = '' or coalesce(w.contents->>j.model, j.content) = j.content)))`;
/** A worker `w` that was seen of late. */
export const LIVING = "w.seen_at > now() - interval '30 seconds'";
/** One that was not seen for so long is forgotten. */
const FORGOTTEN = "interval '1 day'";

export interface WorkerEntry {
  readonly id: string;
  /** Machine and process. */
  readonly name: string;
  readonly models: readonly string[];
  readonly contents: WorkerOffer["contents"];
  readonly info?: EngineInfo | undefined;
  readonly startedAt: string;
  readonly seenAt: string;
}

interface WorkerRow extends Omit<WorkerEntry, "startedAt" | "seenAt" | "info"> {
  readonly info: EngineInfo | null;
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
  async enter(offer: WorkerOffer): Promise<string> {
    const id = randomUUID();
    await this.#database.query(`delete from solvay.workers where seen_at < now() - ${FORGOTTEN}`);
    await this.#write(id, offer);
    return id;
  }

  /** It lives, and can open these. */
  async seen(id: string, offer: WorkerOffer): Promise<void> {
    await this.#write(id, offer);
  }

  async leave(id: string): Promise<void> {
    await this.#database.query("delete from solvay.workers where id = $1", [id]);
  }

  /** Those that were seen of late. */
  async living(): Promise<readonly WorkerEntry[]> {
    const text = `select id, name, models, contents, info, started_at, seen_at from solvay.workers w where ${LIVING} order by started_at, id`;
    const rows = await this.#database.query<WorkerRow>(text);
    return rows.map(({ started_at, seen_at, info, ...row }) => ({
      ...row,
      ...(info && { info }),
      startedAt: started_at.toISOString(),
      seenAt: seen_at.toISOString(),
    }));
  }

  async #write(id: string, { models, contents, info }: WorkerOffer): Promise<void> {
    await this.#database.query(
      `insert into solvay.workers (id, name, models, contents, info) values ($1, $2, $3::jsonb, $4::jsonb, $5::jsonb)
       on conflict (id) do update set models = excluded.models, contents = excluded.contents, info = excluded.info,
         seen_at = now()`,
      [
        ...[id, `${hostname()}/${process.pid}`, JSON.stringify(models), JSON.stringify(contents)],
        info ? JSON.stringify(info) : null,
      ],
    );
  }
}
