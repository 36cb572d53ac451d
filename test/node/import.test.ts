/** @file The block store on a real disk: import, kill -9, two processes, verify, repair, and pictures that don't change. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { cp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { overlayLzr2 } from "../../src/checkpoint/lzr2-overlay.ts";
import { runCli } from "../../src/cli/program.ts";
import { composeEngine } from "../../src/engine/engine.ts";
import { findModel } from "../../src/library/open.ts";
import { openStoredCheckpoint } from "../../src/library/stored.ts";
import type { UNetConfig } from "../../src/models/sdxl/config.ts";
import { SDXL } from "../../src/models/sdxl/family.ts";
import { unetSchema } from "../../src/models/sdxl/unet.ts";
import { nodeStore } from "../../src/node/disk/node-store.ts";
import { openNodeParts } from "../../src/node/engine-parts.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import type { Engine, OpenEngineOptions } from "../../src/node.ts";
import { memorySource } from "../../src/source/memory.ts";
import { importModel } from "../../src/store/import/import.ts";
import type { ImportEvent, ImportRequest } from "../../src/store/import/import-types.ts";
import { modelIds } from "../../src/store/store.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { seededRandom } from "../support/seed.ts";
import { bytesOf } from "../support/table-bytes.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { artifactBytes } from "../unit/lzr2-fixture.ts";
import { componentOf, fixture, randomOf } from "../unit/store-fixture.ts";
import { fakeContext } from "./fake-context.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const MODEL = path.join(root, "fixtures/golden/deep");
const ARTIFACT = path.join(root, "fixtures/lzr2/deep.lzr2");
const MAIN = path.join(root, "src/cli/main.ts");
const random = seededRandom();
/** How many imports are killed; more by the environment. */
const KILLS = Number(process.env.SOLVAY_TEST_KILLS ?? searched(3, 12));

const folders: string[] = [];
const folder = () => {
  folders.push(mkdtempSync(path.join(tmpdir(), "solvay-store-")));
  return folders.at(-1)!;
};
after(() => {
  for (const name of folders) rmSync(name, { recursive: true, force: true });
});

async function cli(...line: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const fake = fakeContext({ cwd: root });
  const code = await runCli(line, fake.context);
  return { code, out: fake.out(), err: fake.err() };
}

/**
 * Every weight of the store's only model against the sources, read by the other way: the artifact decoded in memory.
 * `artifact` null: none. Returns the model's id.
 */
async function checkStored(dir: string, model = MODEL, artifact: string | null = ARTIFACT): Promise<string> {
  const store = nodeStore(dir);
  const [id, ...more] = await modelIds(store);
  assert.deepEqual(more, []);
  await using stored = await openStoredCheckpoint(store, id!);
  const { checkpoint } = stored;
  await using source = await openSdxlFolder(model);
  for (const { id: component, ...description } of SDXL.components) {
    if (description.onDemand) continue;
    let { table } = source.components.get(component)!;
    if (component === "unet" && artifact !== null) {
      await using file = await openFileSource(artifact);
      const { schema } = source.artifactTarget;
      ({ table } = (await overlayLzr2(file, { base: table, schema, compat: false }))!);
    }
    const [found, expected] = [await bytesOf(checkpoint.components.get(component)!.table), await bytesOf(table)];
    assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort(), component);
    // Not deepEqual: the difference of two megabytes, printed, takes all memory there is.
    for (const [name, bytes] of expected) assert.ok(found.get(name)!.equals(bytes), `${component} ${name}`);
  }
  const lake = { text: "a lake at dawn", syntax: "plain", clipSkip: 0 } as const;
  assert.deepEqual(checkpoint.promptChunks(lake), source.promptChunks(lake));
  return id!;
}

function startImport(dir: string, ...more: readonly string[]): ChildProcess {
  const line = [MAIN, "import", MODEL, "--artifact", ARTIFACT, "--store", dir, "--json", ...more];
  return spawn(process.execPath, line, { stdio: ["ignore", "pipe", "pipe"] });
}

/** How many lines it has written so far. */
function linesOf(child: ChildProcess): () => number {
  let lines = 0;
  child.stdout!.on("data", (chunk: Buffer) => {
    lines += chunk.toString().split("\n").length - 1;
  });
  return () => lines;
}

const ended = (child: ChildProcess) => new Promise<number | null>((resolve) => child.on("close", resolve));

