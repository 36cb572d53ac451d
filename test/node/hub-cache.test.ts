/** @file The hub's cache on this machine: names, links, the order in which things reach the disk, its lock, and what is whole in it. */
import assert from "node:assert/strict";
import fs, { promises } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { DeviceError, SolvayError } from "../../src/errors.ts";
import { acquireLock } from "../../src/node/disk/lock.ts";
import { hubCacheDir, hubHome, hubRepoDir, isCommit, isHubId, resolveHubModel } from "../../src/node/hub/cache.ts";
import { cachedModels } from "../../src/node/hub/cached-models.ts";
import type { Blob } from "../../src/node/hub/download.ts";
import { HubHttp } from "../../src/node/hub/http.ts";
import { listModel } from "../../src/node/hub/listing.ts";
import { findCached } from "../../src/node/hub/offline.ts";
import { Snapshot } from "../../src/node/hub/snapshot.ts";
import { namedAt, traceFiles, unsyncedBefore } from "./file-trace.ts";

const COMMIT = "0123456789".repeat(4);

function temporary(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(tmpdir(), "solvay-cache-"));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const put = (file: string, text: string) => {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
};

const blobOf = (name: string, id: string, sizeBytes: number): Blob => ({ name, id, sizeBytes });

test("ids, commits and places are those of huggingface_hub", () => {
  assert.ok(["o/m", "a.b-c_d/9", `${"o".repeat(96)}/${"m".repeat(96)}`].every(isHubId));
  const bad = [
    "m",
    "o/m/x",
    "/m",
    "o/",
    "o/..",
    "o/a..b",
    ".o/m",
    "o/-m",
    "o m/x",
    `${"o".repeat(97)}/m`,
    "o/m\n",
    "o\\m/x",
  ];
  assert.deepEqual(bad.filter(isHubId), []);
  assert.ok(isCommit(COMMIT));
  assert.deepEqual(
    [`${COMMIT}0`, COMMIT.slice(1), COMMIT.replace("0", "g"), COMMIT.replace("1", "A")].filter(isCommit),
    [],
  );
  assert.equal(hubHome({ HF_HOME: "/h", XDG_CACHE_HOME: "/x" }), "/h");
  assert.equal(hubHome({ XDG_CACHE_HOME: "/x" }), path.join("/x", "huggingface"));
  assert.equal(hubCacheDir({ HF_HOME: "/h" }), path.join("/h", "hub"));
  assert.equal(hubCacheDir({ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }), "/old");
  assert.equal(hubCacheDir({ HF_HUB_CACHE: "/new", HUGGINGFACE_HUB_CACHE: "/old" }), "/new");
  assert.equal(hubRepoDir("o/m", { HF_HUB_CACHE: "/c" }), path.join("/c", "models--o--m"));
});

test("a name leads to its commit's folder if that has an index; never out of the cache", async (t) => {
  const HF_HUB_CACHE = temporary(t);
  const env = { HF_HUB_CACHE };
  const repo = hubRepoDir("o/m", env);
  const snapshot = path.join(repo, "snapshots", COMMIT);
  put(path.join(repo, "refs", "main"), `${COMMIT}\n`);
  put(path.join(repo, "refs", "odd"), "../../elsewhere");
  put(path.join(HF_HUB_CACHE, "elsewhere", "model_index.json"), "{}");
  put(path.join(hubRepoDir("../m", env), "refs", "main"), COMMIT);
  put(path.join(hubRepoDir("../m", env), "snapshots", COMMIT, "model_index.json"), "{}");
  assert.equal(await resolveHubModel("o/m", { env }), undefined);
  fs.mkdirSync(path.join(snapshot, "model_index.json"), { recursive: true });
  assert.equal(await resolveHubModel("o/m", { env }), undefined, "a folder is no index");
  fs.rmdirSync(path.join(snapshot, "model_index.json"));
  put(path.join(snapshot, "model_index.json"), "{}");
  assert.equal(await resolveHubModel("o/m", { env }), snapshot);
  assert.equal(await resolveHubModel("o/m", { env, revision: COMMIT }), snapshot);
  for (const revision of ["odd", "other", "../refs/main", "..", COMMIT.replace("0", "f")]) {
    assert.equal(await resolveHubModel("o/m", { env, revision }), undefined, revision);
  }
  assert.equal(await resolveHubModel("../m", { env }), undefined);
});

