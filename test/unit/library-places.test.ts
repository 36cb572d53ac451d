/** @file Where the library looks for what the user or a picture names, in which order, and what files it lists; on no disk. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { findModelNamed } from "../../src/library/find-model.ts";
import type { LibraryHost } from "../../src/library/host.ts";
import { inspectFile } from "../../src/library/inspect.ts";
import { locateArtifact, locateFiles, locateModel, requireNoArtifact } from "../../src/library/locate.ts";
import { requireNoParts, requirePlainRefiner } from "../../src/library/model-files.ts";
import { memorySource } from "../../src/source/memory.ts";
import { originComponent } from "../../src/store/companion.ts";
import { importModel } from "../../src/store/import/import.ts";
import { artifactBytes } from "./lzr2-fixture.ts";
import { MemoryFs, memoryStore } from "./memory-store-fs.ts";
import { componentOf, fixture } from "./store-fixture.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

interface Machine {
  readonly files?: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  readonly folders?: readonly string[];
  /** Of the hub's cache: id -> snapshot. */
  readonly cached?: Readonly<Record<string, string>>;
}

function machine({ files = {}, folders = [], cached = {} }: Machine) {
  const store = memoryStore(new MemoryFs());
  const opened: string[] = [];
  const host = {
    demoModel: "/solvay/demo-model",
    absolute: (path: string) => (path.startsWith("/") ? path : `/here/${path}`),
    kindOf: async (path: string) => (files[path] ? "file" : folders.includes(path) ? "folder" : undefined),
    openFile: async (path: string) => {
      opened.push(path);
      return { ...memorySource(path, files[path]!), [Symbol.asyncDispose]: async () => void opened.pop() };
    },
    store: () => store,
    hub: { isId: (text: string) => /^[^/]+\/[^/]+$/.test(text), resolve: async (id: string) => cached[id] },
  } as unknown as LibraryHost;
  return { host, store, opened };
}

const NOTHING = new Uint8Array(9);

test("a picture's model: the demo, then the hub's cache with its commit, then the store, then files around, in that order", async () => {
  const model = "org/boats";
  const around = { "/here/boats": NOTHING, "/here/demo-model": NOTHING };
  const { host, store } = machine({ files: around, cached: { [model]: `/c/models--org--boats/snapshots/${COMMIT}` } });
  const find = (name: string, on: LibraryHost = host) => findModelNamed(on, { model: name, modelRevision: "asked" });
  assert.deepEqual(await find("demo-model"), { model: undefined });
  assert.deepEqual(await find(model), { model, revision: COMMIT });
  assert.deepEqual(await find("boats"), { model: "boats" });
  const { request } = fixture({ artifact: false });
  const { id } = await importModel(store, { ...request, name: "/somewhere/boats" });
  assert.deepEqual(await find("boats"), { model: `store:${id}`, revision: "asked" });
  assert.deepEqual(await find(model), { model, revision: COMMIT });
  // Not in the cache: what was imported from it has its name, too.
  const bare = machine({});
  const snapshot = { ...request, name: `/c/models--org--boats/snapshots/${COMMIT}` };
  const stored = await importModel(bare.store, snapshot);
  assert.deepEqual(await find(model, bare.host), { model: `store:${stored.id}`, revision: "asked" });
  assert.equal(await find("other/boats", bare.host), undefined);
});

test("a picture's model: no part that a model got later, and no store that can't be read, stands in its way", async () => {
  const files = { "/here/models/Stable-diffusion/boats.safetensors": NOTHING };
  const { host, store } = machine({ files });
  const { bytes: _, ...encoder } = componentOf("vaeEncoder", { e: { "e.w": ["f16", [8]] } }, 4);
  const sources = [{ role: "vae", path: "", stamp: "1" }];
  const components = [encoder, originComponent(sources)];
  await importModel(store, { name: "boats", components, packed: "off" });
  const found = { model: "models/Stable-diffusion/boats.safetensors" };
  assert.deepEqual(await findModelNamed(host, { model: "boats" }), found);
  const broken = {
    ...host,
    store: () => ({ ...store, fs: Object.assign(new MemoryFs(), { list: () => Promise.reject(new Error("EIO")) }) }),
  };
  assert.deepEqual(await findModelNamed(broken, { model: "boats" }), found);
});

test("files around: as they are named before with an ending, nearer folders before farther ones", async () => {
  const PLACES = ["", "models/", "models/checkpoints/", "models/Stable-diffusion/"].flatMap((folder) => [
    `${folder}x`,
    `${folder}x.safetensors`,
  ]);
  const files = Object.fromEntries(PLACES.map((place) => [`/here/${place}`, NOTHING]));
  for (const place of PLACES) {
    assert.deepEqual(await findModelNamed(machine({ files }).host, { model: "x" }), { model: place });
    delete files[`/here/${place}`];
  }
  assert.equal(await findModelNamed(machine({ files }).host, { model: "x" }), undefined);
});