test("import, list, verify: every weight is the source's, and a second import finds the first", async () => {
  const dir = folder();
  const first = await cli("import", MODEL, "--artifact", ARTIFACT, "--store", dir);
  assert.equal(first.code, 0, first.err);
  const id = await checkStored(dir);
  assert.equal(first.out.trim(), id);
  assert.match(first.err, /\[STREAM\] Module 0010 \| RAM: \d\.\dGB/);
  const second = await cli("import", MODEL, "--artifact", ARTIFACT, "--store", dir, "--json");
  assert.match(second.out, /"type":"done","id":"[0-9a-f]{64}","reused":true/);
  const list = await cli("store", "list", "--store", dir);
  assert.match(list.out, new RegExp(`^${id.slice(0, 12)}  1\\.\\d MB  \\d+ blocks  .*golden.deep . .*deep\\.lzr2`));
  const verify = await cli("store", "verify", id.slice(0, 6), "--store", dir);
  assert.equal(verify.out, `model ${id.slice(0, 12)}: all sound\n`);
  assert.equal((await cli("store", "verify", "0123", "--store", dir)).code, 2);
});

test(`kill -9 at ${KILLS} random moments of an import: the next one goes on, and the store is right`, async () => {
  let killed = 0;
  const whole = startImport(folder());
  const lines = linesOf(whole);
  await ended(whole);
  for (let i = 0; i < KILLS; i++) {
    const dir = folder();
    const packed = i % 2 ? "on" : "off";
    const child = startImport(dir, "--packed", packed);
    const over = ended(child);
    // After a random share of what an import tells, and a moment more.
    const seen = linesOf(child);
    const last = random() * 0.9 * lines();
    child.stdout!.on("data", () => seen() > last && setTimeout(() => child.kill("SIGKILL"), random() * 20));
    if ((await over) === null) killed++;
    for (const listed of await modelIds(nodeStore(dir)))
      assert.equal((await cli("store", "verify", listed, "--store", dir)).code, 0);
    const next = await cli("import", MODEL, "--artifact", ARTIFACT, "--store", dir, "--packed", packed);
    assert.equal(next.code, 0, next.err);
    const id = await checkStored(dir);
    assert.equal((await cli("store", "verify", id, "--store", dir)).code, 0);
    assert.deepEqual(readdirSync(path.join(dir, "imports")), []);
  }
  assert.ok(killed >= KILLS / 4, `only ${killed} of ${KILLS} were killed in time`);
});

test("an import killed while it tidied up, its work folder already empty: the next one removes the folder", async () => {
  const store = nodeStore(folder());
  const { fs } = store;
  const half = {
    ...store,
    fs: {
      ...fs,
      async removeFolder(path: string) {
        for (const name of await fs.list(path)) await fs.remove(`${path}/${name}`);
      },
    },
  };
  const { request } = fixture();
  await importModel(half, request);
  assert.equal(readdirSync(path.join(store.folder, "imports")).length, 1);
  assert.equal((await importModel(store, request)).reused, true);
  assert.deepEqual(readdirSync(path.join(store.folder, "imports")), []);
});

/** Four tensors that cover a chunk each as a whole, of which the artifact has all. */
function artifactOfChunks(): ImportRequest {
  const [rows, columns, dp] = [8, 65_540, 10];
  const names = ["b0", "b1", "b2", "b3"];
  const plan = Object.fromEntries(
    names.map((name) => [name, { [`${name}.x`]: ["f16", [5]], [`${name}.w`]: ["f16", [rows, columns]] }] as const),
  );
  const { bytes: _, ...unet } = componentOf("unet", plan, 3);
  const random = randomOf(4);
  const records = names.map((name) => ({
    key: `${name}.w`,
    shape: [rows, columns],
    dp,
    indices: Array.from({ length: (rows * columns) / dp }, () => Math.floor(random() * 3 ** dp)),
  }));
  const source = memorySource("chunks.lzr2", artifactBytes(...records));
  const sources = [...unet.sources, { role: "artifact", path: "", stamp: "chunks" }];
  return { name: "chunks", components: [{ ...unet, sources, artifact: { source, compat: false } }], packed: "off" };
}

