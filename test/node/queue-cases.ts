/** @file What a queue promises, over a database that server-claims.test.ts has opened: order, events, limits, refusals, recovery. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { PgBoss } from "pg-boss";
import { type Claim, Claims } from "../../src/server/queue/claims.ts";
import type { Database } from "../../src/server/queue/database.ts";
import { addEvent } from "../../src/server/queue/event-log.ts";
import { JobQueue } from "../../src/server/queue/job-queue.ts";
import { WorkerEntries } from "../../src/server/queue/workers.ts";

interface Asked {
  readonly owner?: string;
  readonly priority?: number;
  readonly model?: string;
  readonly upscale?: object;
  readonly idempotencyKey?: string;
}

/** Nothing waits or runs before; nothing does afterwards. */
export async function queueCases(t: TestContext, database: Database, boss: PgBoss): Promise<void> {
  const claims = new Claims(database, boss);
  const entries = new WorkerEntries(database);
  const worker = await entries.enter({ models: ["a", "b"], contents: {} });
  const limited = (open: number, openOfOne: number) => new JobQueue(database, boss, { open, openOfOne });
  const queue = limited(100, 50);
  const askOf = async (of: JobQueue, prompts: readonly string[], { owner = "", priority, ...more }: Asked = {}) => {
    const { idempotencyKey, model = "a", upscale } = more;
    const jobs = prompts.map((prompt) => ({ job: { prompt }, model, upscale, hash: prompt, askedHash: prompt }));
    const records = await of.submit(jobs as never, { owner, priority, idempotencyKey });
    return records.map(({ id }) => id);
  };
  const ask = async (prompt: string, asked?: Asked) => (await askOf(queue, [prompt], asked))[0]!;
  const claim = async (held?: string) => await claims.claim({ models: ["a", "b", ""], contents: {}, held, worker });
  const claimedAll = async (held?: string) => {
    const order: string[] = [];
    for (let next = await claim(held); next; next = await claim(held)) {
      order.push(next.record.job.prompt);
      await queue.cancel(next.record.id);
    }
    return order;
  };
  const eventsOf = async (id: string) =>
    (
      await database.query<{ type: string; data: object }>(
        "select type, data from solvay.events where job = $1 order by seq",
        [id],
      )
    ).map(({ type, data }) => [type, data]);
  const count = async (from: string) =>
    (await database.query<{ count: number }>(`select count(*)::int as count from ${from}`))[0]!.count;
  const picture = { sha256: "0".repeat(64), name: "drawn/0", mediaType: "image/png" };
  const drawn = { ...picture, bytes: 1, width: 8, height: 4, infotext: "a" };

  await t.test(
    "what comes next: the highest priority, then what is of the model that is held or of none, then the order of asking",
    async () => {
      await ask("first");
      await ask("held", { model: "b" });
      await ask("high", { priority: 5 });
      await ask("upscale", { model: "", upscale: { image: "x" } });
      await ask("low", { model: "b", priority: -1 });
      await ask("last");
      assert.deepEqual(await claimedAll("b"), ["high", "held", "upscale", "first", "last", "low"]);
      const ids = [await ask("one"), await ask("two"), await ask("three")];
      await queue.move(ids[2]!, ids[0]);
      await queue.move(ids[0]!, undefined);
      await queue.prioritise(ids[1]!, 50);
      assert.deepEqual(await claimedAll(), ["two", "three", "one"]);
      // Whoever was never claimed of comes before those who were.
      for (const owner of ["mia", "new"]) await ask(owner, { owner });
      assert.deepEqual(await claimedAll(), ["mia", "new"]);
      for (const owner of ["mia", "new", "newer"]) await ask(owner, { owner });
      assert.deepEqual(await claimedAll(), ["newer", "mia", "new"]);
      const running = await ask("running");
      await claim();
      assert.equal((await queue.prioritise(running, 9))!.priority, 0);
      await queue.cancel(running);
    },
  );

  await t.test(
    "what happens to a job is told once and in its order, with what belongs to it, and its record says the same",
    async () => {
      const id = await ask("told", { priority: 3 });
      const first = (await claim())!;
      await claims.started(first, worker);
      await claims.progress(first, 2, 4, { etaMs: 7 });
      await claims.note(first, "slow");
      const running = (await queue.get(id))!;
      assert.deepEqual([running.state, running.step, running.steps], ["running", 2, 4]);
      assert.ok(running.startedAt !== undefined && running.finishedAt === undefined);
      await claims.giveBack(first, "it closes", true);
      const waiting = (await queue.get(id))!;
      assert.deepEqual([waiting.state, waiting.startedAt], ["queued", undefined]);
      const second = (await claim())!;
      assert.equal(second.record.step, 0);
      await database.query(
        "insert into solvay.assets (sha256, name, media_type, bytes, width, height) values ($1, 'uploads/0', 'image/png', 1, 8, 4)",
        [drawn.sha256],
      );
      assert.equal(await claims.finish(second, drawn), true);
      assert.deepEqual(await eventsOf(id), [
        ["queued", { priority: 3 }],
        ["started", { claim: 1, worker }],
        ["step", { etaMs: 7, step: 2, steps: 4 }],
        ["note", { text: "slow" }],
        ["returned", { why: "it closes" }],
        ["done", { asset: drawn.sha256 }],
      ]);
      const done = (await queue.get(id))!;
      assert.deepEqual([done.state, done.asset, done.error], ["done", drawn.sha256, undefined]);
      assert.ok(done.finishedAt !== undefined);
      // The file that was drawn is kept; who sent the same before has it by its hash.
      const [{ name } = {}] = await database.query<{ name: string }>(
        "select name from solvay.assets where sha256 = $1",
        [drawn.sha256],
      );
      assert.equal(name, "drawn/0");
      // What is over stays so.
      for (const again of [await queue.cancel(id), await queue.retry(id)]) assert.equal(again!.state, "done");
      assert.equal((await eventsOf(id)).length, 6);

      const failed = await ask("failed");
      const error = { code: "E_X", message: "x" };
      await claims.fail((await claim())!, error);
      assert.deepEqual((await queue.get(failed))!.error, error);
      const again = (await queue.retry(failed))!;
      assert.deepEqual([again.state, again.error, again.finishedAt, again.step], ["queued", undefined, undefined, 0]);
      await queue.cancel(failed);
      await queue.cancel(failed);
      assert.deepEqual(await eventsOf(failed), [
        ["queued", { priority: 0 }],
        ["failed", { error }],
        ["queued", { priority: 0 }],
        ["cancelled", {}],
      ]);
      const prompts = async (state?: "failed") => (await queue.list(3, state)).map(({ job }) => job.prompt);
      assert.deepEqual((await prompts()).slice(0, 2), ["failed", "told"]);
      assert.ok(!(await prompts("failed")).includes("failed"));
      // pg-boss has nothing of what is over.
      assert.equal(
        await count(
          "pgboss.job j where exists (select from solvay.jobs s where s.id = j.id and s.finished_at is not null)",
        ),
        0,
      );
      const together = await askOf(queue, ["x", "y", "z"]);
      const { request } = (await queue.get(together[1]!))!;
      assert.deepEqual(
        (await queue.ofRequest(request)).map(({ id }) => id),
        together,
      );
      await claimedAll();
    },
  );

  await t.test(
    "five claims without a step further than ever are a job's own, whatever step they came to; asked for again it begins anew",
    async () => {
      // Further at first: what comes after that is none.
      const steps = [5, 1, 2, 3, 4];
      const id = await ask("breaks");
      let tries = 0;
      for (let next = await claim(); next; next = await claim()) {
        assert.equal(next.suspect, tries > 0);
        await claims.progress(next, steps[tries++]!, 9, {});
        await claims.giveBack(next, "it broke", false);
      }
      assert.deepEqual([tries, (await queue.get(id))!.error!.code], [5, "E_POISON_JOB"]);
      await queue.retry(id);
      const again = (await claim())!;
      assert.deepEqual([again.record.id, again.suspect], [id, false]);
      await claims.giveBack(again, "it broke", false);
      // One that shall be drawn by itself is not drawn beside others.
      const seen: boolean[] = [];
      const fits = ({ suspect }: Pick<Claim, "suspect">) => seen.push(suspect) < 1;
      assert.equal(await claims.claim({ models: ["a"], contents: {}, worker }, fits), undefined);
      assert.deepEqual([seen, (await queue.get(id))!.state], [[true], "queued"]);
      await queue.cancel(id);
    },
  );

  await t.test(
    "a job ends as refused when all living workers of its model have refused it, and none of them is to blame",
    async () => {
      const mine = "worker that this test entered";
      await database.query("delete from solvay.workers where id <> $1", [worker]);
      const [two, dead] = [
        await entries.enter({ models: ["a"], contents: {} }),
        await entries.enter({ models: ["a"], contents: {} }),
      ];
      await entries.enter({ models: ["b"], contents: {} });
      await database.query(
        "update solvay.workers set seen_at = now() - interval '31 seconds', name = $2 where id = $1",
        [dead, mine],
      );
      const living = (await entries.living()).map(({ id }) => id);
      assert.deepEqual([living.length, living.includes(dead)], [3, false]);
      const id = await ask("large");
      const by = async (worker: string) => (await claims.claim({ models: ["a"], contents: {}, worker }))!;
      const error = { code: "E_VRAM", message: "too small" };
      await claims.refuse(await by(worker), worker, error);
      const second = await by(two);
      assert.deepEqual([second.record.id, second.suspect], [id, false]);
      await claims.refuse(second, two, error);
      const { state, error: told } = (await queue.get(id))!;
      assert.deepEqual([state, told], ["failed", error]);
      assert.deepEqual((await eventsOf(id)).at(-1), ["failed", { error }]);
      // Signs of life tell what a worker has by now; one that left long ago is forgotten.
      await entries.seen(dead, { models: ["c"], contents: { c: "1" } });
      assert.deepEqual((await entries.living()).find(({ id }) => id === dead)?.contents, { c: "1" });
      await database.query("update solvay.workers set seen_at = now() - interval '25 hours' where id = $1", [dead]);
      await entries.enter({ models: ["d"], contents: {} });
      assert.equal(await count(`solvay.workers where id = '${dead}'`), 0);
    },
  );

  await t.test(
    "so many jobs may be open, waiting or running, of all and of each key, not one more (E_QUEUE_FULL, E_QUEUE_SHARE)",
    async () => {
      const small = limited(3, 2);
      const ids = await askOf(small, ["1", "2", "3"]);
      await claim();
      await assert.rejects(askOf(small, ["4"]), { code: "E_QUEUE_FULL" });
      assert.deepEqual([await small.room(""), await limited(1, 1).room("")], [0, 0]);
      await queue.cancel(ids[2]!);
      assert.deepEqual([await small.room(""), await small.room("ann")], [1, 1]);
      await askOf(small, ["5"]);
      await assert.rejects(small.retry(ids[2]!), { code: "E_QUEUE_FULL" });
      assert.equal((await queue.get(ids[2]!))!.state, "cancelled");
      await queue.cancel(ids[0]!);
      await claimedAll();
      await askOf(small, ["a", "b"], { owner: "ann" });
      assert.deepEqual([await small.room("ann"), await small.room("ben"), await small.room("")], [0, 1, 1]);
      await claimedAll();
    },
  );

  await t.test(
    "an idempotency key gives the same jobs again, to its owner alone, and only for the same ones",
    async () => {
      const key = { idempotencyKey: "k", owner: "ann" };
      const first = await askOf(queue, ["p", "q"], key);
      assert.deepEqual(await askOf(queue, ["p", "q"], key), first);
      for (const others of [["p"], ["p", "q", "r"], ["q", "p"]])
        await assert.rejects(askOf(queue, others, key), { code: "E_IDEMPOTENCY" });
      const bens = await askOf(queue, ["p", "q"], { ...key, owner: "ben" });
      assert.equal(new Set([...first, ...bens]).size, 4);
      await claimedAll();
    },
  );

  await t.test(
    "whoever adds jobs or events keeps others from it until he is done: numbers become seen in their order",
    async () => {
      const held = "pg_locks where locktype = 'advisory'";
      await database.transaction(async (sql) => {
        await addEvent(sql, "00000000-0000-0000-0000-000000000000", "note");
        const [row] = await sql.query<{ count: number }>(`select count(*)::int as count from ${held}`);
        assert.equal(row!.count, 1);
      });
      const locks: number[] = [];
      const watched: Database = {
        ...database,
        transaction: (work) =>
          database.transaction(async (sql) => {
            const done = await work(sql);
            const [row] = await sql.query<{ count: number }>(`select count(*)::int as count from ${held}`);
            locks.push(row!.count);
            return done;
          }),
      };
      await askOf(new JobQueue(watched, boss, { open: 100, openOfOne: 50 }), ["locked"]);
      // That of adding, and that of events.
      assert.deepEqual([locks, await count(held)], [[2], 0]);
      await claimedAll();
    },
  );

  await t.test(
    "what ran when the process ended waits again, told so, and who had it before has nothing to say",
    async () => {
      const id = await ask("interrupted");
      const old = (await claim())!;
      assert.equal(await claims.recover(), 1);
      assert.equal(await count("solvay.workers"), 0);
      assert.deepEqual([(await queue.get(id))!.state, await claims.finish(old, drawn)], ["queued", false]);
      assert.deepEqual((await eventsOf(id)).at(-1), ["returned", { why: "the process ended" }]);
      assert.deepEqual(await claimedAll(), ["interrupted"]);
    },
  );
}
