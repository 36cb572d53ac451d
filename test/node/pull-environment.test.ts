/** @file What a pull takes from its surroundings: tokens, endpoints, offline, paths, a cache and a disk that can't be written. */
import assert from "node:assert/strict";
import { existsSync, lstatSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import fsPromises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { DeviceError } from "../../src/errors.ts";
import { hubRepoDir } from "../../src/node/hub/cache.ts";
import { MODEL } from "./fake-hub.ts";
import {
  assertWhole,
  bench,
  bytesOf,
  distinct,
  failure,
  type Handle,
  handles,
  SMALL,
  UNET,
  VAE,
} from "./pull-bench.ts";

test("the token goes to the hub alone, comes from the known places, and is in no message", async (t) => {
  const b = await bench(t);
  const token = "hf_verysecret";
  writeFileSync(path.join(b.env.HF_HOME!, "token"), `${token}\n`);
  await b.pull();
  const by = (server: string) => new Set(b.hub.requests.filter((r) => r.server === server).map((r) => r.authorization));
  assert.deepEqual([...by("hub")], [`Bearer ${token}`]);
  assert.deepEqual([...by("storage")], [undefined]);

  b.hub.requests.length = 0;
  await b.pull({ env: { ...b.env, HF_TOKEN: "hf_other" } });
  assert.deepEqual([...by("hub")], ["Bearer hf_other"]);
  b.hub.requests.length = 0;
  await b.pull({ env: { ...b.env, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" } });
  assert.deepEqual([...by("hub")], [undefined]);

  const notToken = { ...b.env, HF_TOKEN: `${token}\nX-Header: 1` };
  await assert.rejects(
    b.pull({ env: notToken }),
    (error) => failure("E_HUB_TOKEN")(error) && !String(error).includes(token),
  );
  b.hub.fault = (_, response) => Boolean(response.writeHead(401).end());
  await assert.rejects(b.pull(), (error) => failure("E_HUB_AUTH", /token/)(error) && !String(error).includes(token));
  assert.equal(JSON.stringify(b.events).includes(token), false);
});

test("a token is not sent over plain http, and redirects neither loop nor leave https", async (t) => {
  const b = await bench(t);
  const asked: Headers[] = [];
  const answer = (status: number, location: string) =>
    t.mock.method(globalThis, "fetch", async (_: URL, init: RequestInit) => {
      asked.push(new Headers(init.headers));
      return new Response(null, { status, headers: { location } });
    });
  answer(404, "");
  const plain = { ...b.env, HF_ENDPOINT: "http://mirror.example", HF_TOKEN: "hf_x" };
  await assert.rejects(b.pull({ env: plain }), failure("E_HUB_NOT_FOUND"));
  assert.equal(asked[0]?.has("authorization"), false);
  assert.ok(b.events.some((e) => e.type === "note" && e.text.includes("not https")));

  const env = { ...b.env, HF_ENDPOINT: "https://mirror.example", HF_TOKEN: "hf_x" };
  for (const location of ["/again", "http://mirror.example/x", "file:///etc/passwd"]) {
    t.mock.restoreAll();
    answer(302, location);
    asked.length = 0;
    await assert.rejects(b.pull({ env }), failure("E_HUB_REDIRECT"));
    assert.ok(asked.length <= 6 && asked[0]?.get("authorization") === "Bearer hf_x");
  }
  t.mock.restoreAll();
  answer(302, "https://huggingface.co.evil.example/x");
  await assert.rejects(
    b.pull({ env: { ...env, HF_ENDPOINT: "https://huggingface.co" } }),
    failure("E_HUB_REDIRECT", /foreign/),
  );
});

test("offline: what is whole in the cache is named, the rest refused, and nothing asked for", async (t) => {
  const b = await bench(t);
  await assert.rejects(
    b.pull({ env: { ...b.env, HF_HUB_OFFLINE: "1" } }),
    failure("E_OFFLINE", /HF_HUB_OFFLINE.*not in/),
  );
  assert.equal(b.hub.requests.length, 0);
  await b.pull();
  b.hub.requests.length = 0;
  const env = { ...b.env, TRANSFORMERS_OFFLINE: "YES" };
  const done = await b.pull({ env });
  assert.deepEqual([done.online, done.files, done.downloadedBytes], [false, SMALL.size, 0]);
  unlinkSync(b.blob(VAE));
  await assert.rejects(b.pull({ env }), failure("E_OFFLINE", /not complete \(.*vae/));
  assert.equal(b.hub.requests.length, 0);
});

/** Lets every call that would write below `folder` fail, as on a disk that is mounted so. */
function mountReadOnly(t: TestContext, folder: string): void {
  const refuse = (name: string) => Object.assign(new Error(name), { code: "EROFS", syscall: name });
  for (const name of ["mkdir", "writeFile", "rename", "unlink", "symlink", "copyFile", "utimes"] as const) {
    const original = fsPromises[name] as (...args: unknown[]) => Promise<unknown>;
    const mocked = async (...args: unknown[]) => {
      if (args.some((arg) => typeof arg === "string" && arg.startsWith(folder))) throw refuse(name);
      return await original(...args);
    };
    t.mock.method(fsPromises, name, mocked as never);
  }
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
}

test("a whole model in a cache that can't be written is pulled; one that isn't whole says where to write", async (t) => {
  const b = await bench(t);
  await b.pull();
  mountReadOnly(t, b.env.HF_HOME!);
  const { path: found, downloadedBytes, online } = await b.pull();
  assert.deepEqual([found, downloadedBytes, online], [path.join(b.repo, "snapshots", b.hub.commit), 0, true]);
  rmSync(b.blob(VAE));
  const refused = failure("E_CACHE_READ_ONLY", /can't be written.*Next: set HF_HOME/);
  await assert.rejects(b.pull(), refused);
  await assert.rejects(b.pull({ env: { ...b.env, HF_HOME: path.join(b.env.HF_HOME!, "new") } }), refused);
});

test("paths from the environment are expanded as the hub client expands them", () => {
  const env = { HOME: "/home/u", USERPROFILE: "/home/u", DISK: "/disk" };
  const cases: [Record<string, string>, string][] = [
    [{}, "/home/u/.cache/huggingface/hub"],
    [{ HF_HOME: "~/hf" }, "/home/u/hf/hub"],
    [{ HF_HOME: "~" }, "/home/u/hub"],
    [{ HF_HOME: "~other/hf" }, "~other/hf/hub"],
    [{ HF_HOME: "$DISK/hf" }, "/disk/hf/hub"],
    [{ XDG_CACHE_HOME: "~/cache" }, "/home/u/cache/huggingface/hub"],
    [{ HF_HUB_CACHE: "~/models", HF_HOME: "/x" }, "/home/u/models"],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a shell's variable
    [{ HUGGINGFACE_HUB_CACHE: "${DISK}/m$NONE" }, "/disk/m$NONE"],
  ];
  for (const [given, wanted] of cases) {
    assert.equal(hubRepoDir(MODEL, { ...env, ...given }), path.join(wanted, "models--someone--tiny-sdxl"));
  }
});

test("a full disk is seen before the pull, and named during it", async (t) => {
  const b = await bench(t);
  const freeBytes = async () => 1_000_000;
  await assert.rejects(b.pull({ freeBytes }), failure("E_DISK_FULL", /needs \d+ MB, 1 MB are free/));
  const [first, ...others] = b.hub.fetched();
  assert.deepEqual(others, []);
  // What is not here yet, each content once, and 64 MiB for everything else on the disk.
  const needed = bytesOf(distinct(SMALL), SMALL) - SMALL.get(first!)!.length + 64 * 2 ** 20;
  await assert.rejects(b.pull({ freeBytes: async () => needed - 1 }), failure("E_DISK_FULL", /needs/));
  assert.deepEqual(b.hub.fetched(), [first]);

  const write = handles.write;
  t.mock.method(handles, "write", function (this: Handle, ...args: Parameters<typeof write>) {
    const position = (args as unknown as number[])[3] ?? 0;
    if (position < 100_000) return write.apply(this, args);
    return Promise.reject(Object.assign(new Error("no space"), { code: "ENOSPC" }));
  });
  const pull = b.pull({ freeBytes: async () => needed });
  await assert.rejects(pull, failure("E_DISK_FULL", /goes on where it stopped/));
  t.mock.restoreAll();
  assert.ok(statSync(`${b.blob(UNET)}.incomplete`).size > 0);
  await b.pull();
  assertWhole(b);
});

test("without links real files are put into the snapshot, once", async (t) => {
  const b = await bench(t);
  const env = { ...b.env, HF_HUB_DISABLE_SYMLINKS: "1" };
  await b.pull({ env });
  const snapshot = path.join(b.repo, "snapshots", b.hub.commit);
  assert.equal(lstatSync(path.join(snapshot, UNET)).isFile(), true);
  assert.equal(existsSync(b.blob(UNET)), false);
  assert.equal((await b.pull({ env })).downloadedBytes, 0);
  assertWhole(b);
});

test("nothing listening there is said at once", async (t) => {
  const b = await bench(t);
  const env = { ...b.env, HF_ENDPOINT: "http://127.0.0.1:1" };
  await assert.rejects(b.pull({ env }), (error) => failure("E_NETWORK")(error) && error instanceof DeviceError);
});