test("blobs, links and their folders are on the disk before a name leads to them", async (t) => {
  const repo = path.join(temporary(t), "models--o--m");
  const events = await traceFiles(t);
  const snapshot = new Snapshot(repo, COMMIT, true);
  for (const name of ["a.json", "unet/w", "unet/deep/x"]) {
    const blob = blobOf(name, `id-${path.basename(name)}`, 3);
    put(`${snapshot.blobPath(blob)}.incomplete`, "abc");
    const { rename } = await import("node:fs/promises");
    await rename(`${snapshot.blobPath(blob)}.incomplete`, snapshot.blobPath(blob));
    assert.equal(await snapshot.publish(blob, true), true);
    assert.equal(
      fs.readlinkSync(snapshot.filePath(name)),
      path.relative(path.dirname(snapshot.filePath(name)), snapshot.blobPath(blob)),
    );
  }
  await snapshot.seal("refs/pr/1");
  const ref = path.join(repo, "refs", "refs", "pr", "1");
  assert.equal(fs.readFileSync(ref, "utf8"), COMMIT);
  const at = namedAt(events, ref);
  assert.equal(
    at,
    events.findLastIndex(({ what }) => what === "name"),
    "the ref is last",
  );
  assert.deepEqual(unsyncedBefore(events, at), []);
  assert.deepEqual(unsyncedBefore(events, events.length), [], "and the ref's own name is");
  const before = events.length;
  await new Snapshot(repo, COMMIT, true).seal(COMMIT);
  assert.deepEqual(
    events.slice(before).filter(({ what }) => what === "name"),
    [],
    "a commit needs no name",
  );
});

test("what need not be fetched: a blob, a link or file in place, a part; each by its size", async (t) => {
  const repo = temporary(t);
  const snapshot = new Snapshot(repo, COMMIT, true);
  const blob = blobOf("a", "one", 5);
  assert.equal(await snapshot.haveBytes(blob), 0);
  assert.equal(await snapshot.publish(blob, false), false);
  put(`${snapshot.blobPath(blob)}.incomplete`, "123");
  assert.equal(await snapshot.haveBytes(blob), 3);
  put(`${snapshot.blobPath(blob)}.incomplete`, "123456");
  assert.equal(await snapshot.haveBytes(blob), 0);
  put(snapshot.blobPath(blob), "1234");
  assert.equal(await snapshot.publish(blob, false), false, "a blob of another size");
  put(snapshot.blobPath(blob), "12345");
  assert.equal(await snapshot.haveBytes(blob), 5);
  assert.equal(await snapshot.publish(blob, false), true);
  // Of the same size, but another content: the link leads to another blob.
  const other = blobOf("a", "two", 5);
  assert.equal(await snapshot.haveBytes(other), 0);
  put(snapshot.blobPath(other), "abcde");
  assert.equal(await snapshot.publish(other, false), true);
  assert.equal(fs.readFileSync(snapshot.filePath("a"), "utf8"), "abcde");
  assert.equal(fs.readFileSync(snapshot.blobPath(blob), "utf8"), "12345");
});

