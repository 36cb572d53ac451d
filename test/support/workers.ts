/** @file Many machines on one: a PostgreSQL, servers that only take jobs, workers in this process and as processes of their own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Engine, GenerateJob } from "../../src/job/types.ts";
import { runWorker } from "../../src/server/worker-process.ts";
import { TestPostgres } from "./postgres.ts";
import { pretendingEngine, SAME_CONTENT } from "./pretending-engine.ts";
import { pretendingServer, type RunningServer } from "./server.ts";

const WORKER = fileURLToPath(new URL("./worker-process.ts", import.meta.url));
/** Workers that die are missed soon. */
export const QUICK = { touchMs: 400, lostAfterS: 10, monitorS: 1 };
export const LOST_AFTER_S = 2;

export interface JobJson {
  readonly id: string;
  readonly state: string;
  readonly step: number;
  readonly model: string;
  readonly startedAt?: string;
  readonly job: { readonly seed: number; readonly prompt: string };
  readonly error?: { readonly code: string };
  readonly asset?: string;
}

/** What a server and its workers share. */
export interface Place {
  readonly database: string;
  readonly images: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface RunningWorker extends AsyncDisposable {
  /** The name of the model that it opened first. */
  readonly ready: Promise<string>;
  readonly stop: () => Promise<void>;
}

export class Machines implements AsyncDisposable {
  readonly postgres: TestPostgres;
  readonly folder: string;
  readonly #processes: WorkerProcess[] = [];

  private constructor(postgres: TestPostgres, folder: string) {
    this.postgres = postgres;
    this.folder = folder;
  }

  static async start(): Promise<Machines> {
    const folder = mkdtempSync(path.join(tmpdir(), "solvay-workers-"));
    chmodSync(folder, 0o755);
    return new Machines(await TestPostgres.start(), folder);
  }

  /** A server that only takes jobs, over a new database. */
  async taking(
    name: string,
    over: Partial<Place> = {},
  ): Promise<{ readonly server: RunningServer; readonly place: Place }> {
    const place = { database: await this.postgres.database(name), images: path.join(this.folder, name), ...over };
    const stateFolder = path.join(this.folder, "state");
    const server = await pretendingServer({
      ...{ folder: stateFolder, worker: false, queueLimit: 2000, heartbeat: QUICK, ...place },
    });
    // pg-boss takes no less than 10 s.
    await this.postgres.query("update pgboss.queue set heartbeat_seconds = $1", [LOST_AFTER_S], place.database);
    return { server, place };
  }

  /** A worker in this process, with what is done by each of its models' engines that pretend, or with other engines. */
  worker(
    place: Place,
    models: Record<string, (asked: GenerateJob) => void>,
    engine: (model: string) => Promise<Engine> = async (model) => pretendingEngine({ asked: models[model] }),
    content = SAME_CONTENT,
  ): RunningWorker {
    const stop = new AbortController();
    const ready = Promise.withResolvers<string>();
    const running = runWorker(
      {
        ...{ env: {}, ...place, heartbeat: QUICK, stateFolder: path.join(this.folder, "state") },
        models: new Map(Object.keys(models).map((model) => [model, { model }])),
        openEngine: ({ model }) => engine(String(model)),
        modelContent: async () => content,
        logs: { write() {} },
        onReady: (_, model) => ready.resolve(model),
        onDrawn() {},
      },
      stop.signal,
    );
    running.catch(ready.reject);
    const end = async () => {
      stop.abort();
      await running;
    };
    return { ready: ready.promise, stop: end, [Symbol.asyncDispose]: end };
  }

  process(place: Place): WorkerProcess {
    const worker = new WorkerProcess({ ...place, heartbeat: QUICK, stateFolder: this.folder });
    this.#processes.push(worker);
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.#processes) await worker.end("SIGKILL");
    await this.postgres[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** worker-process.ts, whose engine pretends. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  logs = "";

  constructor(told: object) {
    this.#child = spawn(process.execPath, [WORKER], { env: { ...process.env, WORKER: JSON.stringify(told) } });
    this.#child.stderr!.on("data", (text: Buffer) => {
      this.logs += String(text);
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.kill(signal);
    await exit;
  }
}

export async function call<T>(url: string, body?: object): Promise<T> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(url, body && { method: "POST", headers, body: JSON.stringify(body) });
  return (await answer.json()) as T;
}

export async function ask(base: string, job: object, beside: object = {}): Promise<readonly JobJson[]> {
  return (await call<{ jobs: readonly JobJson[] }>(`${base}/api/jobs`, { job, ...beside })).jobs;
}

/** The job once it is over. */
export async function over(base: string, id: string): Promise<JobJson> {
  for (;;) {
    const job = await call<JobJson>(`${base}/api/jobs/${id}`);
    if (["done", "failed", "cancelled"].includes(job.state)) return job;
    await delay(20);
  }
}
