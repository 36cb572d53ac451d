/**
 * @file `solvay serve --no-worker` and workers over a real PostgreSQL: killed, drained, restarted, cancelled and too small, and every job is done
 * once in effect.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BudgetError } from "../../src/errors.ts";
import type { Engine, GenerateJob } from "../../src/job/types.ts";
import { openEngine } from "../../src/node.ts";
import { s3Store } from "../../src/server/pictures/s3-store.ts";
import { openPostgres } from "../../src/server/queue/postgres.ts";
import { runWorker } from "../../src/server/worker-process.ts";
import { testBucket } from "../support/bucket.ts";
import { NO_POSTGRES, PASSWORD, TestPostgres } from "../support/postgres.ts";
import { sameBytes } from "../support/same.ts";
import { seededRandom } from "../support/seed.ts";
import { pretendingEngine, pretendingServer, type RunningServer } from "../support/server.ts";
import { searched } from "../support/thorough.ts";

interface JobJson {
  readonly id: string;
  readonly state: string;
  readonly step: number;
  readonly model: string;
  readonly startedAt?: string;
  readonly job: { readonly seed: number; readonly prompt: string };
  readonly error?: { readonly code: string };
  readonly asset?: string;
}

const skip = NO_POSTGRES ?? false;
const WORKER = fileURLToPath(new URL("../support/worker-process.ts", import.meta.url));
const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
/** Workers that die are missed soon. */
const QUICK = { touchMs: 400, lostAfterS: 10, monitorS: 1 };
const LOST_AFTER_S = 2;
const random = seededRandom();
const processes = new Set<ChildProcess>();
let folder: string;
let postgres: TestPostgres;

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "solvay-workers-"));
  chmodSync(folder, 0o755);
  if (skip === false) postgres = await TestPostgres.start();
});
after(async () => {
  for (const child of processes) child.kill("SIGKILL");
  await postgres?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function call<T>(url: string, body?: object): Promise<T> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(url, body && { method: "POST", headers, body: JSON.stringify(body) });
  return (await answer.json()) as T;
}

async function ask(base: string, job: object, beside: object = {}): Promise<readonly JobJson[]> {
  return (await call<{ jobs: readonly JobJson[] }>(`${base}/api/jobs`, { job, ...beside })).jobs;
}

async function reaches(base: string, id: string, ...states: readonly string[]): Promise<JobJson> {
  for (;;) {
    const job = await call<JobJson>(`${base}/api/jobs/${id}`);
    if (states.includes(job.state)) return job;
    await delay(20);
  }
}

const over = (base: string, id: string) => reaches(base, id, "done", "failed", "cancelled");

interface Place {
  readonly database: string;
  readonly images: string;
}

/** A server that only takes jobs, over a new database. */
async function taking(name: string): Promise<{ readonly server: RunningServer; readonly place: Place }> {
  const place = { database: await postgres.database(name), images: path.join(folder, name) };
  const server = await pretendingServer({
    ...{ folder: path.join(folder, "state"), worker: false, queueLimit: 2000, heartbeat: QUICK, ...place },
  });
  // pg-boss takes no less than 10 s.
  await postgres.query("update pgboss.queue set heartbeat_seconds = $1", [LOST_AFTER_S], place.database);
  return { server, place };
}

/** A worker in this process. */
function worker(
  place: Place & { readonly env?: Readonly<Record<string, string>> },
  models: Record<string, (asked: GenerateJob) => void>,
  engine: (model: string) => Promise<Engine> = async (model) => pretendingEngine({ asked: models[model] }),
): AsyncDisposable & { readonly ready: Promise<string>; readonly stop: () => Promise<void> } {
  const stop = new AbortController();
  const ready = Promise.withResolvers<string>();
  const running = runWorker(
    {
      ...{ env: {}, ...place, heartbeat: QUICK, stateFolder: path.join(folder, "state") },
      models: new Map(Object.keys(models).map((model) => [model, { model }])),
      openEngine: ({ model }) => engine(String(model)),
      modelContent: async () => "the same",
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

class WorkerProcess {
  readonly #child: ChildProcess;
  logs = "";

  constructor(place: Place) {
    const told = JSON.stringify({ ...place, heartbeat: QUICK, stateFolder: folder });
    this.#child = spawn(process.execPath, [WORKER], { env: { ...process.env, WORKER: told } });
    this.#child.stderr!.on("data", (text: Buffer) => {
      this.logs += String(text);
    });
    processes.add(this.#child);
    this.#child.once("exit", () => processes.delete(this.#child));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const exit = once(this.#child, "exit");
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill(signal);
    await exit;
  }
}

test("three workers, killed with -9 at random, over a database that is restarted: each job is done once in effect, none is lost or invented", {
  skip,
}, async (t) => {
  const {
    jobs: many,
    kills,
    restarts,
  } = searched({ jobs: 100, kills: 3, restarts: 1 }, { jobs: 300, kills: 25, restarts: 4 });
  const { server, place } = await taking("chaos");
  await using _ = server;
  const { url } = server;
  const workers = [0, 1, 2].map(() => new WorkerProcess(place));
  const asked = new Map<string, number>();
  for (let at = 0; at < many; at += 10) {
    const jobs = await ask(url, { prompt: `picture ${at}`, steps: 25, seed: at }, { count: 10, priority: at % 3 });
    for (const { id, job } of jobs) asked.set(id, job.seed);
  }
  const killed: { readonly pid: number; readonly atMs: number }[] = [];
  const open = async () =>
    (
      await postgres.query<{ open: number }>(
        "select count(*)::int as open from solvay.jobs where state in ('queued', 'running')",
        [],
        place.database,
      )
    )[0]!.open;
  const spread = Array.from({ length: kills }, (_, at) => many - 8 - ((at + random() * 0.8) * (many - 20)) / kills);
  const restartAt = Array.from({ length: restarts }, (_, at) => (many * (at + 1)) / (restarts + 1));
  let restarted = 0;
  for (let left = many; left > 0; await delay(50)) {
    left = await open();
    if (spread.length > killed.length && left < spread[killed.length]!) {
      const at = Math.floor(random() * workers.length);
      const victim = workers[at]!;
      killed.push({ pid: victim.pid, atMs: Date.now() });
      await victim.end("SIGKILL");
      workers[at] = new WorkerProcess(place);
    }
    if (restartAt.length > restarted && left < restartAt[restarted]!) {
      await postgres.down(restarted % 2 === 0 ? "SIGINT" : "SIGQUIT");
      await delay(500);
      await postgres.up();
      restarted++;
    }
  }
  assert.deepEqual([killed.length, restarted], [kills, restarts]);

  const rows = await postgres.query<{ id: string; seed: number; state: string; asset: string; name: string }>(
    `select j.id, (j.job->>'seed')::int as seed, j.state, j.asset, a.name from solvay.jobs j
     left join solvay.assets a on a.sha256 = j.asset`,
    [],
    place.database,
  );
  assert.deepEqual(new Map(rows.map(({ id, seed }) => [id, seed])), asked);
  for (const { id, state, asset, name } of rows) {
    assert.equal(state, "done", id);
    const bytes = readFileSync(path.join(place.images, name));
    assert.equal(createHash("sha256").update(bytes).digest("hex"), asset);
  }
  const gallery = await postgres.query<{ job: string }>("select job from solvay.gallery", [], place.database);
  assert.deepEqual(gallery.map(({ job }) => job).toSorted(), [...asked.keys()].toSorted());
  const ends = await postgres.query<{ ends: number }>(
    "select count(*)::int as ends from solvay.events where type in ('done', 'failed', 'cancelled')",
    [],
    place.database,
  );
  assert.equal(ends[0]!.ends, many);
  // What is over leaves nothing behind: no claims, no states.
  const left = await postgres.query("select id from pgboss.job where name = 'pictures'", [], place.database);
  assert.equal(left.length, 0);
  for (const { pid, atMs } of killed) await tellResumed(t.diagnostic.bind(t), place, pid, atMs);
  for (const each of workers) await each.end("SIGTERM");
  assert.doesNotMatch(server.logs() + workers.map(({ logs }) => logs).join(""), new RegExp(PASSWORD));
});

/** How long it took until another worker drew the job that a killed one had. */
async function tellResumed(tell: (text: string) => void, place: Place, pid: number, atMs: number): Promise<void> {
  const rows = await postgres.query<{ at: Date }>(
    `select next.at from solvay.events mine join solvay.workers w on w.id::text = mine.data->>'worker'
     join solvay.events next on next.job = mine.job and next.type = 'started' and next.seq > mine.seq
     where mine.type = 'started' and w.name like $1 and next.at > $2::timestamptz order by next.at limit 1`,
    [`%/${pid}`, new Date(atMs)],
    place.database,
  );
  const [row] = rows;
  tell(row ? `killed, then drawn by another after ${row.at.getTime() - atMs} ms` : "killed while it had no job");
}

test("a database that is away is told by its place alone (E_DATABASE), and what is no URL of one (E_USAGE)", async () => {
  const onTrouble = () => {};
  for (const url of [
    `postgres://solvay:${PASSWORD}@127.0.0.1:1/db`,
    `postgresql://solvay:${PASSWORD}@no.such.invalid`,
  ]) {
    await assert.rejects(openPostgres(url, { onTrouble, patienceMs: 0 }), (error: Error & { code: string }) => {
      assert.equal(error.code, "E_DATABASE");
      assert.doesNotMatch(error.message + String(error.cause), new RegExp(PASSWORD));
      return true;
    });
  }
  await assert.rejects(openPostgres(`mysql://u:${PASSWORD}@x/y`, { onTrouble }), (error: Error & { code: string }) => {
    assert.equal(error.code, "E_USAGE");
    assert.doesNotMatch(error.message, new RegExp(PASSWORD));
    return true;
  });
});

test("workers take what they can: their models, what fits their budgets (else it fails, saying so), what is not cancelled on another machine", {
  skip,
}, async () => {
  const { server, place } = await taking("capable");
  await using _ = server;
  const { url } = server;
  const drawn: string[] = [];
  const draws = (name: string) => (job: GenerateJob) => void drawn.push(`${name}: ${job.prompt}`);
  const small = (job: GenerateJob) => {
    draws("small")(job);
    if (job.prompt !== "large") return;
    throw new BudgetError({ code: "E_BUDGET", problem: "the plan needs more", next: "raise --vram" });
  };
  const unknown = await call<{ error: { code: string; message: string } }>(`${url}/api/jobs`, {
    job: { prompt: "x" },
    model: "other",
  });
  assert.equal(unknown.error.code, "E_MODEL");
  await using first = worker(place, { pretence: small });
  await first.ready;
  const [large] = await ask(url, { prompt: "large", steps: 2 });
  const refused = await over(url, large!.id);
  assert.deepEqual([refused.state, refused.error?.code], ["failed", "E_BUDGET"]);

  // One with more memory, and another model beside.
  await using second = worker(place, { pretence: draws("big"), other: draws("other") });
  await second.ready;
  const models = await call<{ models: readonly { name: string }[] }>(`${url}/api/models`);
  assert.deepEqual(
    models.models.map(({ name }) => name),
    ["pretence", "other"],
  );
  assert.equal((await call<JobJson>(`${url}/api/jobs/${large!.id}/retry`, {})).state, "queued");
  assert.equal((await over(url, large!.id)).state, "done");
  assert.ok(drawn.includes("big: large"));
  const [elsewhere] = await ask(url, { prompt: "elsewhere", steps: 2 }, { model: "other" });
  assert.deepEqual([(await over(url, elsewhere!.id)).state, drawn.at(-1)], ["done", "other: elsewhere"]);

  const [waits] = await ask(url, { prompt: "wait", steps: 5 });
  while ((await call<JobJson>(`${url}/api/jobs/${waits!.id}`)).step < 1) await delay(20);
  assert.equal((await call<JobJson>(`${url}/api/jobs/${waits!.id}/cancel`, {})).state, "cancelled");
  const [last] = await ask(url, { prompt: "last", steps: 1 });
  assert.equal((await over(url, last!.id)).state, "done");
  await first.stop();
  await second.stop();
  const [left] = await postgres.query<{ left: number }>(
    "select count(*)::int as left from solvay.workers",
    [],
    place.database,
  );
  assert.equal(left!.left, 0);
});

test("a worker that is told to stop gives its picture on: another one goes on from its last step, to the same bytes, over a bucket", {
  skip,
}, async () => {
  const budgets = { vram: "1G", ram: "1G" };
  const job = { prompt: "a lake", steps: 14, width: 64, height: 64, seed: 5 };
  await using bucket = await testBucket();
  const place = { database: await postgres.database("drained"), images: `s3://${bucket.name}/studio`, env: bucket.env };
  await using server = await pretendingServer({
    ...{ folder: path.join(folder, "state"), worker: false, heartbeat: QUICK, ...place },
  });
  const { url } = server;
  const open = () => openEngine({ backend: "reference", model: MODEL, budgets });
  await using first = worker(place, { pretence: () => {} }, open);
  const [asked] = await ask(url, job);
  while ((await call<JobJson>(`${url}/api/jobs/${asked!.id}`)).step < 1) await delay(20);
  await first.stop();
  const given = await call<JobJson>(`${url}/api/jobs/${asked!.id}`);
  assert.deepEqual([given.state, given.startedAt], ["queued", undefined]);

  await using second = worker(place, { pretence: () => {} }, open);
  const done = await over(url, asked!.id);
  assert.equal(done.state, "done");
  const bytes = new Uint8Array(await (await fetch(`${url}/api/assets/${done.asset}`)).arrayBuffer());
  await second.stop();
  const steps = await postgres.query<{ step: number }>(
    `select (data->>'step')::int as step from solvay.events where type = 'step' and seq > (select seq from solvay.events where type = 'returned')
     order by seq limit 1`,
    [],
    place.database,
  );
  assert.ok(steps[0]!.step > 1, `it began anew: ${steps[0]!.step}`);
  await using alone = await open();
  for await (const event of alone.generate(job))
    if (event.type === "image") sameBytes(bytes, event.bytes, "the picture");
  // Its state is gone with it.
  const store = await s3Store(place.images, bucket.env);
  assert.deepEqual(await Array.fromAsync(store.list("unfinished")), []);
});