test("without links a fresh blob moves, one that was there is copied; a system that refuses links is borne", async (t) => {
  const repo = temporary(t);
  const plain = new Snapshot(repo, COMMIT, false);
  const [fresh, there] = [blobOf("a", "one", 3), blobOf("b", "two", 3)];
  for (const blob of [fresh, there]) put(plain.blobPath(blob), "abc");
  await plain.publish(fresh, true);
  await plain.publish(there, false);
  assert.deepEqual(fs.readdirSync(path.join(repo, "blobs")), ["two"]);
  for (const name of ["a", "b"]) assert.ok(fs.lstatSync(plain.filePath(name)).isFile());
  assert.deepEqual(fs.readdirSync(plain.path), ["a", "b"], "nothing of another name stays");

  const refused = async (code: string, name: string) => {
    const { default: promises } = await import("node:fs/promises");
    const { syncBuiltinESMExports } = await import("node:module");
    t.mock.method(promises, "symlink", async () => {
      throw Object.assign(new Error("no links"), { code });
    });
    syncBuiltinESMExports();
    const blob = blobOf(name, name, 3);
    put(plain.blobPath(blob), "abc");
    try {
      return await new Snapshot(repo, COMMIT, true).publish(blob, true);
    } finally {
      t.mock.restoreAll();
      syncBuiltinESMExports();
    }
  };
  for (const code of ["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL"]) {
    assert.equal(await refused(code, code), true);
    assert.ok(fs.lstatSync(plain.filePath(code)).isFile());
  }
  await assert.rejects(refused("EROFS", "z"), /no links/);
});

test("the lock: process ids count on their own machine alone, a sign of life for a minute", async (t) => {
  const file = path.join(temporary(t), "locks", "x.lock");
  const gone = 2 ** 22 + 4321;
  const agoMs = (ms: number) => new Date(Date.now() - ms);
  /** Whether the lock is taken from such an owner, and how that one is called. */
  const taken = async (text: string, at = new Date()): Promise<string> => {
    put(file, text);
    fs.utimesSync(file, at, at);
    let owner = "";
    const onWait = (name: string) => {
      owner = name;
    };
    const stop = new AbortController();
    const reason = new Error("waited");
    const clock = {
      sleep: async () => {
        stop.abort(reason);
        throw new Error("the clock's");
      },
    };
    const lock = await acquireLock(file, { clock, signal: stop.signal, onWait }).catch((error: unknown) =>
      assert.equal(error, reason),
    );
    if (!lock) {
      assert.equal(fs.readFileSync(file, "utf8"), text, "it is left as it was");
      return owner;
    }
    await lock[Symbol.asyncDispose]();
    assert.equal(fs.existsSync(file), false);
    return "taken";
  };
  const owner = (pid: number, host = hostname(), key = "k") => JSON.stringify({ pid, host, key });
  assert.equal(await taken(owner(gone)), "taken");
  assert.equal(await taken(owner(process.pid)), "taken");
  assert.equal(await taken(owner(process.ppid)), `process ${process.ppid}`);
  for (const pid of [gone, process.pid, process.ppid]) {
    assert.equal(await taken(owner(pid, "elsewhere")), `process ${pid} on another machine`);
    assert.equal(await taken(owner(pid, "elsewhere"), agoMs(55_000)), `process ${pid} on another machine`);
    assert.equal(await taken(owner(pid, "elsewhere"), agoMs(61_000)), "taken");
  }
  assert.equal(await taken(owner(process.ppid), agoMs(61_000)), "taken");
  for (const text of ["torn", "null", "{}", '{"pid":"1","host":"h","key":"k"}', '{"pid":1,"host":"h"}']) {
    assert.equal(await taken(text), "another program", text);
    assert.equal(await taken(text, agoMs(61_000)), "taken", text);
  }
  // Somebody else's process: it runs, though we may not signal it.
  t.mock.method(process, "kill", () => {
    throw Object.assign(new Error("not yours"), { code: "EPERM" });
  });
  assert.equal(await taken(owner(gone)), `process ${gone}`);
});

