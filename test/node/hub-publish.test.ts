/** @file What the hub's cache holds after something went wrong at the last moment; names with slashes; locks that name no one. */
import assert from "node:assert/strict";
import fs from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { chooseModelFiles } from "../../src/models/families.ts";
import { acquireLock } from "../../src/node/disk/lock.ts";
import { isRevision, resolveHubModel } from "../../src/node/hub/cache.ts";
import { pullFromHub } from "../../src/node/hub/pull.ts";
import { Snapshot } from "../../src/node/hub/snapshot.ts";
import { MODEL } from "./fake-hub.ts";
import { bench, failure } from "./pull-bench.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

function temporary(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(tmpdir(), "solvay-publish-"));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("a file whose place can't be had leaves nothing of another name, and what was fetched stays", async (t) => {
  for (const links of [true, false]) {
    for (const fresh of [true, false]) {
      const snapshot = new Snapshot(temporary(t), COMMIT, links);
      const blob = { name: "unet/w", id: "one", sizeBytes: 3 };
      fs.mkdirSync(path.dirname(snapshot.blobPath(blob)), { recursive: true });
      fs.writeFileSync(snapshot.blobPath(blob), "abc");
      // A folder with something in it can't be replaced by a file.
      fs.mkdirSync(path.join(snapshot.filePath(blob.name), "x"), { recursive: true });
      await assert.rejects(snapshot.publish(blob, fresh), { syscall: "rename" });
      assert.deepEqual(fs.readdirSync(path.join(snapshot.path, "unet")), ["w"]);
      assert.equal(fs.readFileSync(snapshot.blobPath(blob), "utf8"), "abc");
    }
  }
});

test("a revision with slashes is found where a pull has put it, offline, too; one that leads elsewhere is none", async (t) => {
  const b = await bench(t);
  const revision = "refs/pr/1";
  const { path: snapshot } = await b.pull({ revision });
  assert.equal(fs.readFileSync(path.join(b.repo, "refs/refs/pr/1"), "utf8"), b.hub.commit);
  assert.equal(await resolveHubModel(MODEL, { env: b.env, revision }), snapshot);
  const asked = b.hub.requests.length;
  const offline = await b.pull({ revision, env: { ...b.env, HF_HUB_OFFLINE: "1" } });
  assert.deepEqual([offline.path, offline.online, b.hub.requests.length], [snapshot, false, asked]);
  assert.equal(await resolveHubModel(MODEL, { env: b.env, revision: "refs/pr/2" }), undefined);
  fs.writeFileSync(path.join(b.repo, "outside"), b.hub.commit);
  for (const odd of ["refs/../../outside", "../outside", "a//b", "a/", "/a", "a/./b", "", "-a", "a\\b", "a b"]) {
    assert.equal(isRevision(odd), false, odd);
    assert.equal(await resolveHubModel(MODEL, { env: b.env, revision: odd }), undefined, odd);
    const asking = pullFromHub(MODEL, { env: b.env, revision: odd, choose: chooseModelFiles });
    await assert.rejects(asking, failure("E_USAGE"), odd);
  }
});

test("a lock without a key is known by its text: another program's, which comes in that moment, stays", async (t) => {
  const file = path.join(temporary(t), "x.lock");
  fs.writeFileSync(file, "one program's");
  fs.utimesSync(file, 1, 1);
  const { stat } = promises;
  t.mock.method(promises, "stat", async (...args: Parameters<typeof stat>) => {
    const info = await stat(...args);
    if (args[0] === file) fs.writeFileSync(file, "another program's");
    return info;
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  const stop = new AbortController();
  const onWait = (owner: string) => stop.abort(new Error(owner));
  const clock = { sleep: async () => {} };
  await assert.rejects(acquireLock(file, { clock, signal: stop.signal, onWait }), { message: "another program" });
  assert.deepEqual(fs.readdirSync(path.dirname(file)), ["x.lock"]);
  assert.equal(fs.readFileSync(file, "utf8"), "another program's");
});

test("a lock that was moved aside and left goes once it shows no life; what is no such file stays", async (t) => {
  const file = path.join(temporary(t), "x.lock");
  const asides = ["0", "1"].map((digit) => `${file}.0123456${digit}-0123-0123-0123-0123456789ab`);
  const others = [`${file}.notes`, `${file}.0123`, `${file}2.01234567-0123-0123-0123-0123456789ab`];
  const old = new Date(Date.now() - 61_000);
  for (const each of [...asides, ...others]) {
    fs.writeFileSync(each, "{}");
    fs.utimesSync(each, old, old);
  }
  fs.utimesSync(asides[1]!, new Date(), new Date());
  const lock = await acquireLock(file, { clock: { sleep: async () => {} }, onWait: () => {} });
  const left = [...asides.slice(1), ...others, file].map((each) => path.basename(each));
  assert.deepEqual(fs.readdirSync(path.dirname(file)).toSorted(), left.toSorted());
  await lock[Symbol.asyncDispose]();
});