test("hashed in a thread of its own, an import is the same; aborted at a record, it goes on", async () => {
  const request = artifactOfChunks();
  const ids: string[] = [];
  for (const abortAt of [undefined, 1, 3]) {
    const store = nodeStore(folder());
    const controller = new AbortController();
    const onEvent = (event: ImportEvent) => {
      if (event.type === "record" && event.count === abortAt) controller.abort(new Error("enough"));
    };
    const options = { hashThreadFromBytes: 0, onEvent, signal: controller.signal };
    if (abortAt) await assert.rejects(importModel(store, request, options), /enough/);
    const { id } = await importModel(store, request, { hashThreadFromBytes: 0 });
    assert.deepEqual(await verifyModel(store, id), []);
    ids.push(id);
  }
  ids.push((await importModel(nodeStore(folder()), request)).id);
  assert.equal(new Set(ids).size, 1);
});

test("two processes import the same model: one writes, the other waits and uses the result", async () => {
  const dir = folder();
  const children = [startImport(dir), startImport(dir)];
  const outputs = children.map((child) => {
    let text = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    return () => text;
  });
  assert.deepEqual(await Promise.all(children.map(ended)), [0, 0]);
  const done = outputs.map(
    (output) => JSON.parse(output().trim().split("\n").at(-1)!) as { id: string; reused: boolean },
  );
  assert.equal(done[0]!.id, done[1]!.id);
  assert.deepEqual(done.map(({ reused }) => reused).sort(), [false, true]);
  await checkStored(dir);
});

test("damaged blocks are repaired one by one from the sources; a damaged pack by importing again", async () => {
  for (const packed of ["off", "on"]) {
    const dir = folder();
    await cli("import", MODEL, "--artifact", ARTIFACT, "--store", dir, "--packed", packed);
    const id = await checkStored(dir);
    const packs = readdirSync(path.join(dir, "packs")).map((name) => path.join(dir, "packs", name));
    const whole = new Map(packs.map((name) => [name, readFileSync(name)]));
    let damagedBlocks = 0;
    for (const [name, bytes] of whole) {
      const copy = Buffer.from(bytes);
      copy[4096 + 20]! ^= 16; // in the first block of each
      damagedBlocks++;
      writeFileSync(name, copy);
    }
    const verify = await cli("store", "verify", id, "--store", dir);
    assert.equal(verify.code, 3);
    assert.equal(verify.out.match(/checksum differs/g)?.length, damagedBlocks);
    const repair = await cli("store", "repair", id, "--store", dir);
    assert.equal(repair.code, 0, repair.err + repair.out);
    assert.equal(repair.out.match(/repaired: /g)?.length, damagedBlocks);
    for (const [name, bytes] of whole) assert.ok(readFileSync(name).equals(bytes), "the very bytes that were there");

    const [name, bytes] = [...whole].sort((a, b) => b[1].length - a[1].length)[0]!;
    const copy = Buffer.from(bytes);
    copy[copy.length - 10]! ^= 1; // in the footer
    writeFileSync(name, copy);
    assert.equal((await cli("store", "verify", id, "--store", dir)).code, 3);
    const again = await cli("store", "repair", id, "--store", dir);
    assert.equal(again.code, 0, again.err + again.out);
    assert.ok(readFileSync(name).equals(bytes));
    await checkStored(dir);
  }
});

test("a source with other bytes than were imported repairs nothing", async () => {
  const dir = folder();
  const model = path.join(folder(), "model");
  await cp(MODEL, model, { recursive: true });
  await cli("import", model, "--store", dir);
  const id = await checkStored(dir, model, null);
  const weights = path.join(model, "vae/diffusion_pytorch_model.safetensors");
  const bytes = readFileSync(weights);
  bytes[bytes.length - 2000]! ^= 1;
  for (let at = bytes.length - 60_000; at < bytes.length; at += 64) bytes[at]! ^= 1;
  writeFileSync(weights, bytes);
  for (const name of readdirSync(path.join(dir, "packs"))) {
    const pack = readFileSync(path.join(dir, "packs", name));
    pack[4096]! ^= 1;
    writeFileSync(path.join(dir, "packs", name), pack);
  }
  const repair = await cli("store", "repair", id, "--store", dir);
  assert.equal(repair.code, 3);
  assert.match(repair.err, /E_STORE_DAMAGED .*: 1 problem\. Next: import the model again/);
});

test("S06: an untouched source is not read again; a touched one is, and a changed one gives another model", async () => {
  const dir = folder();
  const model = path.join(folder(), "model");
  await cp(MODEL, model, { recursive: true });
  const done = async () => {
    const { out, code, err } = await cli("import", model, "--store", dir, "--json");
    assert.equal(code, 0, err);
    return JSON.parse(out.trim().split("\n").at(-1)!) as { id: string; reused: boolean; writtenBytes: number };
  };
  const first = await done();
  assert.equal((await done()).reused, true);
  const weights = path.join(model, "unet/diffusion_pytorch_model.safetensors");
  utimesSync(weights, new Date(), new Date(Date.now() - 5000));
  const touched = await done();
  assert.deepEqual(touched, { ...touched, id: first.id, reused: false, writtenBytes: 0 });
  const bytes = readFileSync(weights);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(weights, bytes);
  const changed = await done();
  assert.notEqual(changed.id, first.id);
});

