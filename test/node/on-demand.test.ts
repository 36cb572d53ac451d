/**
 * @file Components that come into the store when something asks for them: the model stays as it is, its files are read once, and what
 * came is listed, verified, repaired and removed like a model.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { cp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import { folderComponent, storedComponent } from "../../src/library/on-demand.ts";
import { importComponent, openStoredCheckpoint } from "../../src/library/stored.ts";
import { nodeStore } from "../../src/node/disk/node-store.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import { originComponent } from "../../src/store/companion.ts";
import { importModel } from "../../src/store/import/import.ts";
import { findModelId, modelIds } from "../../src/store/store.ts";
import type { StoredModel } from "../../src/store/stored-model.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { bytesOf } from "../support/table-bytes.ts";
import { fakeContext } from "./fake-context.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const MODEL = path.join(root, "fixtures/golden/deep");
const ARTIFACT = path.join(root, "fixtures/lzr2/deep.lzr2");
const WEIGHTS = "vae/diffusion_pytorch_model.safetensors";
const ID = "vaeEncoder";

const folders: string[] = [];
const folder = () => {
  folders.push(mkdtempSync(path.join(tmpdir(), "solvay-on-demand-")));
  return folders.at(-1)!;
};
after(() => {
  for (const name of folders) rmSync(name, { recursive: true, force: true });
});

const host = nodeLibraryHost((name) => path.resolve(root, name), {});

async function cli(...line: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const fake = fakeContext({ cwd: root });
  const code = await runCli(line, fake.context);
  return { code, out: fake.out(), err: fake.err() };
}

interface Imported {
  readonly dir: string;
  /** A copy of its own. */
  readonly model: string;
  readonly id: string;
}

/** A copy of the model, in a store. */
async function imported(dir = folder(), ...more: readonly string[]): Promise<Imported> {
  const model = path.join(folder(), "boats");
  await cp(MODEL, model, { recursive: true });
  return { dir, model, id: await importFolder(dir, model, ...more) };
}

async function importFolder(dir: string, model: string, ...more: readonly string[]): Promise<string> {
  const { code, out, err } = await cli("import", model, "--store", dir, ...more);
  assert.equal(code, 0, err);
  return out.trim();
}

/** Asks as whoever wants to start from a picture would; gives the bytes of each tensor. */
async function ask({ dir, id }: Pick<Imported, "dir" | "id">): Promise<Map<string, Buffer>> {
  const store = nodeStore(dir);
  await using opened = await openStoredCheckpoint(store, id);
  const { component, owned } = await storedComponent(host, store, opened, ID);
  await using _owned = owned;
  return await bytesOf(component.table);
}

async function requireFolders(found: ReadonlyMap<string, Buffer>): Promise<void> {
  await using source = await openSdxlFolder(MODEL);
  const expected = await bytesOf(folderComponent(source, ID).table);
  assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort());
  for (const [name, bytes] of expected) assert.ok(found.get(name)!.equals(bytes), name);
}

/** The entry beside the models in `known`. */
async function companionOf(dir: string, ...known: readonly string[]): Promise<string> {
  const [id, ...others] = (await modelIds(nodeStore(dir))).filter((name) => !known.includes(name));
  assert.ok(id !== undefined && others.length === 0);
  return id;
}

const manifestFile = (dir: string, id: string) => path.join(dir, "models", `${id}.model`);

