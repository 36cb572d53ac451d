/** @file The jobs of a queue for who looks after it from outside: by a server's own API, or straight in the database that servers share. */
import { DeviceError, type SolvayError, UsageError } from "../errors.ts";
import { HEARTBEAT, openBoss } from "./queue/boss.ts";
import { JobQueue } from "./queue/job-queue.ts";
import type { JobRecord, JobState } from "./queue/job-record.ts";
import { openPostgres } from "./queue/postgres.ts";
import { prepareTables } from "./queue/tables.ts";

/** Methods reject with UsageError `E_NOT_FOUND` for a job that there is none of. */
export interface JobDesk extends AsyncDisposable {
  /** The newest first. */
  list(limit: number, state: JobState | undefined): Promise<readonly JobRecord[]>;
  get(id: string): Promise<JobRecord>;
  /** One that is over stays as it is. */
  cancel(id: string): Promise<JobRecord>;
  /** Puts a failed or cancelled one into the queue again. */
  retry(id: string): Promise<JobRecord>;
  /** Of one that waits: higher numbers come first. */
  prioritise(id: string, priority: number): Promise<JobRecord>;
}

const ANSWER_MS = 30_000;

/** `url`: http://HOST:PORT of a server; `key`: one of its API keys. Rejects with the server's own errors, or DeviceError `E_SERVER`. */
export function serverDesk(url: string, key: string | undefined, signal: AbortSignal): JobDesk {
  const base = URL.parse(url);
  if (!base || !/^https?:$/.test(base.protocol)) {
    const next = "write http://HOST:PORT";
    throw new UsageError({ code: "E_USAGE", subject: "--server", problem: "no address of a server", next });
  }
  const ask = async <T>(path: string, body?: object): Promise<T> => {
    const headers = {
      "content-type": "application/json",
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
    };
    const init = body && { method: "POST", body: JSON.stringify(body) };
    const within = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    const answer = await fetch(new URL(path, base), { ...init, headers, signal: within, redirect: "error" }).catch(
      (cause: Error) => {
        signal.throwIfAborted();
        throw unanswered(base.host, (cause.cause as Error | undefined)?.message || cause.message, cause);
      },
    );
    const json = (await answer.json().catch(() => undefined)) as { readonly error?: { readonly message?: string } };
    if (!answer.ok || json === undefined) throw answeredError(base.host, answer.status, json?.error?.message);
    return json as T;
  };
  const job = (id: string) => `/api/jobs/${encodeURIComponent(id)}`;
  return {
    async list(limit, state) {
      const query = new URLSearchParams({ limit: String(limit), ...(state && { state }) });
      return (await ask<{ readonly jobs: readonly JobRecord[] }>(`/api/jobs?${query}`)).jobs;
    },
    get: (id) => ask(job(id)),
    cancel: (id) => ask(`${job(id)}/cancel`, {}),
    retry: (id) => ask(`${job(id)}/retry`, {}),
    prioritise: (id, priority) => ask(`${job(id)}/priority`, { priority }),
    async [Symbol.asyncDispose]() {},
  };
}

/** `url`: as openPostgres takes it. */
export async function databaseDesk(url: string): Promise<JobDesk> {
  await using owned = new AsyncDisposableStack();
  const database = owned.use(await openPostgres(url, { onTrouble: () => {} }));
  await prepareTables(database);
  const boss = await openBoss(database, HEARTBEAT, () => {});
  owned.defer(() => boss.stop({ graceful: false }));
  const queue = new JobQueue(database, boss, { open: Number.MAX_SAFE_INTEGER, openOfOne: Number.MAX_SAFE_INTEGER });
  const found = (id: string, record: JobRecord | undefined) => {
    if (record) return record;
    throw new UsageError({ code: "E_NOT_FOUND", subject: id, problem: "there is no such job", next: "list the jobs" });
  };
  const stack = owned.move();
  return {
    list: (limit, state) => queue.list(limit, state),
    get: async (id) => found(id, await queue.get(id)),
    cancel: async (id) => found(id, await queue.cancel(id)),
    retry: async (id) => found(id, await queue.retry(id)),
    prioritise: async (id, priority) => found(id, await queue.prioritise(id, priority)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function unanswered(host: string, problem: string, cause?: unknown): DeviceError {
  const next = "see that solvay serve runs there, or give --server or --database";
  return new DeviceError({ code: "E_SERVER", subject: host, problem: `no answer (${problem})`, next, cause });
}

/** What the server said, as if it had been said here. */
function answeredError(host: string, status: number, message: string | undefined): SolvayError {
  const [, code, subject, problem, next] = /^(E_\w+)(?: (.*?))?: (.*)\. Next: (.*)\.$/.exec(message ?? "") ?? [];
  if (code === undefined) return unanswered(host, `it answered ${status}`);
  const Kind = status < 500 ? UsageError : DeviceError;
  return new Kind({ code, subject: subject ?? "", problem: problem!, next: next! });
}
