/** @file The gallery of a server: search over words and settings, days, favourites, deleting and bringing back, thumbnails, pages that stay. */
import assert from "node:assert/strict";
import { globSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { readPictureHeader } from "../../src/image/picture-header.ts";
import { purgeDeleted } from "../../src/server/pictures/gallery.ts";
import { galleryConditions } from "../../src/server/pictures/gallery-query.ts";
import { openEmbedded } from "../../src/server/queue/database.ts";
import { fillGallery } from "../support/gallery.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";

const INFO = "Steps: 20, Sampler: Euler a, CFG scale: 6.5, Seed: 7, Size: 512x768, Model: boats";
const PICTURES = [
  {
    prompt: "a red boat at dawn",
    job: { steps: 30, seed: 1, width: 64, height: 64 },
    createdAt: "2026-03-01T23:30:00Z",
  },
  { prompt: "a boathouse", infotext: `a boathouse\n${INFO}`, job: {}, createdAt: "2026-03-02T00:30:00Z" },
  { prompt: "a lighthouse, dawn", job: { steps: 4, guidance: 9, sampler: "euler" }, createdAt: "2026-03-02T12:00:00Z" },
  { prompt: '50% {of} a\' "boat"', job: { steps: 12 }, createdAt: "2026-03-05T12:00:00Z" },
];

let folder: string;
let server: RunningServer;
before(async () => {
  folder = await serverFolder();
  await fillGallery(folder, PICTURES, 2);
  server = await pretendingServer({ folder });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Answer {
  readonly pictures: readonly { readonly id: number; readonly prompt: string; readonly favourite: boolean }[];
  readonly days: readonly {
    readonly day: string;
    readonly ids: readonly number[];
    readonly favourites: readonly number[];
  }[];
  readonly total: number;
  readonly changed: number;
  readonly error: { readonly code: string };
}

async function get(query: string): Promise<Answer> {
  return (await (await fetch(`${server.url}/api/gallery${query}`)).json()) as Answer;
}

async function post(name: string, body: object): Promise<Answer> {
  const answer = await fetch(`${server.url}/api/gallery/${name}`, {
    ...{ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
  });
  return (await answer.json()) as Answer;
}

const found = async (query: string) => (await get(`?q=${encodeURIComponent(query)}`)).pictures.map(({ id }) => id);

test("search: words by their beginnings, phrases, without, settings by field", async () => {
  for (const [query, ids] of [
    ["boat", [4, 2, 1]],
    ["boat -boathouse", [4, 1]],
    ['"at dawn"', [1]],
    ["dawn", [3, 1]],
    ["", [4, 3, 2, 1]],
    ["steps:30", [1]],
    ["steps:4", [3]],
    ["steps:>4", [4, 2, 1]],
    ["steps:4-12", [4, 3]],
    ["-steps:4-12", [2, 1]],
    // What the job leaves to the model stands in its infotext.
    ["seed:7 width:512 height:768 guidance:6.5", [2]],
    ["sampler:euler", [3, 2]],
    // Those that name none are without it, too.
    ["-sampler:euler", [4, 1]],
    ["guidance:>=6.5 dawn", [3]],
    ["boat'); drop table solvay.jobs; --", []],
    ["%' or 1=1 --", []],
    ["steps:abc", []],
    ['::: " & | ! ( <->', [4, 3, 2, 1]],
  ] as const) {
    assert.deepEqual(await found(query), ids, query);
  }
});

test("a query is bounded, and its values never stand in the text", () => {
  const conditions = galleryConditions(`${"x ".repeat(400)}sampler:'; steps:1`);
  assert.equal(conditions.length, 24);
  // What stands for anything in a pattern stands for itself.
  assert.deepEqual(galleryConditions("sampler:5%_\\x")[0]?.values, ["%5\\%\\_\\\\x%"]);
  for (const { text, values } of galleryConditions("sampler:a'b steps:1 it's")) {
    assert.equal(text.split("$").length - 1, values.length);
    assert.ok(!text.includes("a'b"));
  }
});

test("pages go on before a number, whatever comes or goes meanwhile", async () => {
  const first = await get("?limit=2");
  assert.deepEqual(
    first.pictures.map(({ id }) => id),
    [4, 3],
  );
  assert.deepEqual(
    (await get("?limit=2&before=3")).pictures.map(({ id }) => id),
    [2, 1],
  );
  assert.deepEqual(
    (await get("?ids=1,3")).pictures.map(({ id }) => id),
    [3, 1],
  );
  assert.equal((await get("?ids=1,x")).error.code, "E_QUERY");
});

test("the index has days as the reader's clock has them, and favourites", async () => {
  assert.deepEqual(await post("favourite", { ids: [1, 4], favourite: true }), { changed: 2 });
  const days = [
    { day: "2026-03-05", ids: [4], favourites: [4] },
    { day: "2026-03-02", ids: [3, 2, 1], favourites: [1] },
  ];
  assert.deepEqual(await get("/index?offset=60"), { days, total: 4 });
  assert.deepEqual(
    (await get("/index")).days.map(({ day, ids }) => [day, ids.length]),
    [
      ["2026-03-05", 1],
      ["2026-03-02", 2],
      ["2026-03-01", 1],
    ],
  );
  assert.deepEqual(
    (await get("/index?favourite=1&q=dawn")).days.flatMap(({ ids }) => ids),
    [1],
  );
  assert.equal((await get("/index?offset=9999")).error.code, "E_QUERY");
  assert.deepEqual(await post("favourite", { ids: [4], favourite: false }), { changed: 1 });
  assert.equal((await post("favourite", { ids: [4] })).error.code, "E_QUERY");
});

test("what is deleted is hidden, can be brought back, and is gone for good later", async () => {
  assert.deepEqual(await post("delete", { ids: [2, 3] }), { changed: 2, keptDays: 30 });
  assert.deepEqual(await found(""), [4, 1]);
  assert.deepEqual(
    (await get("/index?deleted=1")).days.flatMap(({ ids }) => ids),
    [3, 2],
  );
  assert.deepEqual(await post("restore", { ids: [3, 1] }), { changed: 1 });
  assert.deepEqual(await found(""), [4, 3, 1]);
});

test("a thumbnail is made once, keeps its proportions, and lies beside the pictures", async () => {
  const look = async () => await fetch(`${server.url}/api/gallery/1/thumbnail`);
  const [one, other] = await Promise.all([look(), look()]);
  assert.equal(one.headers.get("content-type"), "image/webp");
  assert.match(one.headers.get("cache-control")!, /immutable/);
  const bytes = new Uint8Array(await one.arrayBuffer());
  assert.deepEqual(bytes, new Uint8Array(await other.arrayBuffer()));
  const { format, width, height } = readPictureHeader(bytes, "thumbnail");
  assert.deepEqual({ format, width, height }, { format: "WebP", width: 96, height: 64 });
  assert.equal(globSync("images/thumbnails/*/*.webp", { cwd: folder }).length, 1);
  const again = await fetch(`${server.url}/api/gallery/1/thumbnail`, {
    headers: { "if-none-match": one.headers.get("etag")! },
  });
  assert.equal(again.status, 304);
  assert.equal((await fetch(`${server.url}/api/gallery/99/thumbnail`)).status, 404);
});

test("a purge takes what was deleted long ago, and only files that nothing else names", async () => {
  await server[Symbol.asyncDispose]();
  {
    await using database = await openEmbedded(path.join(folder, "database"));
    await database.query("update solvay.gallery set deleted_at = now() - make_interval(days => 31) where id = 2");
    // 4 has the same file.
    assert.deepEqual(await purgeDeleted(database), []);
    // Jobs that wait read pictures by whichever field: these two are named by a control and an upscale alone, the third by none.
    const [asset, control, upscale] = ["a", "b", "c"].map((letter) => letter.repeat(64));
    await database.query(
      `insert into solvay.assets select sha256, 'x', 'image/png', 1, 1, 1 from unnest(string_to_array($1, ',')) sha256`,
      [`${asset},${control},${upscale}`],
    );
    await database.query(
      `insert into solvay.jobs (id, hash, asked_hash, job, owner, request, state, priority, upscale)
       select gen_random_uuid(), '', '', job, '', gen_random_uuid(), 'queued', 0, upscale from (values
         ($1::jsonb, null::jsonb), ('{}', $2::jsonb), ('{}', null)) asked (job, upscale)`,
      [JSON.stringify({ controls: [{ image: `sha256:${control}` }] }), JSON.stringify({ image: `sha256:${upscale}` })],
    );
    await database.query(
      `insert into solvay.gallery (job, asset, infotext, deleted_at)
       select j.id, a.sha256, '', now() - make_interval(days => 31)
       from (select id, row_number() over (order by number) as n from solvay.jobs where hash = '') j
       join (select sha256, row_number() over (order by sha256) as n from solvay.assets where name = 'x') a using (n)`,
    );
    assert.deepEqual(await purgeDeleted(database), [asset]);
    await database.query("delete from solvay.jobs where hash = ''");
    await database.query("update solvay.gallery set deleted_at = now() - make_interval(days => 31) where id in (1, 3)");
  }
  const before = globSync("images/filled/*.png", { cwd: folder }).length;
  server = await pretendingServer({ folder });
  assert.deepEqual(await found(""), [4]);
  assert.deepEqual([before, globSync("images/filled/*.png", { cwd: folder }).length], [2, 1]);
  assert.equal(globSync("images/thumbnails/*/*.webp", { cwd: folder }).length, 0);
});
