/** @file One file from the hub, answer by answer: what is appended, what begins anew, what is deleted, and what the disk has when it gets its name. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { SolvayError } from "../../src/errors.ts";
import { type Blob, downloadBlob, identifyBlob, resolvePath } from "../../src/node/hub/download.ts";
import { HubHttp } from "../../src/node/hub/http.ts";
import type { HubFile } from "../../src/node/hub/listing.ts";
import { PartialFile } from "../../src/node/hub/partial.ts";
import { namedAt, traceFiles, unsyncedBefore } from "./file-trace.ts";

const COMMIT = "c".repeat(40);
const BYTES = Buffer.from("0123456789abcdefghij");
const SHA = createHash("sha256").update(BYTES).digest("hex");
const GIT = createHash("sha1").update(`blob ${BYTES.length}\0`).update(BYTES).digest("hex");
const LARGE: Blob = { name: "w", sizeBytes: BYTES.length, id: SHA, sha256: SHA };

interface Answer {
  readonly status?: number;
  readonly body?: Buffer;
  readonly headers?: Record<string, string>;
}

function bench(t: TestContext, answers: readonly Answer[]) {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-blob-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const asked: (string | null)[] = [];
  const methods: string[] = [];
  t.mock.method(globalThis, "fetch", async (_: URL, { headers, method = "GET" }: RequestInit) => {
    asked.push(new Headers(headers).get("range"));
    methods.push(method);
    const { status = 200, body = BYTES, headers: said = {} } = answers[asked.length - 1] ?? assert.fail("asked again");
    return new Response(status === 416 || method === "HEAD" ? null : new Uint8Array(body), { status, headers: said });
  });
  const http = new HubHttp({ endpoint: "https://hub.example", symlinks: true, stallMs: 60_000 });
  const target = path.join(folder, "blobs", "w");
  const counts: number[] = [];
  const retries: string[] = [];
  const options = {
    ...{ http, clock: { sleep: async () => {} }, path: "/w", commit: COMMIT, what: "m/w" },
    onStart: (haveBytes: number) => void counts.push(haveBytes),
    onBytes: (haveBytes: number) => void counts.push(haveBytes),
    onRetry: (problem: string) => void retries.push(problem),
  };
  return {
    ...{ asked, methods, target, counts, retries, options },
    have(bytes: Buffer) {
      mkdirSync(path.dirname(target), { recursive: true });
      writeFileSync(`${target}.incomplete`, bytes);
    },
    get: (blob = LARGE) => downloadBlob(blob, target, options),
    part: () => (existsSync(`${target}.incomplete`) ? readFileSync(`${target}.incomplete`).toString() : undefined),
  };
}

const failure = (code: string, words: RegExp) => (error: unknown) => {
  assert.ok(error instanceof SolvayError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, words);
  return true;
};

const rangeFrom = (from: number, total: number | string = BYTES.length): Answer => ({
  status: 206,
  body: BYTES.subarray(from),
  headers: { "content-range": `bytes ${from}-${BYTES.length - 1}/${total}` },
});

test("a part is gone on with at its own byte, and what came before is counted", async (t) => {
  for (const total of [BYTES.length, "*"]) {
    const b = bench(t, [rangeFrom(8, total)]);
    b.have(BYTES.subarray(0, 8));
    await b.get();
    assert.deepEqual(b.asked, ["bytes=8-"]);
    assert.deepEqual([b.counts[0], b.counts.at(-1)], [8, BYTES.length]);
    assert.deepEqual(readFileSync(b.target), BYTES);
    assert.equal(b.part(), undefined);
    t.mock.restoreAll();
  }
});

test("a partial answer of another place, size or form is not appended: the file is begun anew", async (t) => {
  const odd: [string, Answer][] = [
    ["another size", rangeFrom(8, BYTES.length + 1)],
    ["an earlier byte", { ...rangeFrom(8), headers: { "content-range": `bytes 7-19/${BYTES.length}` } }],
    ["no range", { status: 206, body: BYTES.subarray(8) }],
    ["another unit", { ...rangeFrom(8), headers: { "content-range": `lines 8-19/${BYTES.length}` } }],
    ["416", { status: 416 }],
  ];
  for (const [what, answer] of odd) {
    const b = bench(t, [answer, {}]);
    b.have(BYTES.subarray(0, 8));
    await b.get();
    assert.deepEqual(b.asked, ["bytes=8-", null], what);
    assert.match(b.retries[0] ?? "", /beginning anew/, what);
    assert.deepEqual(readFileSync(b.target), BYTES, what);
    t.mock.restoreAll();
  }
  // All of it where a part was asked for replaces the part.
  const all = bench(t, [{}]);
  all.have(Buffer.from("xxxxxxxx"));
  await all.get();
  assert.deepEqual(readFileSync(all.target), BYTES);
  t.mock.restoreAll();
  for (const answer of [rangeFrom(8), { status: 416 }]) {
    await assert.rejects(bench(t, [answer]).get(), failure("E_HUB_ANSWER", /another range/));
    t.mock.restoreAll();
  }
});

test("a whole part is checked without a request; a longer one, or a link, is not a part", async (t) => {
  const whole = bench(t, []);
  whole.have(BYTES);
  await whole.get();
  assert.deepEqual([whole.asked, readFileSync(whole.target)], [[], BYTES]);
  t.mock.restoreAll();
  const long = bench(t, [{}]);
  long.have(Buffer.concat([BYTES, Buffer.from("!")]));
  await long.get();
  assert.deepEqual([long.asked, readFileSync(long.target)], [[null], BYTES]);
  t.mock.restoreAll();
  const link = bench(t, [{}]);
  link.have(BYTES);
  const foreign = path.join(path.dirname(link.target), "f");
  writeFileSync(foreign, "precious");
  rmSync(`${link.target}.incomplete`);
  symlinkSync("f", `${link.target}.incomplete`);
  await link.get();
  assert.deepEqual(link.asked, [null], "what it leads to is no part");
  assert.equal(readFileSync(foreign).toString(), "precious");
});

test("an answer about something else is refused before a byte of it is written, and the part goes", async (t) => {
  const cases: [string, RegExp, Answer, Blob?][] = [
    ["commit", /another commit/, { headers: { "x-repo-commit": "d".repeat(40) } }],
    ["linked ETag", /file changed on the hub/, { headers: { "x-linked-etag": `"${GIT}"`, "x-linked-size": "20" } }],
    ["ETag", /ETag gone/, {}, { name: "w", sizeBytes: 20, id: "tag", etag: "tag" }],
    ["page", /web page/, { headers: { "content-type": "text/html; charset=utf-8" } }],
    ["length", /sends 19 bytes, its listing says 20/, { headers: { "content-length": "19" } }],
  ];
  for (const [what, words, answer, blob] of cases) {
    const b = bench(t, [answer]);
    await assert.rejects(b.get(blob), failure("E_HUB_CHANGED", words), what);
    assert.deepEqual([b.part(), existsSync(b.target), b.counts], [undefined, false, [0]], what);
    t.mock.restoreAll();
  }
  // The length of a compressed answer is not the file's.
  const encoded = bench(t, [{ headers: { "content-length": "19", "content-encoding": "identity" } }]);
  await encoded.get();
  assert.deepEqual(readFileSync(encoded.target), BYTES);
  t.mock.restoreAll();
  const same = bench(t, [{ headers: { "x-linked-etag": `"${SHA}"`, "x-linked-size": "20", "x-repo-commit": COMMIT } }]);
  await same.get();
});

test("one byte too many ends it; too few are gone on with", async (t) => {
  const more = bench(t, [{ body: Buffer.concat([BYTES, Buffer.from("!")]) }]);
  await assert.rejects(more.get(), failure("E_SIZE", /more than the 20 bytes it named; deleted/));
  assert.equal(more.part(), undefined);
  t.mock.restoreAll();
  const less = bench(t, [{ body: BYTES.subarray(0, 8) }, rangeFrom(8)]);
  await less.get();
  assert.deepEqual(less.asked, [null, "bytes=8-"]);
  assert.match(less.retries[0]!, /ended 12 bytes too early/);
});

test("other bytes than named are deleted, by either checksum, old ones too", async (t) => {
  const other = Buffer.from(BYTES).fill("x", 3, 4);
  const git: Blob = { name: "w", sizeBytes: BYTES.length, id: GIT, gitId: GIT };
  for (const blob of [LARGE, git]) {
    const b = bench(t, [{ body: other }]);
    await assert.rejects(b.get(blob), failure("E_HASH", /checksum differs/));
    assert.deepEqual([b.part(), existsSync(b.target)], [undefined, false]);
    t.mock.restoreAll();
    const right = bench(t, [{}]);
    await right.get(blob);
    assert.deepEqual(readFileSync(right.target), BYTES);
    t.mock.restoreAll();
    const old = bench(t, [rangeFrom(8)]);
    old.have(other.subarray(0, 8));
    await assert.rejects(old.get(blob), failure("E_HASH", /deleted/));
    t.mock.restoreAll();
  }
});

test("a file is synced before it gets its name", async (t) => {
  const events = await traceFiles(t);
  const b = bench(t, [{ body: BYTES.subarray(0, 8) }, rangeFrom(8)]);
  await b.get();
  const at = namedAt(events, b.target);
  assert.ok(at > 0);
  assert.deepEqual(unsyncedBefore(events, at), []);
});

test("a part that something else than a download changed is seen by its size", async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-part-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, "p");
  // Without a checksum only the size can tell.
  await using part = await PartialFile.open(file, { sizeBytes: 4 });
  await part.append(Buffer.from("abc"));
  await assert.rejects(part.finish(path.join(folder, "t"), "m"), failure("E_SIZE", /found 3, allowed 4/));
  assert.equal(existsSync(file), false);
  const stop = AbortSignal.abort(new Error("enough"));
  writeFileSync(file, "ab");
  await assert.rejects(PartialFile.open(file, { sizeBytes: 4 }, stop), /enough/);
  await using again = await PartialFile.open(file, { sizeBytes: 4 });
  assert.equal(again.lengthBytes, 2);
  await again.restart();
  assert.equal(again.lengthBytes, 0);
  await again.append(Buffer.from("wxyz"));
  await again.finish(path.join(folder, "t"), "m");
  assert.equal(readFileSync(path.join(folder, "t"), "utf8"), "wxyz");
});

test("a full disk is said as that, with the part kept", async (t) => {
  for (const code of ["ENOSPC", "EDQUOT", "EIO"]) {
    const b = bench(t, [{}]);
    const append = t.mock.method(PartialFile.prototype, "append", async () => {
      throw Object.assign(new Error("no room"), { code });
    });
    b.have(BYTES.subarray(0, 0));
    if (code === "EIO") await assert.rejects(b.get(), /no room/);
    else await assert.rejects(b.get(), failure("E_DISK_FULL", /set HF_HOME/));
    assert.equal(b.part(), "");
    append.mock.restore();
    t.mock.restoreAll();
  }
});

test("what a listing leaves open is asked by HEAD; what can't name a file is refused", async (t) => {
  const identify = async (file: HubFile, headers: Record<string, string>) => {
    const b = bench(t, [{ headers }]);
    try {
      return [await identifyBlob(file, b.options), b.methods] as const;
    } finally {
      t.mock.restoreAll();
    }
  };
  const { name } = LARGE;
  const [known, none] = await identify({ name, sizeBytes: 20, sha256: SHA, gitId: GIT }, {});
  assert.deepEqual([known, none], [{ name, sizeBytes: 20, id: SHA, sha256: SHA, gitId: undefined }, []]);
  const [small] = await identify({ name, sizeBytes: 20, gitId: GIT }, {});
  assert.deepEqual([small.id, small.gitId, small.sha256], [GIT, GIT, undefined]);
  const linked = { "x-linked-etag": `"${SHA}"`, "x-linked-size": "20", "content-length": "5", etag: '"page"' };
  assert.deepEqual(await identify({ name }, linked), [
    { name, sizeBytes: 20, id: SHA, sha256: SHA, etag: undefined },
    ["HEAD"],
  ]);
  const tagged = await identify({ name }, { etag: 'W/"tag"', "content-length": "5" });
  assert.deepEqual(tagged[0], { name, sizeBytes: 5, id: "tag", sha256: undefined, etag: "tag" });
  for (const etag of ["", '"."', '".."', '"a/b"', '"a\\b"', `"${"x".repeat(201)}"`]) {
    const headers = { "content-length": "5", ...(etag ? { etag } : {}) };
    await assert.rejects(identify({ name }, headers), failure("E_HUB_ANSWER", /usable ETag/), etag);
  }
  for (const length of [undefined, "-5", "1.5", "x", `${2 ** 53}`]) {
    const headers = { etag: '"tag"', ...(length === undefined ? {} : { "content-length": length }) };
    await assert.rejects(identify({ name }, headers), failure("E_HUB_ANSWER", /no size/), length);
  }
  assert.equal(resolvePath("o/m", "c1", "a b/ü?.x"), "/o/m/resolve/c1/a%20b/%C3%BC%3F.x");
});
