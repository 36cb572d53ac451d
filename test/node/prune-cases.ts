/** @file What a server forgets, over a database that server-claims.test.ts has opened: all rows there are go with it. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { encodePng } from "../../src/image/png.ts";
import { Assets } from "../../src/server/pictures/assets.ts";
import type { Database } from "../../src/server/queue/database.ts";
import { prune } from "../../src/server/queue/prune.ts";

export async function pruneCases(t: TestContext, database: Database): Promise<void> {
  await t.test(
    "what is forgotten: what is old and needed by nothing; pictures that were drawn and their jobs stay",
    async () => {
      await database.run(
        "delete from solvay.gallery; delete from solvay.jobs; delete from solvay.assets; delete from solvay.events",
      );
      const hash = (letter: string) => letter.repeat(64);
      const jobs = [
        { state: "queued", job: { controls: [{ image: `sha256:${hash("a")}` }] } },
        { state: "running" },
        { state: "done", upscale: { image: `sha256:${hash("b")}` }, at: 400 },
        { state: "failed", at: 29 },
        { state: "failed", at: 31 },
        { state: "cancelled", at: 31 },
      ].map((job, at) => ({
        id: `${at}0000000-0000-0000-0000-000000000000`,
        job: {},
        upscale: null,
        at: 0,
        ...job,
      }));
      await database.query(
        `insert into solvay.jobs (id, hash, asked_hash, job, upscale, owner, request, state, priority, finished_at)
       select id, '', '', job, upscale, '', id, state, 0, now() - make_interval(days => at)
       from jsonb_to_recordset($1::jsonb) as r (id uuid, job jsonb, upscale jsonb, state text, at int)`,
        [JSON.stringify(jobs)],
      );
      const assets = [
        // Named by a job that waits, by an upscale that is done, by the gallery; by nothing, old and new; drawn.
        ...[
          ...["a", "b", "c", "d"].map((letter) => ({ letter, at: 31, name: `uploads/${letter}` })),
          { letter: "e", at: 29, name: "uploads/e" },
        ],
        { letter: "f", at: 31, name: "drawn/f" },
      ].map(({ letter, at, name }) => ({ sha256: hash(letter), name, at }));
      // More than are removed at once.
      const many = Array.from({ length: 501 }, (_, at) => ({ sha256: `many${at}`, name: `uploads/many${at}`, at: 31 }));
      await database.query(
        `insert into solvay.assets (sha256, name, media_type, bytes, width, height, created_at)
       select sha256, name, 'image/png', 1, 1, 1, now() - make_interval(days => at)
       from jsonb_to_recordset($1::jsonb) as r (sha256 text, name text, at int)`,
        [JSON.stringify([...assets, ...many])],
      );
      await database.query("insert into solvay.gallery (job, asset, infotext) values ($1, $2, '')", [
        jobs[2]!.id,
        hash("c"),
      ]);
      for (const job of [0, 1, 2]) {
        const values = [jobs[job]!.id];
        await database.query(
          "insert into solvay.previews (job, step, steps, width, height, rgb) values ($1, 1, 2, 1, 1, '')",
          values,
        );
      }
      await database.run(
        `insert into solvay.events (job, type, data, at) values
       (gen_random_uuid(), 'note', '{"at": 8}', now() - interval '8 days'), (gen_random_uuid(), 'note', '{"at": 6}', now() - interval '6 days')`,
      );
      const removed: string[] = [];
      const states = [...jobs.map(({ id }) => `unfinished/${id}.solvay`), "unfinished/notes.txt"];
      const removedStates: string[] = [];
      let purges = 0;
      const parts = {
        database,
        store: { remove: async (name: string) => void removed.push(name) },
        stateStore: {
          list: async function* () {
            yield* states;
          },
          remove: async (name: string) => void removedStates.push(name),
        },
        purge: async () => void purges++,
      };
      await prune(parts as never);
      assert.equal(purges, 1);
      const kept = await database.query<{ id: string }>("select id from solvay.jobs order by id");
      assert.deepEqual(
        kept.map(({ id }) => id),
        jobs.slice(0, 4).map(({ id }) => id),
      );
      const left = await database.query<{ name: string }>("select name from solvay.assets order by sha256");
      assert.deepEqual(
        left.map(({ name }) => name),
        ["uploads/a", "uploads/b", "uploads/c", "uploads/e", "drawn/f"],
      );
      assert.deepEqual(removed.toSorted(), [...many.map(({ name }) => name), "uploads/d"].toSorted());
      assert.deepEqual(
        removedStates,
        jobs.slice(2).map(({ id }) => `unfinished/${id}.solvay`),
      );
      const previews = await database.query<{ job: string }>("select job from solvay.previews");
      assert.deepEqual(previews, [{ job: jobs[1]!.id }]);
      const events = () => database.query<{ data: { at: number } }>("select data from solvay.events order by seq");
      assert.deepEqual(
        (await events()).map(({ data }) => data.at),
        [6],
      );
      // And a million of them at most, however new.
      await database.run(
        `insert into solvay.events (seq, job, type, data) overriding system value
       select max(seq) + ahead, gen_random_uuid(), 'note', jsonb_build_object('at', ahead)
       from solvay.events, (values (1), (1000000)) as each (ahead) group by ahead`,
      );
      await prune(parts as never);
      assert.deepEqual(
        (await events()).map(({ data }) => data.at),
        [1, 1_000_000],
      );
      await database.run("delete from solvay.gallery; delete from solvay.jobs; delete from solvay.assets");
    },
  );

  await t.test(
    "a picture that is sent again is new again, and whole where its file was gone or damaged, wherever that lies",
    async () => {
      const files = new Map<string, Uint8Array>();
      const store = {
        put: async (name: string, [bytes]: readonly Uint8Array[]) => void files.set(name, bytes!),
        get: async (name: string) => files.get(name),
        remove: async (name: string) => void files.delete(name),
      };
      const assets = new Assets(database, store as never);
      const png = await encodePng({ width: 3, height: 2, rgb: new Uint8Array(18) });
      const { sha256, ...facts } = await assets.add(png, "a picture");
      assert.deepEqual(facts, { mediaType: "image/png", bytes: png.length, width: 3, height: 2 });
      const upload = `uploads/${sha256.slice(0, 2)}/${sha256}.png`;
      assert.deepEqual([...files.keys()], [upload]);
      for (const name of [upload, "drawn/it.png"]) {
        await database.query("update solvay.assets set name = $1, created_at = now() - interval '31 days'", [name]);
        files.clear();
        files.set(name, png.slice(0, -1));
        assert.equal(await assets.read(sha256), undefined);
        await assets.add(png, "a picture");
        assert.deepEqual([...files], [[name, png]]);
        assert.deepEqual((await assets.read(sha256))?.asset, { sha256, ...facts });
        const old = "select 1 from solvay.assets where name = $1 and created_at > now() - interval '1 day'";
        assert.equal((await database.query(old, [name])).length, 1);
      }
      await assets.remove(sha256);
      assert.deepEqual([files.size, await assets.find(sha256)], [0, undefined]);
    },
  );
}