test("a lock that is held shows life, keeps others out, and its end takes away no other's", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const file = path.join(temporary(t), "x.lock");
  const stop = new AbortController();
  let sleeps = 0;
  const clock = {
    sleep: async (ms: number) => {
      sleeps += ms;
      if (sleeps > 1000) stop.abort(new Error("waited"));
    },
  };
  const waits: string[] = [];
  const options = { clock, onWait: (name: string) => void waits.push(name) };
  const mine = await acquireLock(file, options);
  await assert.rejects(acquireLock(file, { ...options, signal: stop.signal }), /waited/);
  assert.deepEqual(waits, [`process ${process.pid}`], "told once");
  const old = new Date(Date.now() - 50_000);
  fs.utimesSync(file, old, old);
  t.mock.timers.tick(5000);
  for (let tries = 0; fs.statSync(file).mtimeMs < Date.now() - 40_000; tries++) {
    assert.ok(tries < 1000, "no beat came");
    await new Promise((resolve) => setImmediate(resolve));
  }
  put(file, JSON.stringify({ pid: 1, host: "elsewhere", key: "theirs" }));
  await mine[Symbol.asyncDispose]();
  assert.match(fs.readFileSync(file, "utf8"), /theirs/);
  await assert.rejects(acquireLock(file, { ...options, signal: AbortSignal.abort(new Error("before")) }), /before/);
});

