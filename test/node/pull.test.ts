/** @file `solvay pull` against a hub on this machine: what it fetches, how it goes on, and all it must not believe. */
import assert from "node:assert/strict";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import fsPromises, { open } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { before, mock, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { DeviceError, SolvayError } from "../../src/errors.ts";
import type { PullEvent } from "../../src/library/pull-events.ts";
import { chooseModelFiles } from "../../src/models/families.ts";
import { hubRepoDir, resolveHubModel } from "../../src/node/hub/cache.ts";
import { isSafeName } from "../../src/node/hub/listing.ts";
import { type HubPullOptions, pullFromHub } from "../../src/node/hub/pull.ts";
import type { FileListing } from "../../src/source/listing.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { fakeContext } from "./fake-context.ts";
import { type FakeHub, type Fault, gitId, MODEL, readFolder, sha256, startHub } from "./fake-hub.ts";

const DEMO = readFolder(fileURLToPath(new URL("../../models/demo", import.meta.url)));
const UNET = "unet/diffusion_pytorch_model.fp16.safetensors";
const VAE = "vae/diffusion_pytorch_model.fp16.safetensors";

/** The demo's real files, but weights of a few KB: the checks are the same. */
const SMALL = new Map([...DEMO].map(([name, bytes]) => [name, bytes.subarray(0, name === UNET ? 300_000 : 40_000)]));

/** Names of files with contents of their own: one content is one blob, and is fetched once. */
const distinct = (files: ReadonlyMap<string, Buffer>) => {
  const names = new Map<string, string>();
  for (const [name, bytes] of [...files].sort().reverse()) names.set(sha256(bytes), name);
  return [...names.values()].sort();
};
const bytesOf = (names: readonly string[], files: ReadonlyMap<string, Buffer>) =>
  names.reduce((sum, name) => sum + files.get(name)!.length, 0);

type Handle = Awaited<ReturnType<typeof open>>;
let handles: Handle;
const syncs = mock.fn(async () => {});

/** Syncing is counted, not done: on a busy disk it takes most of the time, and no power fails here. */
before(async () => {
  const file = await open(fileURLToPath(import.meta.url));
  handles = Object.getPrototypeOf(file) as Handle;
  await file.close();
  handles.sync = syncs;
});

interface Bench {
  readonly hub: FakeHub;
  readonly env: Record<string, string>;
  readonly events: PullEvent[];
  readonly pull: (options?: Partial<HubPullOptions>) => ReturnType<typeof pullFromHub>;
  readonly repo: string;
  readonly blob: (name: string) => string;
}

async function bench(t: TestContext, files = SMALL): Promise<Bench> {
  const hub = await startHub(new Map(files));
  const home = mkdtempSync(path.join(tmpdir(), "solvay-pull-"));
  t.after(async () => {
    await hub[Symbol.asyncDispose]();
    rmSync(home, { recursive: true, force: true });
  });
  const env: Record<string, string> = { HF_HOME: home, HF_ENDPOINT: hub.endpoint };
  const events: PullEvent[] = [];
  const repo = hubRepoDir(MODEL, env);
  return {
    hub,
    env,
    events,
    repo,
    pull: (options) =>
      pullFromHub(MODEL, {
        env,
        choose: chooseModelFiles,
        onEvent: (e) => events.push(e),
        clock: { sleep: async () => {} },
        ...options,
      }),
    blob: (name) => path.join(repo, "blobs", sha256(hub.files.get(name)!)),
  };
}

/** Applies `fault` to the first `times` requests for the bytes of `name`. */
function faulty(name: string, times: number, answer: (...args: Parameters<Fault>) => void): Fault {
  let left = times;
  return (request, response, file) => {
    const hit =
      file === name && request.method === "GET" && (request.server === "storage" || !isStored(file)) && left-- > 0;
    if (hit) answer(request, response, file);
    return hit;
  };
}
const isStored = (name: string) => name.endsWith(".safetensors");

const failure =
  (code: string, words = /./) =>
  (error: unknown) => {
    assert.ok(error instanceof SolvayError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
    return true;
  };

const rangesOf = (hub: FakeHub, name: string) =>
  hub.requests.filter((r) => r.server === "storage" && r.path.includes(name)).map((r) => r.range);

/** No part, no lock, and every file of the snapshot as the hub has it. */
function assertWhole({ hub, repo }: Bench): void {
  assert.deepEqual(
    readdirSync(path.dirname(repo), { recursive: true, encoding: "utf8" }).filter((n) => /incomplete|\.lock$/.test(n)),
    [],
  );
  const snapshot = readFolder(path.join(repo, "snapshots", hub.commit));
  assert.deepEqual([...snapshot.keys()].sort(), [...hub.files.keys()].sort());
  for (const [name, bytes] of snapshot) assert.ok(bytes.equals(hub.files.get(name)!), name);
}

test("a fresh pull lays out the cache as huggingface_hub does, and the model opens", async (t) => {
  const b = await bench(t, DEMO);
  const synced = syncs.mock.callCount();
  const done = await b.pull();
  assert.ok(syncs.mock.callCount() - synced >= distinct(DEMO).length, "each file is synced before it gets its name");
  const snapshot = path.join(b.repo, "snapshots", b.hub.commit);
  assert.equal(done.path, snapshot);
  assert.equal(done.files, DEMO.size);
  assert.equal(done.downloadedBytes, bytesOf(distinct(DEMO), DEMO));
  assert.equal(readFileSync(path.join(b.repo, "refs", "main"), "utf8"), b.hub.commit);
  assert.equal(lstatSync(path.join(snapshot, UNET)).isSymbolicLink(), true);
  const config = DEMO.get("unet/config.json")!;
  assert.ok(readFileSync(path.join(b.repo, "blobs", gitId(config))).equals(config));
  assert.ok(readFileSync(b.blob(UNET)).equals(DEMO.get(UNET)!));
  assertWhole(b);

  const resolved = await resolveHubModel(MODEL, { env: b.env });
  assert.equal(resolved, snapshot);
  await using checkpoint = await openSdxlFolder(resolved!);
  assert.ok(checkpoint.components.get("unet")!.table.size > 0);
});

test("a second pull fetches nothing", async (t) => {
  const b = await bench(t);
  await b.pull();
  b.hub.requests.length = 0;
  const done = await b.pull();
  assert.equal(done.downloadedBytes, 0);
  assert.deepEqual(
    b.hub.requests.map((r) => r.path.replace(/\?.*/, "")),
    [`/api/models/${MODEL}/revision/main`],
  );
});

test("what no SDXL needs stays on the hub; a plain variant is taken where there is no fp16", async (t) => {
  const plain = "vae/diffusion_pytorch_model.safetensors";
  const other = ["README.md", "unet/model.onnx", "unet/diffusion_pytorch_model.bin", "sd_xl_base_1.0.safetensors"];
  const files = new Map(SMALL);
  for (const name of [...other, "unet/diffusion_pytorch_model.safetensors", "text_encoder/flax_model.msgpack"]) {
    files.set(name, Buffer.from(name));
  }
  files.set(plain, files.get(VAE)!);
  files.delete(VAE);
  const b = await bench(t, files);
  await b.pull();
  const wanted = distinct(SMALL).filter((name) => name !== VAE);
  assert.deepEqual(b.hub.fetched().sort(), [...wanted, plain].sort());
  await assert.rejects(b.pull({ variant: "fp16" }), failure("E_MISSING", /vae\/diffusion_pytorch_model\.fp16/));
  await assert.rejects(b.pull({ variant: "none" }), failure("E_MISSING", /text_encoder\/model\.safetensors/));
});

test("shards are those their index names", async (t) => {
  const files = new Map(SMALL);
  const [one, two] = ["diffusion_pytorch_model-00001-of-00002.fp16.safetensors", "second.fp16.safetensors"];
  const index = "unet/diffusion_pytorch_model.safetensors.index.fp16.json";
  files.delete(UNET);
  files.set(index, Buffer.from(JSON.stringify({ weight_map: { a: one, b: two, c: one } })));
  files.set(`unet/${one}`, Buffer.from("one")).set(`unet/${two}`, Buffer.from("two"));
  const b = await bench(t, files);
  await b.pull();
  assertWhole(b);

  b.hub.files.set(index, Buffer.from(JSON.stringify({ weight_map: { a: "../../evil.safetensors" } })));
  await assert.rejects(b.pull(), failure("E_SHARD_INDEX", /evil/));
});

test("a part is gone on with by Range, and its old bytes are checked too", async (t) => {
  const b = await bench(t);
  const unet = b.hub.files.get(UNET)!;
  mkdirSync(path.join(b.repo, "blobs"), { recursive: true });
  writeFileSync(`${b.blob(UNET)}.incomplete`, unet.subarray(0, 100_000));
  const done = await b.pull();
  assert.deepEqual(rangesOf(b.hub, UNET), ["bytes=100000-"]);
  assert.ok(b.events.some((e) => e.type === "file" && e.file === UNET && e.haveBytes === 100_000));
  assert.equal(done.downloadedBytes, bytesOf(distinct(SMALL), SMALL) - 100_000);
  assertWhole(b);

  rmSync(b.repo, { recursive: true });
  mkdirSync(path.join(b.repo, "blobs"), { recursive: true });
  writeFileSync(`${b.blob(UNET)}.incomplete`, Buffer.alloc(100_000));
  await assert.rejects(b.pull(), failure("E_HASH", /deleted/));
  assert.equal(existsSync(`${b.blob(UNET)}.incomplete`), false);
  assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
  await b.pull();
  assertWhole(b);
});

test("a part that is whole is only checked; one that is too long is begun anew", async (t) => {
  const b = await bench(t);
  mkdirSync(path.join(b.repo, "blobs"), { recursive: true });
  writeFileSync(`${b.blob(UNET)}.incomplete`, b.hub.files.get(UNET)!);
  writeFileSync(`${b.blob(VAE)}.incomplete`, Buffer.alloc(50_000));
  await b.pull();
  assert.deepEqual([rangesOf(b.hub, UNET), rangesOf(b.hub, VAE)], [[], [undefined]]);
  assertWhole(b);
});

test("servers without ranges, with 416 or with another range make it begin anew", async (t) => {
  const b = await bench(t);
  const cases: [string, () => void][] = [
    [
      "200",
      () => {
        b.hub.ranges = false;
      },
    ],
    [
      "416",
      () => {
        b.hub.fault = faulty(UNET, 1, (_, response) => response.writeHead(416).end());
      },
    ],
    [
      "206",
      () => {
        const wrong = { "Content-Range": "bytes 0-9/300000" };
        b.hub.fault = faulty(UNET, 1, (_, response) => response.writeHead(206, wrong).end("0123456789"));
      },
    ],
  ];
  for (const [name, prepare] of cases) {
    rmSync(b.repo, { recursive: true, force: true });
    mkdirSync(path.join(b.repo, "blobs"), { recursive: true });
    writeFileSync(`${b.blob(UNET)}.incomplete`, Buffer.alloc(1000));
    b.hub.ranges = true;
    prepare();
    b.hub.requests.length = 0;
    await b.pull();
    assert.equal(rangesOf(b.hub, UNET)[0], "bytes=1000-", name);
    assertWhole(b);
  }
});

test("a body that ends too early is gone on with", async (t) => {
  const b = await bench(t);
  const unet = b.hub.files.get(UNET)!;
  b.hub.fault = faulty(UNET, 1, (_, response) => {
    response.writeHead(200, { "Content-Length": unet.length });
    response.write(unet.subarray(0, 120_000), () => response.destroy());
  });
  await b.pull();
  const ranges = rangesOf(b.hub, UNET);
  assert.equal(ranges.length, 2);
  assert.match(ranges[1] ?? "", /^bytes=[1-9]\d*-$/);
  assert.ok(b.events.some((e) => e.type === "retry"));
  assertWhole(b);
});

test("a body that always ends too early is given up, and its part kept", async (t) => {
  const b = await bench(t);
  const unet = b.hub.files.get(UNET)!;
  b.hub.fault = faulty(UNET, 99, ({ range }, response) => {
    const from = Number(/\d+/.exec(range ?? "0")![0]);
    const headers = { "Content-Length": unet.length - from, "Content-Range": `bytes ${from}-299999/300000` };
    response.writeHead(from > 0 ? 206 : 200, headers);
    response.write(unet.subarray(from, from + 10), () => response.destroy());
  });
  await assert.rejects(b.pull(), failure("E_NETWORK", /goes on where it stopped/));
  const part = readFileSync(`${b.blob(UNET)}.incomplete`);
  assert.ok(part.length > 0 && part.equals(unet.subarray(0, part.length)));
  assert.equal(existsSync(b.blob(UNET)), false);
  assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
});

test("a wrong file is deleted, whatever is wrong with it", async (t) => {
  const b = await bench(t);
  const size = b.hub.files.get(UNET)!.length;
  const cases: [string, string, Fault][] = [
    ["E_HASH", UNET, faulty(UNET, 1, (_, response) => response.end(Buffer.alloc(size)))],
    [
      "E_HASH",
      "vae/config.json",
      faulty("vae/config.json", 1, (_, r) => r.end(Buffer.alloc(SMALL.get("vae/config.json")!.length))),
    ],
    [
      "E_SIZE",
      UNET,
      faulty(UNET, 1, (_, response) => {
        response.write(Buffer.alloc(size));
        response.end("more");
      }),
    ],
    ["E_HUB_CHANGED", UNET, faulty(UNET, 1, (_, response) => response.end("short"))],
    ["E_HUB_CHANGED", UNET, faulty(UNET, 1, (_, r) => r.writeHead(200, { "Content-Type": "text/html" }).end("<html>"))],
    [
      "E_HUB_CHANGED",
      UNET,
      (request, response, name) => {
        if (request.server !== "hub" || name !== UNET) return false;
        const headers = { "X-Linked-Etag": `"${"0".repeat(64)}"`, "X-Linked-Size": size };
        response.writeHead(302, { Location: `${b.hub.storage}/${name}`, ...headers }).end();
        return true;
      },
    ],
    [
      "E_HUB_CHANGED",
      "vae/config.json",
      (_, response, name) => {
        if (name === "vae/config.json") response.setHeader("X-Repo-Commit", "f".repeat(40)).writeHead(200).end("{}");
        return name === "vae/config.json";
      },
    ],
  ];
  for (const [code, name, fault] of cases) {
    rmSync(b.repo, { recursive: true, force: true });
    b.hub.fault = fault;
    await assert.rejects(b.pull(), failure(code, new RegExp(`${name}.*deleted`)));
    assert.equal(existsSync(path.join(b.repo, "snapshots", b.hub.commit, name)), false, code);
    assert.deepEqual(
      readdirSync(path.join(b.repo, "blobs")).filter((n) => n.includes("incomplete")),
      [],
      code,
    );
    assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
  }
});

test("a mirror that lists names alone is asked for sizes and checksums by HEAD; a changed ETag is refused", async (t) => {
  const b = await bench(t);
  b.hub.detailed = false;
  await b.pull();
  assertWhole(b);
  assert.ok(existsSync(b.blob(UNET)));
  assert.equal(b.hub.requests.filter((r) => r.method === "HEAD").length, SMALL.size);

  rmSync(b.repo, { recursive: true });
  b.hub.fault = faulty("vae/config.json", 1, (_, response) => {
    response.writeHead(200, { ETag: '"another"', "Content-Length": SMALL.get("vae/config.json")!.length }).end("x");
  });
  await assert.rejects(b.pull(), failure("E_HUB_CHANGED", /ETag another/));
  assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
});

test("names that lead out of the folder are refused, and nothing is written", async (t) => {
  const bad = ["../x", "/etc/passwd", "unet/../../x", "a\\b", "C:/x", "a\0b", "a//b", "./a", "", "a/.."];
  assert.deepEqual(bad.filter(isSafeName), []);
  assert.ok(["a", "a/b.c", ".gitattributes", "unet/x..y"].every(isSafeName));
  const b = await bench(t);
  for (const name of bad) {
    b.hub.extraNames = [name];
    await assert.rejects(b.pull(), failure("E_HUB_NAME"));
  }
  assert.equal(existsSync(b.repo), false);
});

test("the listing itself is checked", async (t) => {
  const b = await bench(t);
  for (const text of ["<html>", "null", "{}", '{"sha":"../..","siblings":[]}', `{"sha":"${b.hub.commit}"}`]) {
    b.hub.fault = (_, response, name) => name === "api" && Boolean(response.end(text));
    await assert.rejects(b.pull(), failure("E_HUB_LISTING"));
  }
  b.hub.fault = () => false;
  b.hub.files.set("model_index.json", Buffer.from('{"_class_name":"FluxPipeline"}'));
  await assert.rejects(b.pull(), failure("E_NOT_SDXL", /FluxPipeline/));
  assert.deepEqual(b.hub.fetched(), ["model_index.json"]);
  b.hub.files.delete("model_index.json");
  await assert.rejects(b.pull(), failure("E_NOT_DIFFUSERS"));
});

test("passing failures are tried again, with the wait the server asks for; others say what to do", async (t) => {
  const b = await bench(t);
  const waits: number[] = [];
  const clock = { sleep: async (ms: number) => void waits.push(ms) };
  let answers: [number, Record<string, string>][] = [
    [500, {}],
    [429, { "Retry-After": "7" }],
    [503, {}],
  ];
  b.hub.fault = (_, response, name) => {
    const next = name === "api" ? answers.shift() : undefined;
    if (next) response.writeHead(...next).end();
    return next !== undefined;
  };
  await b.pull({ clock });
  assert.deepEqual(waits, [1000, 7000, 4000]);

  const cases: [string, RegExp, [number, Record<string, string>][]][] = [
    ["E_NETWORK", /answered 503 \(tried 5 times\)/, new Array<[number, Record<string, string>]>(9).fill([503, {}])],
    ["E_NETWORK", /wait 60 minutes/, [[429, { "Retry-After": "3600" }]]],
    ["E_HUB_AUTH", /set HF_TOKEN/, [[401, { "X-Error-Code": "RepoNotFound" }]]],
    ["E_HUB_GATED", /accept its terms, set HF_TOKEN/, [[401, { "X-Error-Code": "GatedRepo" }]]],
    ["E_HUB_GATED", /accept its terms/, [[403, {}]]],
    ["E_HUB_NOT_FOUND", /spelling/, [[404, { "X-Error-Code": "RepoNotFound" }]]],
    ["E_HUB_NOT_FOUND", /--revision/, [[404, { "X-Error-Code": "RevisionNotFound" }]]],
    ["E_HUB", /answered 418/, [[418, {}]]],
  ];
  for (const [code, words, list] of cases) {
    answers = [...list];
    await assert.rejects(b.pull({ clock }), failure(code, words));
  }
});

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

test("a refiner, or another pipeline, is said to be one, not to lack files", async (t) => {
  const files = new Map([...SMALL].filter(([name]) => !/^(text_encoder|tokenizer)\//.test(name)));
  const index = {
    _class_name: "StableDiffusionXLImg2ImgPipeline",
    text_encoder: [null, null],
    tokenizer: [null, null],
  };
  files.set("model_index.json", Buffer.from(JSON.stringify(index)));
  const b = await bench(t, files);
  await assert.rejects(b.pull(), failure("E_NOT_SDXL", /this is a refiner, .*Next: name a base model/));
  assert.deepEqual(b.hub.fetched(), ["model_index.json"]);
});

test("two pulls at once: one fetches, the other waits and finds everything", async (t) => {
  const b = await bench(t);
  const clock = { sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms / 50)) };
  const both = await Promise.all([b.pull({ clock }), b.pull({ clock })]);
  assert.deepEqual(both.map((done) => done.downloadedBytes > 0).sort(), [false, true]);
  assert.deepEqual(b.hub.fetched().sort(), distinct(SMALL));
  assert.equal(b.events.filter((e) => e.type === "wait").length, 1);
  assertWhole(b);
});

test("the lock of a dead process is taken over; that of a living one is respected", async (t) => {
  const b = await bench(t);
  const lock = path.join(b.env.HF_HOME!, "hub/.locks", path.basename(b.repo), "solvay-pull.lock");
  mkdirSync(path.dirname(lock), { recursive: true });
  const old = new Date(Date.now() - 120_000);
  const owners: [string, Date | undefined][] = [
    [JSON.stringify({ pid: 2 ** 22 + 12345, host: hostname(), key: "a" }), undefined],
    [JSON.stringify({ pid: process.pid, host: hostname(), key: "of an earlier process" }), undefined],
    [JSON.stringify({ pid: 1, host: "elsewhere", key: "b" }), old],
    ["torn", old],
  ];
  for (const [text, time] of owners) {
    writeFileSync(lock, text);
    if (time) utimesSync(lock, time, time);
    await b.pull();
    assert.equal(existsSync(lock), false);
  }
  writeFileSync(lock, JSON.stringify({ pid: process.ppid, host: hostname(), key: "c" }));
  const stop = new AbortController();
  const clock = { sleep: async () => stop.abort(new Error("waited")) };
  await assert.rejects(b.pull({ clock, signal: stop.signal }), /waited/);
  assert.equal(JSON.parse(readFileSync(lock, "utf8")).key, "c");
});

test("an abort keeps what has come, and the next pull goes on from there", async (t) => {
  const b = await bench(t);
  const unet = b.hub.files.get(UNET)!;
  b.hub.fault = faulty(UNET, 1, (_, response) => {
    response.writeHead(200, { "Content-Length": unet.length });
    response.write(unet.subarray(0, 150_000));
  });
  const stop = new AbortController();
  const onEvent = (event: PullEvent) => {
    const before = [...SMALL].filter(([name]) => name !== UNET).reduce((sum, [, bytes]) => sum + bytes.length, 0);
    if (event.type === "progress" && event.file === UNET && event.doneBytes >= before + 150_000)
      stop.abort(new Error("enough"));
  };
  await assert.rejects(b.pull({ onEvent, signal: stop.signal }), /enough/);
  assert.equal(statSync(`${b.blob(UNET)}.incomplete`).size, 150_000);
  assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
  await b.pull();
  assert.deepEqual(rangesOf(b.hub, UNET), [undefined, "bytes=150000-"]);
  assertWhole(b);
});

test("a silent server is given up after the set time", async (t) => {
  const b = await bench(t);
  b.hub.fault = faulty(UNET, 1, (_, response) => {
    response.writeHead(200, { "Content-Length": 300_000 });
    response.write(Buffer.from(SMALL.get(UNET)!.subarray(0, 10)));
  });
  await b.pull({ env: { ...b.env, HF_HUB_DOWNLOAD_TIMEOUT: "0.2" } });
  assert.ok(b.events.some((e) => e.type === "retry" && /silent for 0.2 seconds/.test(e.problem)));
  assertWhole(b);
});

test("a full disk is seen before the pull, and named during it", async (t) => {
  const b = await bench(t);
  const freeBytes = async () => 1_000_000;
  await assert.rejects(b.pull({ freeBytes }), failure("E_DISK_FULL", /needs \d+ MB, 1 MB are free/));
  assert.equal(b.hub.fetched().length, 1);

  const write = handles.write;
  t.mock.method(handles, "write", function (this: Handle, ...args: Parameters<typeof write>) {
    const position = (args as unknown as number[])[3] ?? 0;
    if (position < 100_000) return write.apply(this, args);
    return Promise.reject(Object.assign(new Error("no space"), { code: "ENOSPC" }));
  });
  await assert.rejects(b.pull(), failure("E_DISK_FULL", /goes on where it stopped/));
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

test("a blob or link that was damaged in the cache is mended", async (t) => {
  const b = await bench(t);
  await b.pull();
  writeFileSync(b.blob(UNET), "cut");
  unlinkSync(path.join(b.repo, "snapshots", b.hub.commit, "vae/config.json"));
  const done = await b.pull();
  assert.equal(done.downloadedBytes, SMALL.get(UNET)!.length);
  assertWhole(b);
});

test("a commit can be pulled without naming it; odd names and revisions are refused", async (t) => {
  const b = await bench(t);
  await b.pull({ revision: b.hub.commit });
  assert.equal(existsSync(path.join(b.repo, "refs")), false);
  assert.ok(await resolveHubModel(MODEL, { env: b.env, revision: b.hub.commit }));
  for (const revision of ["../x", "a/../b", "-x", "a b", "", "/a", "a\\b"]) {
    await assert.rejects(b.pull({ revision }), failure("E_USAGE", /--revision/));
  }
  await assert.rejects(pullFromHub("../x", { env: b.env, choose: chooseModelFiles }), failure("E_HUB_ID"));
  for (const HF_ENDPOINT of ["ftp://x", "nonsense", "http://u:p@h"]) {
    await assert.rejects(b.pull({ env: { ...b.env, HF_ENDPOINT } }), failure("E_HUB_ENDPOINT"));
  }
});

test("nothing listening there is said at once", async (t) => {
  const b = await bench(t);
  const env = { ...b.env, HF_ENDPOINT: "http://127.0.0.1:1" };
  await assert.rejects(b.pull({ env }), (error) => failure("E_NETWORK")(error) && error instanceof DeviceError);
});

test("tokenizers: either form is enough, half of one is not", async () => {
  const names = new Set(SMALL.keys());
  for (const name of ["vocab.json", "merges.txt"]) names.delete(`tokenizer/${name}`);
  const listing: FileListing = {
    name: "m",
    has: (name) => names.has(name),
    readText: async (name) => (names.has(name) ? SMALL.get(name)!.toString() : undefined),
  };
  const { files } = await chooseModelFiles(listing, { variant: "auto" });
  assert.ok(files.includes("tokenizer/tokenizer.json"));
  names.delete("tokenizer/tokenizer.json");
  await assert.rejects(chooseModelFiles(listing, { variant: "auto" }), failure("E_MISSING", /tokenizer\/vocab/));
});

test("the command prints the folder; --json prints events alone; the last line of an error tells", async (t) => {
  const b = await bench(t);
  const run = async (...args: string[]) => {
    const fake = fakeContext({ cwd: tmpdir() });
    const code = await runCli(["pull", ...args], { ...fake.context, env: b.env });
    return { code, out: fake.out(), err: fake.err() };
  };
  const json = await run(MODEL, "--json");
  const events = json.out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as PullEvent);
  assert.deepEqual([json.code, json.err], [0, ""]);
  assert.deepEqual([...new Set(events.map((e) => e.type))], ["file", "plan", "progress", "done"]);

  const plain = await run(MODEL);
  assert.equal(plain.out, `${path.join(b.repo, "snapshots", b.hub.commit)}\n`);
  assert.match(plain.err, /^Complete: \d+ files, .* \(nothing to fetch\)\. Use it: .* --model someone\/tiny-sdxl\n$/);

  const missing = await run("someone/else");
  assert.equal(missing.code, 3);
  assert.match(missing.err, /^E_HUB_NOT_FOUND someone\/else: .* Next: .*\n$/);
});