test("it comes when it is asked for, as an entry of its own, and then needs the files no more", async () => {
  const { dir, model, id } = await imported();
  const before = readFileSync(manifestFile(dir, id));
  assert.ok(!before.toString().includes(ID));
  await requireFolders(await ask({ dir, id }));
  assert.ok(readFileSync(manifestFile(dir, id)).equals(before), "the model's index is as it was");
  const companion = await companionOf(dir, id);
  const packs = readdirSync(path.join(dir, "packs"));
  rmSync(model, { recursive: true });
  await requireFolders(await ask({ dir, id }));
  assert.deepEqual(readdirSync(path.join(dir, "packs")), packs);
  assert.equal(await companionOf(dir, id), companion);
  assert.deepEqual(readdirSync(path.join(dir, "imports")), []);

  const list = await cli("store", "list", "--store", dir);
  assert.match(list.out, new RegExp(`^${companion.slice(0, 12)}  .* blocks  .*boats \\(vae encoder\\)$`, "m"));
  const { models } = JSON.parse((await cli("store", "list", "--store", dir, "--json")).out) as {
    models: { id: string; companion?: string }[];
  };
  assert.deepEqual(new Map(models.map((entry) => [entry.id, entry.companion])).get(companion), ID);
  assert.deepEqual(new Map(models.map((entry) => [entry.id, entry.companion])).get(id), undefined);
  await assert.rejects(openStoredCheckpoint(nodeStore(dir), companion), { code: "E_STORE_MODEL" });
});

test("files that are gone or changed before it was asked for are said in one line", async () => {
  const gone = await imported();
  rmSync(path.join(gone.model, WEIGHTS));
  await assert.rejects(ask(gone), {
    name: "ArtifactError",
    code: "E_MISSING",
    message: /^E_MISSING .*boats.*safetensors: .*not there, and .*vaeEncoder is needed now\. Next: put that file back/,
  });
  const changed = await imported();
  const file = path.join(changed.model, WEIGHTS);
  const bytes = readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(file, bytes);
  utimesSync(file, new Date(), new Date(Date.now() - 5000));
  await assert.rejects(ask(changed), {
    code: "E_CHANGED",
    message: /this is not the file .* Next: put that file back/,
  });
  assert.deepEqual(await modelIds(nodeStore(changed.dir)), [changed.id]);
});

test("several processes ask at once: one imports, all get it", async () => {
  const { dir, id } = await imported();
  const url = (file: string) => JSON.stringify(pathToFileURL(path.join(root, file)).href);
  const script = `
    import { storedComponent } from ${url("src/library/on-demand.ts")};
    import { importComponent, openStoredCheckpoint } from ${url("src/library/stored.ts")};
    import { nodeStore } from ${url("src/node/disk/node-store.ts")};
    import { nodeLibraryHost } from ${url("src/node/library-host.ts")};
    const store = nodeStore(${JSON.stringify(dir)});
    await using opened = await openStoredCheckpoint(store, ${JSON.stringify(id)});
    const { component, owned } = await storedComponent(nodeLibraryHost((p) => p, {}), store, opened, "${ID}");
    for (const { source, startByte, endByte } of component.table.values())
      await source.read(startByte, new Uint8Array(endByte - startByte));
    await owned[Symbol.asyncDispose]();`;
  const run = () => spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" });
  const codes = [run(), run()].map((child) => new Promise((resolve) => child.on("close", resolve)));
  await requireFolders(await ask({ dir, id }));
  assert.deepEqual(await Promise.all(codes), [0, 0]);
  await companionOf(dir, id);
  assert.deepEqual(readdirSync(path.join(dir, "imports")), []);
});

test("two models whose files have the same content each find theirs when both files are gone; the weights are there once", async () => {
  const first = await imported();
  await ask(first);
  // Another UNet makes another model of it.
  const second = await imported(first.dir, "--artifact", ARTIFACT);
  assert.notEqual(second.id, first.id);
  const bytesOfPacks = () => readdirSync(path.join(first.dir, "packs")).length;
  const packs = bytesOfPacks();
  await ask(second);
  assert.equal(bytesOfPacks(), packs + 1, "only what tells the two apart");
  for (const { model } of [first, second]) rmSync(model, { recursive: true });
  for (const { id } of [first, second]) await requireFolders(await ask({ dir: first.dir, id }));
});