test("offline: what there is, whole or not, and which variable says so", async (t) => {
  const env = { HF_HUB_CACHE: temporary(t) };
  const repo = hubRepoDir("o/m", env);
  const snapshot = path.join(repo, "snapshots", COMMIT);
  put(path.join(repo, "refs", "main"), COMMIT);
  put(path.join(snapshot, "model_index.json"), "{}");
  put(path.join(snapshot, "unet", "w"), "12345");
  fs.symlinkSync("nowhere", path.join(snapshot, "broken"));
  const seen: [string, unknown][] = [];
  const ask = (files: string[], fail?: Error) =>
    findCached("o/m", {
      ...{ env, revision: "main", variant: "fp16", offlineBy: "HF_HUB_OFFLINE" },
      choose: async (listing, { variant }) => {
        seen.push([
          variant,
          [
            listing.has("unet/w"),
            listing.has("broken"),
            listing.has("unet"),
            await listing.readText("model_index.json"),
          ],
        ]);
        if (fail) throw fail;
        return { files };
      },
    });
  assert.deepEqual(await ask(["model_index.json", "unet/w"]), {
    path: snapshot,
    commit: COMMIT,
    files: 2,
    totalBytes: 7,
  });
  assert.deepEqual(seen, [["fp16", [true, false, false, "{}"]]]);
  const fields = { subject: "x", problem: "y", next: "z" };
  const refused = (words: RegExp) => (error: unknown) =>
    error instanceof DeviceError && error.code === "E_OFFLINE" && words.test(error.message);
  await assert.rejects(
    ask([], new SolvayError({ code: "E_MISSING", ...fields })),
    refused(/HF_HUB_OFFLINE is set.*is not complete \(x: y\).*unset HF_HUB_OFFLINE/),
  );
  await assert.rejects(ask([], new SolvayError({ code: "E_NOT_SDXL", ...fields })), refused(/can't be used \(x: y\)/));
  await assert.rejects(ask([], new TypeError("ours")), TypeError);
});

test("what lies in the cache is listed by its id, with what keeps it from being opened; what is no model isn't", async (t) => {
  const env = { HF_HUB_CACHE: temporary(t) };
  assert.deepEqual(await cachedModels({ HF_HUB_CACHE: path.join(env.HF_HUB_CACHE, "none") }), []);
  const index = (folder: string) => path.join(env.HF_HUB_CACHE, folder, "snapshots", COMMIT, "model_index.json");
  const add = (folder: string, text: string, commit = COMMIT) => {
    put(path.join(env.HF_HUB_CACHE, folder, "refs", "main"), commit);
    put(index(folder), text);
  };
  const sdxl = '{"_class_name": "StableDiffusionXLPipeline"}';
  add("models--o--z--z", sdxl);
  add("models--o--a-b", '{"_class_name":"FluxPipeline"}');
  add("models--o--odd", "{}");
  add("models--o--huge", sdxl);
  fs.truncateSync(index("models--o--huge"), 2 ** 20 + 1);
  add("models--o--most", sdxl.padEnd(2 ** 20));
  add("models--o--elsewhere", sdxl, COMMIT.replace("0", "1"));
  add("models--single", sdxl);
  add("datasets--o--d", sdxl);
  put(path.join(env.HF_HUB_CACHE, "models--o--file"), "");
  fs.mkdirSync(path.join(env.HF_HUB_CACHE, "models--o--empty"));
  const other = "this is a model of another family";
  assert.deepEqual(await cachedModels(env), [
    { id: "o/a-b", problem: "this is FluxPipeline" },
    { id: "o/huge", problem: other },
    { id: "o/most" },
    { id: "o/odd", problem: other },
    { id: "o/z--z" },
  ]);
});

test("a listing: sizes and checksums of the large storage first, git's id only of what is in git", async (t) => {
  const [sha, git] = ["a".repeat(64), "b".repeat(40)];
  const list = async (siblings: unknown, revision = "main", sha1: unknown = COMMIT) => {
    t.mock.restoreAll();
    const asked: string[] = [];
    t.mock.method(globalThis, "fetch", async (url: URL) => {
      asked.push(url.href);
      return new Response(JSON.stringify({ sha: sha1, siblings }));
    });
    const http = new HubHttp({ endpoint: "https://hub.example", symlinks: true, stallMs: 1000 });
    const { commit, files } = await listModel(http, "o/m", revision);
    assert.equal(asked[0], `https://hub.example/api/models/o/m/revision/${encodeURIComponent(revision)}?blobs=true`);
    assert.equal(commit, COMMIT);
    return [...files.values()].map(({ sizeBytes, sha256, gitId }) => [sizeBytes, sha256, gitId]);
  };
  const rows = await list(
    [
      { rfilename: "a", size: 5, blobId: git },
      { rfilename: "b", size: 130, blobId: git, lfs: { size: 9, sha256: sha } },
      { rfilename: "c", size: 7, blobId: git, lfs: { oid: sha } },
      { rfilename: "d", blobId: git, lfs: {} },
      { rfilename: "e", size: -1, blobId: "short", lfs: null },
      { rfilename: "f", size: 1.5, lfs: { size: 2 ** 60, sha256: sha.toUpperCase() } },
    ],
    "refs/pr/1",
  );
  assert.deepEqual(rows, [
    [5, undefined, git],
    [9, sha, undefined],
    [7, sha, undefined],
    [undefined, undefined, undefined],
    [undefined, undefined, undefined],
    [undefined, undefined, undefined],
  ]);
  const code = (work: Promise<unknown>) =>
    work.then(
      () => "",
      (error: SolvayError) => error.code,
    );
  assert.equal(await code(list([], COMMIT)), "");
  assert.equal(await code(list([], COMMIT.replace("0", "1"))), "E_HUB_LISTING");
  assert.equal(await code(list([], "main", COMMIT.slice(1))), "E_HUB_LISTING");
  assert.equal(await code(list([{ size: 1 }])), "E_HUB_NAME");
  assert.equal(await code(list([{ rfilename: "x".repeat(1025) }])), "E_HUB_NAME");
  assert.equal(await code(list([{ rfilename: "x".repeat(1024) }])), "");
  assert.equal(await code(list([{ rfilename: "a\u007f" }])), "E_HUB_NAME");
  assert.equal(await code(list(new Array(100_001).fill({ rfilename: "a" }))), "E_HUB_LISTING");
});

test("a lock that another program took in the moment before its removal is put back", async (t) => {
  const file = path.join(temporary(t), "x.lock");
  const theirs = JSON.stringify({ pid: 1, host: "elsewhere", key: "theirs" });
  const mine = await acquireLock(file, { clock: { sleep: async () => {} }, onWait: () => {} });
  const { rename } = promises;
  let renames = 0;
  t.mock.method(promises, "rename", async (from: string, to: string) => {
    if (renames++ === 0) fs.writeFileSync(file, theirs);
    await rename(from, to);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  await mine[Symbol.asyncDispose]();
  assert.equal(renames, 2);
  assert.equal(fs.readFileSync(file, "utf8"), theirs);
  assert.deepEqual(fs.readdirSync(path.dirname(file)), ["x.lock"]);
});
