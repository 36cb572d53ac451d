/** @file What a pull lays out in the cache, and what it leaves on the hub; two at once. */
import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { chooseModelFiles } from "../../src/models/families.ts";
import { resolveHubModel } from "../../src/node/hub/cache.ts";
import type { FileListing } from "../../src/source/listing.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { gitId, MODEL } from "./fake-hub.ts";
import { assertWhole, bench, bytesOf, DEMO, distinct, failure, SMALL, UNET, VAE } from "./pull-bench.ts";

test("a fresh pull lays out the cache as huggingface_hub does, and the model opens", async (t) => {
  const b = await bench(t, DEMO);
  const done = await b.pull();
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