test("of shards, it comes from those that it alone reads, too", async () => {
  const model = path.join(folder(), "boats");
  await cp(MODEL, model, { recursive: true });
  const file = path.join(model, WEIGHTS);
  const source = await openFileSource(file);
  const { table } = await readSafetensorsHeader(source);
  const data = await bytesOf(table);
  await source[Symbol.asyncDispose]();
  rmSync(file);
  const map = new Map(
    [...table.keys()].map((name) => [name, `vae-${/^(encoder|quant_conv)\./.test(name)}.safetensors`]),
  );
  for (const shard of new Set(map.values())) {
    const tensors = [...table.values()].filter(({ name }) => map.get(name) === shard);
    const bytes = encodeSafetensors(tensors.map((tensor) => ({ ...tensor, bytes: data.get(tensor.name)! })));
    writeFileSync(path.join(model, "vae", shard), bytes);
  }
  writeFileSync(`${file}.index.json`, JSON.stringify({ weight_map: Object.fromEntries(map) }));
  const dir = folder();
  const id = await importFolder(dir, model);
  await requireFolders(await ask({ dir, id }));
  rmSync(model, { recursive: true });
  await requireFolders(await ask({ dir, id }));
  await companionOf(dir, id);
});

test("it goes with the last model that can ask for it", async () => {
  const { dir, model, id } = await imported();
  const second = await importFolder(dir, model, "--artifact", ARTIFACT);
  await ask({ dir, id });
  const companion = await companionOf(dir, id, second);
  await ask({ dir, id: second });
  assert.equal(await companionOf(dir, id, second), companion, "of the same files");
  assert.equal((await cli("store", "remove", id, "--store", dir)).code, 0);
  rmSync(path.join(model, WEIGHTS));
  await requireFolders(await ask({ dir, id: second }));
  const last = await cli("store", "remove", second, "--store", dir);
  assert.match(last.out, /^1 parts that models had got later removed\n\d+ packs/);
  assert.deepEqual(await modelIds(nodeStore(dir)), []);
  assert.deepEqual(readdirSync(path.join(dir, "packs")), []);
});

test("removed by itself, it comes again; cleaning keeps what a model can ask for", async () => {
  const { dir, id } = await imported();
  await ask({ dir, id });
  const companion = await companionOf(dir, id);
  await cli("store", "clean", "--store", dir);
  assert.equal(await companionOf(dir, id), companion);
  assert.equal((await cli("store", "remove", companion, "--store", dir)).code, 0);
  assert.deepEqual(await modelIds(nodeStore(dir)), [id]);
  await requireFolders(await ask({ dir, id }));
  assert.equal(await companionOf(dir, id), companion);
});

test("it is verified and repaired: blocks, a pack that can't be opened, one that is gone", async () => {
  const { dir, model, id } = await imported();
  const before = new Set(readdirSync(path.join(dir, "packs")));
  await ask({ dir, id });
  const companion = await companionOf(dir, id);
  assert.equal(await findModelId(nodeStore(dir), companion.slice(0, 8)), companion);
  const packs = readdirSync(path.join(dir, "packs")).filter((name) => !before.has(name));
  const whole = new Map(
    packs.map((name) => [path.join(dir, "packs", name), readFileSync(path.join(dir, "packs", name))]),
  );
  assert.equal(whole.size, 2);
  const verify = () => cli("store", "verify", companion, "--store", dir);
  const repair = () => cli("store", "repair", companion, "--store", dir);
  const requireWhole = async () => {
    for (const [name, bytes] of whole) assert.ok(readFileSync(name).equals(bytes), "the very bytes that were there");
    assert.equal((await verify()).code, 0);
    await requireFolders(await ask({ dir, id }));
  };
  const damage = (at: (bytes: Buffer) => number) => {
    for (const [name, bytes] of whole) {
      const copy = Buffer.from(bytes);
      copy[at(copy)]! ^= 16;
      writeFileSync(name, copy);
    }
  };
  await requireWhole();

  damage(() => 4096 + 5); // in the first block of each
  assert.equal((await verify()).code, 3);
  const blocks = await repair();
  assert.equal(blocks.code, 0, blocks.err);
  assert.equal(blocks.out.match(/repaired: /g)?.length, 2);
  await requireWhole();

  damage((bytes) => bytes.length - 10); // in the footers
  assert.equal((await verify()).code, 3);
  const footers = await repair();
  assert.equal(footers.code, 0, footers.err + footers.out);
  await requireWhole();

  for (const name of whole.keys()) rmSync(name);
  await requireFolders(await ask({ dir, id }));
  await requireWhole();

  damage((bytes) => bytes.length - 10);
  utimesSync(path.join(model, WEIGHTS), new Date(), new Date(Date.now() - 5000));
  const changed = await repair();
  assert.equal(changed.code, 3);
  assert.match(changed.err, /^E_CHANGED .* Next: .*\n$/);
  rmSync(model, { recursive: true });
  assert.match((await repair()).err, /^E_MISSING .* Next: .*\n$/);
});

