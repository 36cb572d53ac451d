/** @file What a picture's facts come to when it is made again: what is opened, the user's choice first, and every reason for other bytes, each by itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256Hex } from "#hash";
import { MAX_PICTURE_BYTES } from "../../src/image/picture-header.ts";
import type { OpenRequest } from "../../src/job/checked.ts";
import type { EngineInfo } from "../../src/job/engine.ts";
import type { PictureSettings } from "../../src/job/picture-settings.ts";
import type { LibraryHost } from "../../src/library/host.ts";
import { memorySource } from "../../src/source/memory.ts";
import { cardReason, remakeOf, unsaid } from "../../src/terminal/remake.ts";
import { SOLVAY_VERSION } from "../../src/version.ts";

const [COMMIT, OTHER] = ["1".repeat(40), "2".repeat(40)];
const PICTURE = new TextEncoder().encode("a picture");

/** A machine with these files (and folders, which end in a slash) in the user's folder, and one model in the hub's cache. */
function hostWith(files: readonly string[]): LibraryHost {
  const there = new Set(["mine.safetensors", ...files].map((name) => `/home/${name}`));
  return {
    demoModel: "/app/demo",
    absolute: (name: string) => (name.startsWith("/") ? name : new URL(name, "file:///home/").pathname),
    kindOf: async (place: string) => (there.has(place) ? "file" : there.has(`${place}/`) ? "folder" : undefined),
    openFile: async (place: string) =>
      place.endsWith("huge.png")
        ? { ...memorySource(place, PICTURE), byteLength: MAX_PICTURE_BYTES + 1, read: () => assert.fail("read whole") }
        : memorySource(place, PICTURE),
    // Nothing is in it.
    store: () => ({}),
    hub: {
      isId: (text: string) => /^org\/\w+$/.test(text),
      resolve: async (id: string) =>
        id === "org/cached" ? `/cache/models--org--cached/snapshots/${COMMIT}` : undefined,
    },
  } as unknown as LibraryHost;
}

/** Hashes are of names: the file x has the hash "hash of x". */
const hashes = { of: async (file: string) => `hash of ${file.split("/").at(-1)}`, fileWith: async () => undefined };

interface Case {
  readonly source?: PictureSettings["source"];
  readonly facts?: Readonly<Record<string, string>>;
  readonly job?: PictureSettings["job"];
  readonly given?: OpenRequest;
  readonly files?: readonly string[];
}

/** Of a picture of this version, made by mine.safetensors on the processor: what is opened otherwise than for it, and the reasons. */
async function remade({ source = "solvay", facts = {}, job = {}, given = {}, files = [] }: Case) {
  const own = { version: SOLVAY_VERSION, model: "mine", backend: "cpu" };
  const told = Object.fromEntries(Object.entries({ ...own, ...facts }).filter(([, value]) => value !== ""));
  const settings = { source, tool: `Solvay ${SOLVAY_VERSION}`, job, facts: told, others: new Map(), notes: [] };
  const { request, reasons } = await remakeOf(hostWith(files), settings, given, hashes);
  const usual: Readonly<Record<string, unknown>> = { model: "mine.safetensors", backend: "cpu" };
  const others = Object.entries(request).filter(([name, value]) => value !== undefined && value !== usual[name]);
  return [Object.fromEntries(others), [...reasons]];
}