test("what the user names: a path before an id of the same text, an id that is in the cache, a model of the store", async () => {
  const path = "org/boats";
  const both = machine({ folders: [`/here/${path}`], cached: { [path]: "/c/snapshot", "org/other": "/c/other" } });
  assert.equal(await locateFiles(both.host, path), `/here/${path}`);
  assert.equal(await locateFiles(both.host, "org/other"), "/c/other");
  await assert.rejects(locateFiles(both.host, "org/none"), { code: "E_NOT_CACHED", next: /solvay pull org\/none/ });
  await assert.rejects(locateFiles(both.host, "none"), { code: "E_MISSING" });
  assert.deepEqual(await locateModel(both.host, undefined), { kind: "files", path: both.host.demoModel, demo: true });
  assert.deepEqual(await locateModel(both.host, path), { kind: "files", path: `/here/${path}`, demo: false });
  const { id } = await importModel(both.store, fixture().request);
  const name = `store:${id.slice(0, 6)}`;
  assert.deepEqual(await locateModel(both.host, name), { kind: "stored", name, store: both.store, id });
  await assert.rejects(locateModel(both.host, "store:"), { code: "E_STORE_MODEL" });
});

test("an artifact is opened once to see that it can be, and goes over files alone", async () => {
  const { host, opened } = machine({ files: { "/here/a.lzr2": NOTHING } });
  assert.equal(await locateArtifact(host, "a.lzr2"), "/here/a.lzr2");
  assert.deepEqual(opened, []);
  await assert.rejects(locateArtifact(host, "b.lzr2"), {
    code: "E_MISSING",
    message: /Missing artifact: \/here\/b\.lzr2/,
  });
  for (const model of [undefined, "folder"]) requireNoArtifact(model, "a.lzr2");
  requireNoArtifact("store:0123", undefined);
  assert.throws(() => requireNoArtifact("store:0123", "a.lzr2"), { code: "E_USAGE" });
});

test("parts are refused by the option that brings them, where nothing takes them", () => {
  for (const option of ["vae", "config", "base", "prediction"] as const) {
    const parts = { vae: undefined, config: undefined, [option]: "v_prediction" };
    assert.throws(() => requireNoParts("store:0123", parts), {
      code: "E_USAGE",
      message: new RegExp(`--${option} can't`),
    });
    assert.throws(() => requirePlainRefiner("r", parts), { code: "E_USAGE", message: new RegExp(`no --${option}`) });
  }
  assert.throws(() => requirePlainRefiner("r", { artifact: "a.lzr2" }), { message: /no --artifact/ });
  for (const none of [{}, { vae: undefined, prediction: undefined }]) {
    requireNoParts("store:0123", none);
    requirePlainRefiner("r", none);
  }
});

const inspected = (bytes: Uint8Array<ArrayBuffer>, compat = false) => {
  const { host } = machine({ files: { "/here/f": bytes } });
  return inspectFile(host, "f", { compat, signal: new AbortController().signal });
};

test("inspect lists an artifact's records: where they lie, which have no weights, how much lies over each", async () => {
  const [a, b, c] = [
    { key: "a.weight", shape: [2, 2], indices: [0, 1, 2, 0] },
    { key: "b.weight", shape: [3], tf: 0 },
    { key: "c.weight", shape: [1, 2], overlay: [[0, 0, 1] as const, [0, 1, 2] as const] },
  ];
  const ends = [[], [a!], [a!, b!], [a!, b!, c!]].map((records) => artifactBytes(...records).length);
  const { container, fileBytes, content, metadata, tensors } = await inspected(artifactBytes(a!, b!, c!));
  assert.deepEqual([container, fileBytes, content, metadata], ["lzr2", ends[3], [], {}]);
  assert.deepEqual(tensors, [
    { name: "a.weight", dtype: "f16", shape: [2, 2], startByte: ends[0], endByte: ends[1] },
    {
      name: "b.weight",
      dtype: "f16",
      shape: [3],
      startByte: ends[1],
      endByte: ends[2],
      note: "no payload: the model's own weight stays",
    },
    { name: "c.weight", dtype: "f16", shape: [1, 2], startByte: ends[2], endByte: ends[3], note: "2 overlay rows" },
  ]);
  const odd = artifactBytes({ ...b!, tf: 7 });
  await assert.rejects(inspected(odd), { code: "E_LZR_TYPE" });
  assert.equal((await inspected(odd, true)).tensors.length, 1);
});

test("inspect lists what torch.save has written, by paths and names, and says what it is", async () => {
  const torch = new URL("../../fixtures/torch-files/zip.pth", import.meta.url);
  const whole = Uint8Array.from(readFileSync(torch));
  const { container, fileBytes, tensors } = await inspected(whole);
  assert.deepEqual([container, fileBytes], ["torch", whole.length]);
  const golden = JSON.parse(readFileSync(new URL("golden.json", torch), "utf8")) as Record<
    string,
    Record<string, { shape: number[]; bytes: string }>
  >;
  const wanted = Object.entries(golden).flatMap(([path, group]) =>
    Object.entries(group).map(([name, { shape, bytes }]) => [
      path === "" || path === "state_dict" ? name : `${path}.${name}`,
      shape,
      bytes,
    ]),
  );
  assert.deepEqual(
    tensors
      .map(({ name, shape, startByte, endByte }) => [
        name,
        shape,
        Buffer.from(whole.subarray(startByte, endByte)).toString("hex"),
      ])
      .sort(),
    wanted.sort(),
  );
  const upscaler = readFileSync(new URL("../../fixtures/upscalers/x4.pth", import.meta.url));
  assert.deepEqual((await inspected(Uint8Array.from(upscaler))).content, ["this is an upscaler, no model"]);
});