/** A copy of the model with fields of the VAE's config.json set, or removed where the value is undefined. */
async function withVae(fields: Readonly<Record<string, unknown>>): Promise<string> {
  const model = path.join(folder(), "boats");
  await cp(MODEL, model, { recursive: true });
  const file = path.join(model, "vae/config.json");
  const json = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...json, ...fields }));
  return model;
}

const OTHER_KINDS: readonly (readonly [string, Readonly<Record<string, unknown>>, RegExp])[] = [
  [
    "other blocks",
    { down_block_types: ["DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"] },
    /down_block_types.*AttnDownEncoderBlock2D.*allowed 3 of DownEncoderBlock2D/,
  ],
  ["fewer blocks", { down_block_types: ["DownEncoderBlock2D"] }, /down_block_types/],
  ["no list of blocks", { down_block_types: undefined }, /down_block_types/],
  ["another number of colours", { in_channels: 4 }, /in_channels.*found 4/],
  ["no quant_conv, though there are weights for it", { use_quant_conv: false }, /quant_conv/],
  ["a strange use_quant_conv", { use_quant_conv: "perhaps" }, /use_quant_conv.*perhaps/],
];

for (const [what, fields, reason] of OTHER_KINDS) {
  test(`an encoder of another kind (${what}) is not offered, and the model opens all the same`, async () => {
    const model = await withVae(fields);
    await using opened = await openSdxlFolder(model);
    assert.ok(!opened.components.has(ID));
    const refusal = { code: "E_MISSING", message: reason };
    assert.throws(() => folderComponent(opened, ID), refusal);
    const dir = folder();
    const id = await importFolder(dir, model);
    await assert.rejects(ask({ dir, id }), refusal);
    assert.deepEqual(await modelIds(nodeStore(dir)), [id]);
  });
}

test("an entry whose blocks are cut otherwise than they are read is passed over, and one cut right is made", async () => {
  const { dir, model, id } = await imported();
  const store = nodeStore(dir);
  await using source = await openSdxlFolder(model);
  const { table } = folderComponent(source, ID);
  await using opened = await openStoredCheckpoint(store, id);
  const { sources } = opened.stored.components.get("vae")!;
  // As many, by other names.
  const blocks = importComponent(source, ID, table).blocks.map((block) => ({ ...block, label: `old.${block.label}` }));
  const components = [{ name: ID, blocks, table, sources }, originComponent(sources)];
  const old = await importModel(store, { name: "cut otherwise", components, packed: "off" });
  const { component, owned } = await storedComponent(host, store, opened, ID);
  await using _owned = owned;
  const expected = await bytesOf(table);
  for (const [name, bytes] of await bytesOf(component.table)) assert.ok(expected.get(name)!.equals(bytes), name);
  const ids = await modelIds(store);
  assert.equal(ids.length, 3);
  assert.ok(ids.includes(old.id));
  assert.notEqual((owned as StoredModel).id, old.id);
});