const CASES: Readonly<Record<string, readonly [Case, Record<string, unknown>, readonly string[]]>> = {
  "nothing stands against it": [{}, {}, []],
  "the same commit": [{ facts: { model: "org/cached", modelRevision: COMMIT } }, { model: "org/cached" }, []],
  "another commit": [
    { facts: { model: "org/cached", modelRevision: OTHER } },
    { model: "org/cached" },
    [`its model's commit was ${OTHER}, here is ${COMMIT}`],
  ],
  "a model that is not here": [{ facts: { model: "x" } }, {}, ["its model x is not here"]],
  "no model": [{ facts: { model: "" } }, {}, ["it does not say which model made it"]],
  "another model by choice": [{ given: { model: "b" } }, { model: "b" }, ["the model is b, by your choice"]],
  "a chosen file with the picture's hash": [
    { facts: { modelHash: "hash of b" }, given: { model: "b" }, files: ["b"] },
    { model: "b" },
    [],
  ],
  "a chosen file with another": [
    { facts: { modelHash: "0" }, given: { model: "b" }, files: ["b"] },
    { model: "b" },
    ["its model's hash was 0, that of b here is hash of b"],
  ],
  "another backend by choice": [
    { given: { backend: "webgpu" } },
    { backend: "webgpu" },
    ["it was computed by the backend cpu, this is webgpu"],
  ],
  "a backend that is none here": [
    { facts: { backend: "cuda" } },
    {},
    ["it was computed by the backend cuda, this is another"],
  ],
  "no backend": [{ facts: { backend: "" } }, {}, ["it does not say which backend computed it"]],
  "the picture's precision": [{ facts: { precision: "fp16 by matrices" } }, { precision: "fp16" }, []],
  "another by choice": [
    { facts: { precision: "fp16 by matrices" }, given: { precision: "fp32" } },
    { precision: "fp32" },
    ["it was computed in fp16, this is fp32"],
  ],
  "begun in fp16, ended in fp32": [
    { facts: { precision: "fp16", retry: "NaN" } },
    {},
    ["it was begun in less than fp32, and finished in fp32 (NaN)"],
  ],
  "its artifact": [{ facts: { artifact: "a.lzr2" }, files: ["a.lzr2"] }, { artifact: "a.lzr2" }, []],
  "an artifact's path is not followed": [
    { facts: { artifact: "b/a.lzr2" }, files: ["b/a.lzr2"] },
    {},
    ["the artifact b/a.lzr2 that was laid over its model is not in this folder"],
  ],
  "a model of the store has its artifact, and its parts": [
    { facts: { artifact: "a.lzr2", vae: "v", refiner: "r" }, given: { model: "store:1" }, files: ["v", "r"] },
    { model: "store:1", refiner: "r" },
    ["the model is store:1, by your choice", "its vae was v, and the store's model has its own"],
  ],
  "a VAE by its name, in ComfyUI's folder": [
    { facts: { vae: "v" }, files: ["models/vae/v"] },
    { vae: "models/vae/v" },
    ["the VAE is taken by its name models/vae/v"],
  ],
  "in A1111's, by its hash": [
    { facts: { vae: "v", vaeHash: "hash of v" }, files: ["models/VAE/v"] },
    { vae: "models/VAE/v" },
    [],
  ],
  "a VAE of the hub's cache": [
    { facts: { vae: "org/cached" } },
    { vae: "org/cached" },
    ["the VAE is taken by its name org/cached"],
  ],
  "a VAE that is not there": [
    { facts: { vae: "org/gone" } },
    {},
    ["its VAE org/gone is not here, and the model's own is taken (--vae names another)"],
  ],
  "a VAE's path is not followed": [
    { facts: { vae: "b/v" }, files: ["b/v"] },
    {},
    ["its VAE b/v is not here, and the model's own is taken (--vae names another)"],
  ],
  "another VAE by choice": [
    { facts: { vae: "v" }, given: { vae: "w" }, files: ["v", "w"] },
    { vae: "w" },
    ["the VAE is w, by your choice"],
  ],
  "what it predicts": [{ facts: { prediction: "v_prediction" } }, { prediction: "v_prediction" }, []],
  "otherwise by choice": [
    { facts: { prediction: "v_prediction" }, given: { prediction: "sample" } },
    { prediction: "sample" },
    ["its model was said to predict v_prediction, this is sample"],
  ],
  "said to predict by choice alone": [
    { given: { prediction: "sample" } },
    { prediction: "sample" },
    ["its model was said to predict what its files say, this is sample"],
  ],
  "its config": [{ facts: { config: "c" }, files: ["c/"] }, { config: "c" }, ["the config is taken by its name c"]],
  "another config and base by choice": [
    { facts: { config: "c" }, given: { config: "d", base: "e" }, files: ["c/"] },
    { config: "d", base: "e" },
    ["the config is d, by your choice", "the base is e, by your choice"],
  ],
  "the demo lent it parts": [
    { facts: { base: "demo" } },
    { base: "/app/demo" },
    ["the base is taken by its name demo"],
  ],
  "what lent it parts is not here": [{ facts: { base: "x" } }, {}, ["it was made with --base x: name that again"]],
  "A1111's name of a refiner": [
    { facts: { refiner: "r [7440042bbd]" }, files: ["models/checkpoints/r.safetensors"] },
    { refiner: "models/checkpoints/r.safetensors" },
    [],
  ],
  "another refiner by choice": [
    { facts: { refiner: "r" }, given: { refiner: "s" }, files: ["r"] },
    { refiner: "s" },
    ["the refiner is s, by your choice"],
  ],
  "a refiner that is not here": [{ facts: { refiner: "r" } }, {}, ["its refiner r is not here"]],
  "the pictures that it began with": [
    {
      job: { initImage: "a.png", controls: [{ file: "n", image: "b.png" }] },
      facts: { pictureHashes: `initImage: ${sha256Hex(PICTURE)}, controls.0.image: ${"0".repeat(64)}` },
      files: ["a.png", "b.png"],
    },
    {},
    ["its picture controls.0.image, b.png, is not what it was"],
  ],
  "a mask that is none, one that is not here, and one in the job": [
    {
      job: {
        initImage: "data:image/png;base64,AAAA",
        maskImage: "huge.png",
        controls: [{ file: "n", image: "c.png" }],
      },
      facts: { pictureHashes: `maskImage: ${"0".repeat(64)}` },
      files: ["huge.png"],
    },
    {},
    ["its mask, huge.png, is not what it was", "its picture controls.0.image, c.png, is not here"],
  ],
  "other programs say no backend and no prediction": [
    { source: "infotext", facts: { backend: "", modelHash: "hash of mine.safetensors" } },
    {},
    [`Solvay ${SOLVAY_VERSION} made it, and other programs' arithmetic gives other pixels`],
  ],
};

