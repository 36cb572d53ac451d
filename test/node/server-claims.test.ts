/** @file Claims and events of a queue by themselves, over the embedded database: who may still speak of a job, when it is parked, and that no listener misses anything. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { HEARTBEAT, openBoss } from "../../src/server/queue/boss.ts";
import { type Claim, Claims } from "../../src/server/queue/claims.ts";
import { openEmbedded } from "../../src/server/queue/database.ts";
import { addEvent, EventLog } from "../../src/server/queue/event-log.ts";
import { JobQueue } from "../../src/server/queue/job-queue.ts";
import { prepareTables } from "../../src/server/queue/tables.ts";
import { WorkerEntries } from "../../src/server/queue/workers.ts";
import { serverFolder } from "../support/server.ts";
import { pruneCases } from "./prune-cases.ts";
import { queueCases } from "./queue-cases.ts";

test("claims and events", async (t) => {
  const folder = await serverFolder();
  await using owned = new AsyncDisposableStack();
  owned.defer(() => rmSync(folder, { recursive: true, force: true }));
  const database = owned.use(await openEmbedded(path.join(folder, "database")));
  await prepareTables(database);
  const boss = await openBoss(database, HEARTBEAT, () => {});
  owned.defer(() => boss.stop({ graceful: false }));
  const queue = new JobQueue(database, boss, { open: 100, openOfOne: 3 });
  const claims = new Claims(database, boss);
  const worker = await new WorkerEntries(database).enter({ models: ["a"], contents: {} });
  const add = async (owner: string, prompt: string, more = 1) => {
    const job = { job: { prompt }, model: "a", hash: prompt, askedHash: prompt };
    return (await queue.submit(Array(more).fill(job), { owner }))[0]!.id;
  };
  const next = async () => await claims.claim({ models: ["a"], contents: {}, worker });
  const stateOf = async (id: string) => (await queue.get(id))!.state;
  /** Claims it so often, and gives it back: the states it comes to. */
  const tried = async (id: string, times: number, blameless: boolean, then: (claim: Claim) => Promise<void>) => {
    for (let i = 0; i < times; i++) {
      const claim = await next();
      if (!claim) break;
      await then(claim);
      await claims.giveBack(claim, "it broke", blameless);
    }
    return await stateOf(id);
  };

  await t.test(
    "a job that ends six claims without a step further than ever is parked; blameless ends don't count",
    async () => {
      const stuck = await add("", "stuck");
      // The same step each time is none further.
      const sameStep = async (claim: Claim) => await claims.progress(claim, 2, 9, {});
      assert.equal(await tried(stuck, 5, false, sameStep), "queued");
      assert.equal(await tried(stuck, 9, false, sameStep), "failed");
      assert.equal((await queue.get(stuck))!.error!.code, "E_POISON_JOB");
      const innocent = await add("", "innocent");
      assert.equal(await tried(innocent, 9, true, async () => {}), "queued");
      let step = 0;
      assert.equal(
        await tried(innocent, 9, false, async (claim) => await claims.progress(claim, ++step, 9, {})),
        "queued",
      );
      await queue.cancel(innocent);
    },
  );

  await t.test("only the latest claim may say anything of a job", async () => {
    const id = await add("", "fenced");
    const old = (await next())!;
    await claims.giveBack(old, "lost", true);
    const latest = (await next())!;
    const picture = { sha256: "0", name: "x", mediaType: "image/png", bytes: 1, width: 1, height: 1, infotext: "" };
    assert.deepEqual([await claims.touch(old), await claims.touch(latest)], [false, true]);
    assert.equal(await claims.finish(old, picture), false);
    await claims.fail(old, { code: "E_X", message: "x" });
    await claims.giveBack(old, "again", true);
    await claims.progress(old, 5, 9, {});
    await claims.started(old, worker);
    assert.equal(await stateOf(id), "running");
    const [row] = await database.query("select step, started_at from solvay.jobs where id = $1", [id]);
    assert.deepEqual(row, { step: 0, started_at: null });
    const events = await database.query<{ type: string }>("select type from solvay.events where job = $1", [id]);
    assert.ok(events.every(({ type }) => type !== "step" && type !== "started"));
    // A later fence than there is says nothing either.
    assert.equal(await claims.finish({ ...latest, fence: latest.fence + 1 }, picture), false);
    assert.equal(await claims.finish(latest, picture), true);
    assert.equal(await stateOf(id), "done");
  });

  await t.test(
    "a job that pg-boss has lost is claimed all the same, waiting or running, and never given up",
    async () => {
      const waiting = await add("", "lost while it waits");
      const [kept] = await database.query<{ years: number }>(
        "select extract(years from age(keep_until, now()))::int as years from pgboss.job where id = $1",
        [waiting],
      );
      assert.ok(kept!.years >= 60, `${kept!.years} years`);
      await database.query("delete from pgboss.job where id = $1", [waiting]);
      const first = (await next())!;
      assert.equal(first.record.id, waiting);
      await database.query("delete from pgboss.job where id = $1", [waiting]);
      assert.equal((await next())!.record.id, waiting);
      assert.equal(await claims.touch(first), false);
      await database.query("update pgboss.job set state = 'failed' where id = $1", [waiting]);
      assert.equal((await next())!.record.id, waiting);
      await queue.cancel(waiting);
      assert.equal(await next(), undefined);
    },
  );

  await t.test("a job that every worker refused can be asked for again, of the same worker", async () => {
    const id = await add("", "refused");
    await claims.refuse((await next())!, worker, { code: "E_VRAM", message: "too small" });
    assert.equal(await stateOf(id), "failed");
    await queue.retry(id);
    assert.equal((await next())!.record.id, id);
    await queue.cancel(id);
  });

  await t.test("an idempotency key stands for itself alone, whatever is in it (E_IDEMPOTENCY)", async () => {
    const ask = async (idempotencyKey: string, prompt: string) => {
      const job = { job: { prompt }, model: "a", hash: prompt, askedHash: prompt };
      return (await queue.submit([job], { owner: "kim", idempotencyKey }))[0]!.id;
    };
    const first = await ask("axb", "one");
    assert.equal(await ask("axb", "one"), first);
    await assert.rejects(ask("axb", "two"), { code: "E_IDEMPOTENCY" });
    const others = [await ask("a%b", "three"), await ask("a_b", "four")];
    assert.equal(new Set([first, ...others]).size, 3);
    for (const id of [first, ...others]) await queue.cancel(id);
  });

  await t.test("a job is for workers that have its very model, and have not refused it", async () => {
    const asked = async (content?: string) => {
      const job = { job: { prompt: "c" }, model: "a", hash: "c", askedHash: "c", ...(content && { content }) };
      return (await queue.submit([job], { owner: "" }))[0]!.id;
    };
    const claimed = async (contents: Readonly<Record<string, string>>, by = worker, models = ["a"]) =>
      (await claims.claim({ models, contents, worker: by }))?.record.id;
    const meant = await asked("1");
    assert.equal(await claimed({ a: "2" }), undefined);
    assert.equal(await claimed({ a: "1" }, worker, ["b"]), undefined);
    assert.equal(await claimed({ a: "1" }), meant);
    await queue.cancel(meant);
    const any = await asked();
    assert.equal(await claimed({ a: "2" }), any);
    await queue.cancel(any);
    const other = await new WorkerEntries(database).enter({ models: ["a"], contents: {} });
    const refused = await asked();
    await claims.refuse((await next())!, worker, { code: "E_VRAM", message: "too small" });
    assert.equal(await stateOf(refused), "queued");
    assert.equal(await claimed({}), undefined);
    assert.equal(await claimed({}, other), refused);
    await queue.cancel(refused);
  });

  await t.test(
    "keys take turns, whoever asked first; a key has its share, which is inclusive (E_QUEUE_SHARE)",
    async () => {
      await add("ann", "ann", 3);
      await assert.rejects(add("ann", "ann"), { code: "E_QUEUE_SHARE" });
      await add("ben", "ben", 2);
      await assert.rejects(add("ben", "ben", 2), { code: "E_QUEUE_SHARE" });
      const order: string[] = [];
      for (let claim = await next(); claim; claim = await next()) order.push(claim.record.owner);
      assert.deepEqual(order, ["ann", "ben", "ann", "ben", "ann"]);
    },
  );

  await t.test(
    "a listener that was away gets what came before the log's memory, and more than a page at once",
    async () => {
      const [row] = await database.query<{ last: number }>("select max(seq)::int as last from solvay.events");
      const log = await EventLog.open(database);
      const id = "00000000-0000-0000-0000-000000000000";
      const seen = async (after: number, count: number) => {
        const stop = AbortSignal.timeout(20_000);
        const found: number[] = [];
        for await (const { seq } of log.since(after, stop)) if (found.push(seq) >= count) break;
        return found;
      };
      await database.transaction((sql) => addEvent(sql, id, "note"));
      // In memory there is the last one alone.
      const last = row!.last;
      assert.equal((await seen(last, 1)).length, 1);
      assert.deepEqual((await seen(last - 1, 2))[0], last);
      const text =
        "insert into solvay.events (job, type, data) select $1::uuid, 'note', '{}' from generate_series(1, 1200)";
      await database.query(text, [id]);
      await database.transaction((sql) => addEvent(sql, id, "note"));
      const all = await seen(last, 1202);
      assert.equal(new Set(all).size, 1202);
      assert.deepEqual(
        all,
        all.toSorted((a, b) => a - b),
      );
    },
  );

  for (const open of await queue.list(100)) await queue.cancel(open.id);
  await queueCases(t, database, boss);
  await pruneCases(t, database);
});
