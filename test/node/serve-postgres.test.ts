/**
 * @file `solvay serve --no-worker` and workers over a real PostgreSQL: killed, drained, restarted, cancelled and too small, and every job is done
 * once in effect.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { BudgetError } from "../../src/errors.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import type { GenerateJob } from "../../src/job/types.ts";
import { openEngine } from "../../src/node.ts";
import { Assets } from "../../src/server/pictures/assets.ts";
import { folderStore } from "../../src/server/pictures/picture-store.ts";
import { s3Store } from "../../src/server/pictures/s3-store.ts";
import { openBoss } from "../../src/server/queue/boss.ts";
import { Claims } from "../../src/server/queue/claims.ts";
import { JobQueue } from "../../src/server/queue/job-queue.ts";
import { openPostgres } from "../../src/server/queue/postgres.ts";
import { prune } from "../../src/server/queue/prune.ts";
import { prepareTables } from "../../src/server/queue/tables.ts";
import { WorkerEntries } from "../../src/server/queue/workers.ts";
import { testBucket } from "../support/bucket.ts";
import { NO_POSTGRES, PASSWORD } from "../support/postgres.ts";
import { pretendingEngine } from "../support/pretending-engine.ts";
import { sameBytes } from "../support/same.ts";
import { seededRandom } from "../support/seed.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { ask, call, type JobJson, LOST_AFTER_S, Machines, over, type Place, QUICK } from "../support/workers.ts";
import { fakeContext } from "./fake-context.ts";

const skip = NO_POSTGRES ?? false;
const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const random = seededRandom();
let machines: Machines;

before(async () => {
  if (skip === false) machines = await Machines.start();
});
after(() => machines?.[Symbol.asyncDispose]());

test("three workers, killed with -9 at random, over a database that is restarted: each job is done once in effect, none is lost or invented", {
  skip,
}, async (t) => {
  const {
    jobs: many,
    kills,
    restarts,
  } = searched({ jobs: 60, kills: 2, restarts: 1 }, { jobs: 300, kills: 25, restarts: 4 });
  const { server, place } = await machines.taking("chaos");
  await using _ = server;
  const { url } = server;
  const workers = [0, 1, 2].map(() => machines.process(place));
  const asked = new Map<string, number>();
  for (let at = 0; at < many; at += 10) {
    const jobs = await ask(url, { prompt: `picture ${at}`, steps: 12, seed: at }, { count: 10, priority: at % 3 });
    for (const { id, job } of jobs) asked.set(id, job.seed);
  }
  const killed: { readonly pid: number; readonly atMs: number }[] = [];
  const open = async () =>
    (
      await machines.postgres.query<{ open: number }>(
        "select count(*)::int as open from solvay.jobs where state in ('queued', 'running')",
        [],
        place.database,
      )
    )[0]!.open;
  const spread = Array.from({ length: kills }, (_, at) => many - 8 - ((at + random() * 0.8) * (many - 20)) / kills);
  const restartAt = Array.from({ length: restarts }, (_, at) => (many * (at + 1)) / (restarts + 1));
  let restarted = 0;
  for (let left = many; left > 0; await delay(150)) {
    left = await open();
    if (spread.length > killed.length && left < spread[killed.length]!) {
      const at = Math.floor(random() * workers.length);
      const victim = workers[at]!;
      killed.push({ pid: victim.pid, atMs: Date.now() });
      await victim.end("SIGKILL");
      workers[at] = machines.process(place);
    }
    if (restartAt.length > restarted && left < restartAt[restarted]!) {
      await machines.postgres.down(restarted % 2 === 0 ? "SIGINT" : "SIGQUIT");
      await delay(500);
      await machines.postgres.up();
      restarted++;
    }
  }
  assert.deepEqual([killed.length, restarted], [kills, restarts]);

  const rows = await machines.postgres.query<{ id: string; seed: number; state: string; asset: string; name: string }>(
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
  const gallery = await machines.postgres.query<{ job: string }>("select job from solvay.gallery", [], place.database);
  assert.deepEqual(gallery.map(({ job }) => job).toSorted(), [...asked.keys()].toSorted());
  const ends = await machines.postgres.query<{ ends: number }>(
    "select count(*)::int as ends from solvay.events where type in ('done', 'failed', 'cancelled')",
    [],
    place.database,
  );
  assert.equal(ends[0]!.ends, many);
  // What is over leaves nothing behind: no claims, no states.
  const left = await machines.postgres.query("select id from pgboss.job where name = 'pictures'", [], place.database);
  assert.equal(left.length, 0);
  for (const { pid, atMs } of killed) await tellResumed(t.diagnostic.bind(t), place, pid, atMs);
  for (const each of workers) await each.end("SIGTERM");
  assert.doesNotMatch(server.logs() + workers.map(({ logs }) => logs).join(""), new RegExp(PASSWORD));
});

/** How long it took until another worker drew the job that a killed one had. */
async function tellResumed(tell: (text: string) => void, place: Place, pid: number, atMs: number): Promise<void> {
  const rows = await machines.postgres.query<{ at: Date }>(
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

test("processes that start at once over an empty database all start", { skip }, async () => {
  const url = await machines.postgres.database("empty");
  const started = await Promise.all(
    [1, 2, 3, 4].map(async () => {
      const database = await openPostgres(url, { onTrouble() {} });
      await prepareTables(database);
      return { database, boss: await openBoss(database, QUICK, () => {}) };
    }),
  );
  for (const { database, boss } of started) {
    await boss.stop({ graceful: false });
    await database[Symbol.asyncDispose]();
  }
});

test("workers take what they can: their models, what fits their budgets (else it fails, saying so), what is not cancelled on another machine", {
  skip,
}, async () => {
  const { server, place } = await machines.taking("capable");
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
  await using first = machines.worker(place, { pretence: small });
  await first.ready;
  const [large] = await ask(url, { prompt: "large", steps: 2 });
  const refused = await over(url, large!.id);
  assert.deepEqual([refused.state, refused.error?.code], ["failed", "E_BUDGET"]);

  // One with more memory, and another model beside.
  await using second = machines.worker(place, { pretence: draws("big"), other: draws("other") });
  await second.ready;
  const models = await call<{ models: readonly { name: string }[] }>(`${url}/api/models`);
  assert.deepEqual(
    models.models.map(({ name }) => name),
    ["pretence", "other"],
  );
  const { workers } = await call<{ workers: readonly { models: readonly string[] }[] }>(`${url}/api/workers`);
  assert.deepEqual(
    workers.map((each) => each.models),
    [["pretence"], ["pretence", "other"]],
  );
  // While that one has something else to do, the small one looks at it once more, and leaves it.
  const [busy] = await ask(url, { prompt: "wait", steps: 5 }, { model: "other" });
  while ((await call<JobJson>(`${url}/api/jobs/${busy!.id}`)).step < 1) await delay(20);
  assert.equal((await call<JobJson>(`${url}/api/jobs/${large!.id}/retry`, {})).state, "queued");
  const refusals = async () => await machines.postgres.query("select from solvay.refusals", [], place.database);
  while ((await refusals()).length === 0) await delay(20);
  assert.match((await call<JobJson>(`${url}/api/jobs/${large!.id}`)).state, /^(queued|running)$/);
  await call(`${url}/api/jobs/${busy!.id}/cancel`, {});
  assert.equal((await over(url, large!.id)).state, "done");
  assert.ok(drawn.includes("big: large"));
  const [elsewhere] = await ask(url, { prompt: "elsewhere", steps: 2 }, { model: "other" });
  assert.deepEqual([(await over(url, elsewhere!.id)).state, drawn.at(-1)], ["done", "other: elsewhere"]);

  // One that can't be opened there after all: its jobs wait for others, and it goes on with what it has.
  await second.stop();
  await using broken = machines.worker(place, { pretence: draws("broken"), other: () => {} }, async (model) => {
    if (model === "other") throw new Error("damaged");
    return pretendingEngine({ asked: draws("broken") });
  });
  await broken.ready;
  const [impossible] = await ask(url, { prompt: "impossible", steps: 1 }, { model: "other", priority: 9 });
  const [possible] = await ask(url, { prompt: "possible", steps: 1 });
  assert.equal((await over(url, possible!.id)).state, "done");
  // Another may have drawn that one, while this one still tries.
  const stateOf = async (id: string) => (await call<JobJson>(`${url}/api/jobs/${id}`)).state;
  while ((await stateOf(impossible!.id)) === "running") await delay(20);
  assert.equal(await stateOf(impossible!.id), "queued");
  await call(`${url}/api/jobs/${impossible!.id}/cancel`, {});

  const [waits] = await ask(url, { prompt: "wait", steps: 5 });
  while ((await call<JobJson>(`${url}/api/jobs/${waits!.id}`)).step < 1) await delay(20);
  assert.equal((await call<JobJson>(`${url}/api/jobs/${waits!.id}/cancel`, {})).state, "cancelled");
  const [last] = await ask(url, { prompt: "last", steps: 1 });
  assert.equal((await over(url, last!.id)).state, "done");
  await first.stop();
  await broken.stop();
  const [left] = await machines.postgres.query<{ left: number }>(
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
  const job = { prompt: "a lake", steps: 4, width: 64, height: 64, seed: 5 };
  await using bucket = await testBucket();
  const { server, place } = await machines.taking("drained", {
    images: `s3://${bucket.name}/studio`,
    env: bucket.env,
  });
  await using _ = server;
  const { url } = server;
  const asked = { backend: "reference", model: MODEL, budgets } as const;
  await using first = machines.worker(place, { pretence: () => {} }, () => openEngine(asked));
  const [passed] = await ask(url, job);
  while ((await call<JobJson>(`${url}/api/jobs/${passed!.id}`)).step < 1) await delay(20);
  await first.stop();
  const given = await call<JobJson>(`${url}/api/jobs/${passed!.id}`);
  assert.deepEqual([given.state, given.startedAt], ["queued", undefined]);

  const open = () => openThreadlessEngine(asked);
  await using second = machines.worker(place, { pretence: () => {} }, open);
  const done = await over(url, passed!.id);
  assert.equal(done.state, "done");
  const bytes = new Uint8Array(await (await fetch(`${url}/api/assets/${done.asset}`)).arrayBuffer());
  await second.stop();
  const steps = await machines.postgres.query<{ step: number }>(
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

test("solvay jobs: lists and acts by a server and by the database, for people and as JSON; a job that is not there is none (E_NOT_FOUND, E_SERVER)", {
  skip,
}, async () => {
  const { server, place } = await machines.taking("desk");
  await using _ = server;
  const { url } = server;
  const [first, second] = await ask(url, { prompt: "a desk\u001b[2J", steps: 2, seed: 1 }, { count: 2 });
  const jobs = async (line: string, ...where: readonly string[]) => {
    const fake = fakeContext({ cwd: machines.folder });
    const exitCode = await runCli(["jobs", ...line.split(" "), ...where], { ...fake.context, env: {} });
    return { exitCode, out: fake.out(), err: fake.err() };
  };
  const there = ["--server", url];
  assert.match((await jobs("list --state queued", ...there)).out, new RegExp(`^${second!.id}  queued  .* a desk`));
  assert.equal((await jobs("list --state done", ...there)).out, "no jobs\n");
  assert.match((await jobs(`show ${first!.id}`, ...there)).out, /\nmodel: pretence\n.*prompt: a desk \[2J/s);
  for (const where of [there, ["--database", place.database]]) {
    const listed = JSON.parse((await jobs("list --json", ...where)).out) as { readonly jobs: readonly JobJson[] };
    assert.deepEqual(
      listed.jobs.map(({ id }) => id),
      [second!.id, first!.id],
    );
    const cancelled = JSON.parse((await jobs(`cancel ${first!.id} ${second!.id} --json`, ...where)).out) as {
      readonly jobs: readonly JobJson[];
    };
    assert.deepEqual(
      cancelled.jobs.map(({ state }) => state),
      ["cancelled", "cancelled"],
    );
    await jobs(`retry ${first!.id} ${second!.id}`, ...where);
    const back = JSON.parse((await jobs(`priority ${first!.id} -7 --json`, ...where)).out) as {
      readonly priority: number;
    };
    assert.equal(back.priority, -7);
    const none = await jobs("show 00000000-0000-4000-8000-000000000000", ...where);
    assert.deepEqual([none.exitCode, none.err.split(" ")[0]], [2, "E_NOT_FOUND"]);
  }
  const nobody = await jobs("list", "--server", "http://127.0.0.1:9");
  assert.deepEqual([nobody.exitCode, nobody.err.split(" ")[0]], [5, "E_SERVER"]);
  const both = await jobs("list", "--server", url, "--database", place.database);
  assert.deepEqual([both.exitCode, both.err.split(" ")[0]], [2, "E_USAGE"]);
});

test("claims: priorities first, then the model that is held, then keys in turn, then the order of asking; one alone gets each job", {
  skip,
}, async () => {
  const { server, place } = await machines.taking("ordered");
  await using _ = server;
  // Nobody shows signs of life here: a slow machine's claims stay theirs.
  await machines.postgres.query("update pgboss.queue set heartbeat_seconds = 600", [], place.database);
  await using database = await openPostgres(place.database, { onTrouble() {} });
  const boss = await openBoss(database, QUICK, () => {});
  try {
    const queue = new JobQueue(database, boss, { open: 1000, openOfOne: 1000 });
    const claims = new Claims(database, boss);
    const id = await new WorkerEntries(database).enter({ models: ["a", "b"], contents: { a: "one" } });
    const add = async (owner: string, prompt: string, { model = "a", priority = 0, content = "" } = {}) => {
      const job = { job: { prompt }, model, content, hash: prompt, askedHash: prompt };
      await queue.submit([job], { owner, priority });
    };
    const order = async (models: readonly string[], held: string | undefined) => {
      const prompts: string[] = [];
      for (;;) {
        const claim = await claims.claim({ models, contents: { a: "one" }, held, worker: id });
        if (!claim) return prompts;
        prompts.push(claim.record.job.prompt);
      }
    };
    for (const prompt of ["ann1", "ann2", "ann3"]) await add("ann", prompt);
    await add("ben", "ben1");
    await add("cat", "cat1");
    await add("ben", "ben2");
    await add("ann", "other model", { model: "b" });
    await add("ann", "first of all", { priority: 1 });
    await add("ann", "later", { priority: -1 });
    await add("dan", "nobody's", { model: "c" });
    await add("dan", "another of the name", { content: "two", priority: 2 });
    await add("eve", "the very model", { content: "one", priority: -2 });
    await add("eve", "of a model whose files nobody looked at", { model: "b", content: "two", priority: -3 });
    const found = await order(["a", "b"], "a");
    assert.deepEqual(found, [
      "first of all",
      "ben1",
      "cat1",
      "ann1",
      "ben2",
      "ann2",
      "ann3",
      "other model",
      "later",
      "the very model",
      "of a model whose files nobody looked at",
    ]);

    // As many at once as there are connections: each is claimed by one.
    for (let at = 0; at < 60; at++) await add(`key ${at % 7}`, `many ${at}`);
    const beganMs = performance.now();
    const all = (await Promise.all([1, 2, 3, 4, 5, 6].map(() => order(["a"], "a")))).flat();
    const took = performance.now() - beganMs;
    assert.deepEqual(new Set(all).size, 60);
    assert.equal(all.length, 60);
    process.stderr.write(`${Math.round(60_000 / took)} claims a second\n`);
  } finally {
    await boss.stop({ graceful: false });
  }
});

test("a server without an engine answers what needs none, and what a worker says of its own; jobs are for workers that have the very model", {
  skip,
}, async () => {
  const { server, place } = await machines.taking("announced");
  await using _ = server;
  const { url } = server;
  const get = async (route: string, body?: object) => {
    const headers = { "content-type": "application/json" };
    const sent = body && { method: "POST", body: JSON.stringify(body), headers };
    const answer = await fetch(`${url}${route}`, sent);
    return { status: answer.status, json: (await answer.json()) as Record<string, never> };
  };
  const sizes = async () => (await call<{ model: { sizes: object[] } }>(`${url}/api/schema`)).model.sizes;
  const text = "a mill\nSteps: 3, Sampler: Euler, Seed: 4";
  const recalled = async () => (await get("/api/texts/read", { text })).json as { remake?: { reasons: string[] } };
  assert.deepEqual(await sizes(), []);
  assert.match((await recalled()).remake!.reasons.join(), /no worker has said it/);
  assert.equal((await get("/api/settings")).status, 200);
  const asked = async () => await get("/api/jobs", { job: { prompt: "x", steps: 1 } });
  const refusals = async () => {
    const all = [await get("/api/telemetry"), await get("/api/plan", { job: { prompt: "x" } })];
    return all.map(({ status, json }) => [status, (json as { error?: { code: string } }).error?.code]);
  };
  assert.deepEqual(await refusals(), [
    [503, "E_NOT_READY"],
    [503, "E_NO_ENGINE"],
  ]);

  let wrong = 0;
  await using other = machines.worker(place, { pretence: () => wrong++ }, undefined, "of the same name");
  await other.ready;
  const refused = await asked();
  assert.deepEqual([refused.status, (refused.json as { error?: { code: string } }).error?.code], [409, "E_MODEL"]);
  await using right = machines.worker(place, { pretence: () => {} });
  await right.ready;
  while ((await sizes()).length === 0) await delay(50);
  assert.deepEqual((await sizes())[0], { width: 64, height: 64 });
  assert.equal((await get("/api/telemetry")).status, 200);
  for (let at = 0; at < 3; at++) {
    const [job] = await ask(url, { prompt: `very ${at}`, steps: 1 });
    assert.equal((await over(url, job!.id)).state, "done");
  }
  assert.equal(wrong, 0);
  // A job that takes as long as three heartbeats are missed in is nobody else's.
  const [long] = await ask(url, { prompt: "wait", steps: 3 });
  await delay(3 * LOST_AFTER_S * 1000);
  assert.equal((await call<JobJson>(`${url}/api/jobs/${long!.id}`)).state, "running");
  // What it looks like is seen where it isn't drawn: the worker's preview of 8 pixels, 4 times its size.
  const preview = await fetch(`${url}/api/jobs/${long!.id}/preview`);
  const seen = await decodePng(new Uint8Array(await preview.arrayBuffer()));
  assert.deepEqual([preview.status, seen.width, seen.height, seen.pixels[0]! <= 2], [200, 32, 32, true]);
  const told = await machines.postgres.query<{ type: string }>(
    `select type from solvay.events where job = '${long!.id}' and type in ('started', 'returned')`,
    [],
    place.database,
  );
  assert.deepEqual(told, [{ type: "started" }]);
  await call(`${url}/api/jobs/${long!.id}/cancel`, {});
  while ((await fetch(`${url}/api/jobs/${long!.id}/preview`)).status !== 404) await delay(50);
});

test("a folder that takes no picture: the job is kept, tried again and says so; what is old is pruned, what is in use is not", {
  skip,
}, async () => {
  const { server, place } = await machines.taking("pruned");
  await using _ = server;
  const { url } = server;
  await using drawing = machines.worker(place, { pretence: () => {} });
  await drawing.ready;
  writeFileSync(place.images, "a file where the folder should be");
  const [job] = await ask(url, { prompt: "kept", steps: 1, seed: 3 });
  const told = async () =>
    await machines.postgres.query<{ text: string }>(
      "select data->>'text' as text from solvay.events where type = 'note'",
      [],
      place.database,
    );
  while ((await told()).length === 0) await delay(50);
  assert.match(
    (await told())[0]!.text,
    /^the picture can't be written yet \(a part of the path is no folder\): it is kept/,
  );
  assert.equal((await call<JobJson>(`${url}/api/jobs/${job!.id}`)).state, "running");
  rmSync(place.images);
  assert.equal((await over(url, job!.id)).state, "done");

  await using database = await openPostgres(place.database, { onTrouble() {} });
  const store = folderStore(place.images);
  const assets = new Assets(database, store);
  const picture = async (grey: number) =>
    await assets.add(await encodePng({ width: 8, height: 8, rgb: new Uint8Array(192).fill(grey) }), "upload");
  const [used, unused, fresh] = [await picture(1), await picture(2), await picture(3)];
  const [from] = await ask(url, {
    prompt: "from it",
    steps: 1,
    initImage: `sha256:${used.sha256}`,
    width: 64,
    height: 64,
  });
  assert.equal((await over(url, from!.id)).state, "done");
  const [refused] = await ask(url, { prompt: "refuse", steps: 3 });
  assert.equal((await over(url, refused!.id)).state, "failed");
  await store.put(`unfinished/${refused!.id}.solvay`, [new Uint8Array(1)]);
  await database.query("update solvay.jobs set finished_at = now() - interval '31 days'");
  await database.query("update solvay.events set at = now() - interval '8 days' where job = $1", [from!.id]);
  await database.query("update solvay.assets set created_at = now() - interval '31 days' where sha256 <> $1", [
    fresh.sha256,
  ]);
  await prune({ database, store, stateStore: store, purge: async () => {} });
  assert.deepEqual(
    (await call<{ jobs: JobJson[] }>(`${url}/api/jobs`)).jobs.map(({ id }) => id),
    [from!.id, job!.id],
  );
  assert.equal((await call<{ error: { code: string } }>(`${url}/api/jobs/${refused!.id}`)).error.code, "E_NOT_FOUND");
  const there = async ({ sha256 }: { readonly sha256: string }) => (await assets.read(sha256)) !== undefined;
  assert.deepEqual([await there(used), await there(unused), await there(fresh)], [true, false, true]);
  assert.deepEqual(await Array.fromAsync(store.list("unfinished")), []);
  const events = await database.query<{ job: string }>("select distinct job from solvay.events");
  assert.ok(!events.some((event) => event.job === from!.id) && events.some((event) => event.job === job!.id));
});