for (const [name, [asked, request, reasons]] of Object.entries(CASES)) {
  test(name, async () => assert.deepEqual(await remade(asked), [request, reasons]));
}

test("another encoder of its file", async () => {
  const [, [reason, ...more]] = (await remade({ facts: { encoder: "sharp 0.0.1" } })) as [unknown, string[]];
  assert.match(
    reason!,
    /^sharp 0\.0\.1 made its file, here is (?:sharp \d.*|none): other bytes may come of the same pixels$/,
  );
  assert.deepEqual(more, []);
});

test("another card: told of our pictures, on the same backend", () => {
  const told = (source: "solvay" | "infotext", facts: Record<string, string>, here: Partial<EngineInfo>) =>
    cardReason({ source, facts } as unknown as PictureSettings, here as EngineInfo);
  const [mine, yours] = [{ backend: "webgpu", adapter: "A" } as const, { backend: "webgpu", adapter: "B" } as const];
  assert.deepEqual(told("solvay", mine, yours), ["it was computed by A, here computes B"]);
  assert.deepEqual(told("solvay", { backend: "webgpu" }, yours), [
    "it was computed by no graphics card, here computes B",
  ]);
  assert.deepEqual(told("solvay", mine, mine), []);
  assert.deepEqual(told("solvay", mine, { backend: "cpu" }), []);
  assert.deepEqual(told("infotext", mine, yours), []);
});

test("what it doesn't say of its job", () => {
  assert.deepEqual(
    unsaid({}),
    ["seed", "steps", "guidance", "width", "height"].map((name) => `it does not say its ${name}`),
  );
  assert.deepEqual(unsaid({ seed: 0, steps: 1, guidance: 0, width: 8, height: 8 }), []);
});
