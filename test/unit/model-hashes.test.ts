/** @file The hashes that a picture records of its files: known ones at once, others by reading once, which is told; an abort is heard. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileFactsOf, type HashFiles, networkFile } from "../../src/engine/model-hashes.ts";

const files: HashFiles = {
  known: async (file) => (file.startsWith("/known") ? `k${file.length}` : undefined),
  async of(file, signal) {
    signal?.throwIfAborted();
    if (file.includes("gone")) throw new Error("ENOENT");
    return `r${file.length}`;
  },
};

async function factsOf(
  model: object,
  networks: readonly string[],
  hashes: HashFiles | undefined,
  signal?: AbortSignal,
) {
  const named = networks.map((path, i) => ({ name: `controls.${i}`, path }));
  const facts = fileFactsOf(model as never, named, hashes, signal);
  const notes: string[] = [];
  for (;;) {
    const { done, value } = await facts.next();
    if (done) return { facts: value, notes };
    notes.push(value.type === "note" ? value.text : value.type);
  }
}

const partNames = { vae: "another.safetensors" };

test("the model's, the VAE's and each network's under its own name; of a file that can't be read none", async () => {
  const model = { file: "/known-model", vaeFile: "/vae", partNames };
  const found = await factsOf(model, ["/known-a", "/gone", "/bcd"], files);
  assert.deepEqual(found.facts, {
    ...partNames,
    modelHash: "k12",
    vaeHash: "r4",
    networkHashes: "controls.0: k8, controls.2: r4",
  });
  assert.deepEqual(
    found.notes,
    ["/vae", "/gone", "/bcd"].map((file) => `reading ${file} once for its hash, which pictures record`),
  );
  // The model's own VAE is in the model's file.
  assert.deepEqual((await factsOf({ file: "/known-model", partNames }, [], files)).facts, {
    ...partNames,
    modelHash: "k12",
  });
  // A folder of a model has no file of its own.
  assert.deepEqual(await factsOf({ partNames }, [], files), { facts: partNames, notes: [] });
  assert.deepEqual(await factsOf(model, ["/bcd"], undefined), { facts: partNames, notes: [] });
});

test("an abort ends it: a picture is not made without the hash that was being read", async () => {
  const stopped = new Error("stopped");
  const signal = AbortSignal.abort(stopped);
  await assert.rejects(factsOf({ file: "/model" }, [], files, signal), stopped);
  await assert.rejects(factsOf({}, ["/bcd"], files, signal), stopped);
});

test("a network is recorded by its file, one of several files not at all", () => {
  const table = (...paths: (string | undefined)[]) =>
    new Map(paths.map((path, i) => [`${i}`, { source: path === undefined ? {} : { file: { path, stamp: "1" } } }]));
  const named = (...paths: (string | undefined)[]) => networkFile("controls.0", table(...paths) as never);
  assert.deepEqual(named("/a", "/a"), [{ name: "controls.0", path: "/a" }]);
  for (const paths of [["/a", "/b"], [undefined], [undefined, "/a"], []]) assert.deepEqual(named(...paths), []);
});