test("pictures are byte-identical from the folder, the plain store and the packed store", async () => {
  const job = { prompt: "a lake", seed: 5, steps: 2, width: 16, height: 16 };
  const paint = async (options: OpenEngineOptions) => {
    await using engine = await openThreadlessEngine({ backend: "reference", ...options });
    for await (const event of engine.generate(job)) if (event.type === "image") return Buffer.from(event.bytes);
    throw new Error("no picture");
  };
  const wanted = await paint({ model: MODEL });
  for (const packed of ["off", "on"]) {
    const dir = folder();
    await cli("import", MODEL, "--store", dir, "--packed", packed);
    const [id] = await modelIds(nodeStore(dir));
    assert.ok(wanted.equals(await paint({ model: `store:${id!.slice(0, 8)}`, store: dir })), `packed ${packed}`);
  }
  const over = await paint({ model: MODEL, artifact: ARTIFACT });
  const dir = folder();
  await cli("import", MODEL, "--artifact", ARTIFACT, "--store", dir);
  const [id] = await modelIds(nodeStore(dir));
  assert.ok(over.equals(await paint({ model: `store:${id}`, store: dir })), "with an artifact");
});

test("a file where the store should be is said in one line by every command", async () => {
  const file = path.join(folder(), "file");
  writeFileSync(file, "");
  const commands = [
    ["import", MODEL],
    ["store", "list"],
    ["store", "clean"],
    ["store", "verify", "abcd"],
  ];
  for (const command of commands) {
    const { code, err } = await cli(...command, "--store", file);
    assert.equal(code, 3, `${command}: ${err}`);
    assert.match(
      err,
      /^E_STORE_FOLDER .*file: it is no folder.* Next: choose another folder with --store\.$/m,
      String(command),
    );
  }
});

async function unetOf(model: string): Promise<UNetConfig> {
  await using source = await openSdxlFolder(model);
  return source.parts.configs.unet;
}

test("a small artifact's weights count as RAM; one whose weights are too large goes into the store, however small its file", async () => {
  const dir = folder();
  const job = { prompt: "a lake", seed: 5, steps: 1, width: 32, height: 32 };
  const file = path.join(folder(), "small.lzr2");
  const open = async (heldArtifactBytes?: number) => {
    const request = { model: MODEL, artifact: file, store: dir, backend: "reference" } as const;
    const parts = await openNodeParts(request, (p) => p);
    const model = await findModel(
      nodeLibraryHost((p) => p, process.env),
      request,
      { heldArtifactBytes },
    );
    return { engine: await composeEngine({ ...parts, model }), processBytes: parts.host.processBytes };
  };
  const paint = async (engine: Engine) => {
    for await (const event of engine.generate(job)) if (event.type === "image") return Buffer.from(event.bytes);
    throw new Error("no picture");
  };
  const [key, shape] = [...unetSchema(await unetOf(MODEL))].sort((a, b) => elementCount(b[1]) - elementCount(a[1]))[0]!;
  const dp = 10;
  const blocks = Math.ceil(elementCount(shape) / shape[0]! / dp);
  const indices = new Array<number>(shape[0]! * blocks).fill(29_524); // of all levels the middle
  writeFileSync(file, artifactBytes({ key, shape, dp, indices, mean: new Array<number>(shape[0]!).fill(0.01) }));
  const decodedBytes = 2 * elementCount(shape);
  assert.ok(statSync(file).size < decodedBytes / 2, "the file should be smaller than its weights");

  const held = await open();
  assert.equal((await held.engine.plan(job)).processBytes - held.processBytes, decodedBytes);
  const wanted = await paint(held.engine);
  await held.engine[Symbol.asyncDispose]();
  assert.deepEqual(await modelIds(nodeStore(dir)), []);

  const stored = await open(decodedBytes - 1);
  assert.equal((await stored.engine.plan(job)).processBytes, stored.processBytes);
  assert.ok(wanted.equals(await paint(stored.engine)));
  await stored.engine[Symbol.asyncDispose]();
  assert.equal((await modelIds(nodeStore(dir))).length, 1);
});
