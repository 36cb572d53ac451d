/**
 * @file What must be on the disk before what: each operation of a store is recorded, and held against the rules by which no crash
 * loses or mixes anything. Then crashes themselves, of all that writes to a store and is no import.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { companionComponent, originComponent } from "../../src/store/companion.ts";
import { Field } from "../../src/store/fields.ts";
import { tableReader } from "../../src/store/import/build-table.ts";
import { importModel } from "../../src/store/import/import.ts";
import type { ImportRequest } from "../../src/store/import/import-types.ts";
import { type ManifestBlock, publishManifest } from "../../src/store/manifest.ts";
import { Pack } from "../../src/store/pack/pack.ts";
import {
  chunkPlaces,
  decodePackBlock,
  encodeFooter,
  encodeIndex,
  extentBytes,
} from "../../src/store/pack/pack-format.ts";
import { cleanStore, removeModel } from "../../src/store/removal.ts";
import { repairModel } from "../../src/store/repair.ts";
import { listModels, modelIds, type Store } from "../../src/store/store.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { type LogEntry, MemoryFs, memoryStore } from "./memory-store-fs.ts";
import { checkModel, componentOf, type Fixture, fixture, randomOf } from "./store-fixture.ts";

const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/"));

/** Holds the log from `from` on against the rules; returns how many times each was put to the test. */
function requireOrder(fs: MemoryFs, from = 0): Record<string, number> {
  const counts: Record<string, number> = { published: 0, named: 0, journaled: 0, removed: 0 };
  const names = new Map<string, number>();
  /** Of each file: whether something is not on the disk yet. */
  const unsynced = new Map<number, LogEntry[]>();
  /** Of each folder: names that are not on the disk yet. */
  const loose = new Map<string, string[]>();
  const dirty = (inode: number) => unsynced.get(inode)?.length ?? 0;
  const change = (folder: string, what: string) => loose.set(folder, [...(loose.get(folder) ?? []), what]);
  for (const [i, entry] of fs.log.entries()) {
    const judged = i >= from;
    switch (entry.op) {
      case "create":
        names.set(entry.path, entry.inode);
        change(folderOf(entry.path), entry.path);
        break;
      case "write":
      case "truncate": {
        const path = [...names].find(([, inode]) => inode === entry.inode)?.[0];
        if (judged && entry.op === "write" && path?.endsWith("/journal")) {
          const text = new TextDecoder().decode(entry.bytes);
          // A line about a part stands behind all that it speaks of.
          for (const [part, inode] of names) {
            const [key] = /[^/]+(?=\.(part|placed)$)/.exec(part) ?? [];
            if (key === undefined || folderOf(part) !== folderOf(path)) continue;
            if (!text.includes(`"t":"block","key":"${key}"`) && !text.includes(`"t":"record","key":"${key}"`)) continue;
            assert.equal(dirty(inode), 0, `${part} is not on the disk when the journal speaks of it`);
            counts.journaled!++;
          }
        }
        unsynced.set(entry.inode, [...(unsynced.get(entry.inode) ?? []), entry]);
        break;
      }
      case "sync":
        unsynced.delete(entry.inode);
        break;
      case "rename": {
        const inode = names.get(entry.path)!;
        if (judged && /\.(pack|model)$/.test(entry.to)) {
          assert.equal(dirty(inode), 0, `${entry.to} gets its name before its content is on the disk`);
          counts.published!++;
          const journal = names.get(`${folderOf(entry.path)}/journal`);
          if (journal !== undefined)
            assert.equal(dirty(journal), 0, "the journal is to know of a pack before it has its name");
        }
        if (judged && entry.to.endsWith(".model")) {
          assert.deepEqual(loose.get("s/packs") ?? [], [], "a model names packs whose names are not on the disk");
          counts.named!++;
        }
        names.delete(entry.path);
        names.set(entry.to, inode);
        change(folderOf(entry.path), entry.path);
        change(folderOf(entry.to), entry.to);
        break;
      }
      case "remove":
        if (judged && entry.path.endsWith(".pack")) {
          const gone = (loose.get("s/models") ?? []).filter((path) => path.endsWith(".model"));
          assert.deepEqual(gone, [], "a pack goes before it is sure that no model has it");
          counts.removed!++;
        }
        names.delete(entry.path);
        change(folderOf(entry.path), entry.path);
        break;
      case "syncFolder":
        loose.delete(entry.path);
    }
  }
  // What an operation has told as done is on the disk.
  for (const folder of ["s/packs", "s/models"]) assert.deepEqual(loose.get(folder) ?? [], [], `names in ${folder}`);
  for (const [path, inode] of names) {
    if (/\.(pack|model)$/.test(path)) assert.equal(dirty(inode), 0, `content of ${path}`);
  }
  return counts;
}

for (const packed of ["off", "on"] as const) {
  test(`an import: content before names, parts before the journal, packs before the model (packed ${packed})`, async () => {
    const fs = new MemoryFs();
    await importModel(memoryStore(fs), fixture({ packed }).request);
    const counts = requireOrder(fs);
    assert.deepEqual({ ...counts, journaled: 0 }, { published: 4, named: 1, journaled: 0, removed: 0 });
    assert.ok(counts.journaled! >= 3);
  });
}

test("an import that went on after a cut: the same", async () => {
  for (let count = 10; count < 150; count += 9) {
    const fs = new MemoryFs();
    let left = count;
    fs.hook = () => {
      if (left-- <= 0) throw Object.assign(new Error("killed"), { code: "KILLED" });
      return undefined;
    };
    await importModel(memoryStore(fs), fixture().request).catch(() => undefined);
    fs.hook = () => undefined;
    const from = fs.log.length;
    await importModel(memoryStore(fs), fixture().request);
    requireOrder(fs, from);
  }
});

test("the journal's lines name bytes that were synced, in any prefix of the work", async () => {
  const fs = new MemoryFs();
  await importModel(memoryStore(fs), fixture().request);
  let lines = 0;
  for (let length = 0; length <= fs.log.length; length++) {
    if (fs.log[length - 1]?.op !== "sync") continue;
    // Nothing that was not synced came to the disk.
    const after = fs.crashed(length, () => 0.999);
    for (const path of after.paths().filter((name) => name.endsWith("/journal"))) {
      for (const line of Buffer.from(after.bytes(path)).toString().split("\n")) {
        const json = line.slice(9);
        if (!json.includes('"t":"block"')) continue;
        const entry = JSON.parse(json) as { readonly key: string };
        const block = decodePackBlock(Field.parse("journal", json).get("block"));
        const part = [...fs.log.slice(0, length)].reverse().find((item) => {
          return item.op === "create" && item.path.startsWith(`${folderOf(path)}/${entry.key}.`);
        });
        assert.ok(part?.op === "create");
        const inode = after.inodes.get(part.inode);
        assert.ok(inode && inode.bytes.byteLength >= block.startByte + extentBytes(block), `${entry.key} at ${length}`);
        lines++;
      }
    }
  }
  assert.ok(lines > 10, `${lines}`);
});

/** A store with a base and a model over it, which shares some of its packs. */
async function twoModels(): Promise<{
  fs: MemoryFs;
  store: Store;
  base: string;
  over: string;
  fixtures: [Fixture, Fixture];
}> {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const fixtures: [Fixture, Fixture] = [fixture({ artifact: false }), fixture()];
  const { id: base } = await importModel(store, fixtures[0].request);
  const { id: over } = await importModel(store, fixtures[1].request);
  return { fs, store, base, over, fixtures };
}

/** Calls `check` with states that a crash may leave at any moment since `from`. */
async function eachCrash(
  fs: MemoryFs,
  from: number,
  check: (after: MemoryFs, isEnd: boolean) => Promise<void>,
  rounds = 6,
): Promise<number> {
  const random = randomOf(17);
  let states = 0;
  for (let length = from; length <= fs.log.length; length++) {
    for (let round = 0; round < rounds; round++, states++) {
      // All that may be lost is lost, all that may be there is there, and mixtures.
      const draw = round === 0 ? () => 0 : round === 1 ? () => 0.999 : random;
      await check(fs.crashed(length, draw), length === fs.log.length);
    }
  }
  return states;
}

test("removal: the model's name goes for good before its packs do; crashes leave whole models only", async () => {
  const { fs, store, base, over, fixtures } = await twoModels();
  const from = fs.log.length;
  const { packs } = await removeModel(store, over);
  assert.equal(packs, 1);
  assert.equal(requireOrder(fs, from).removed, 1);
  const states = await eachCrash(fs, from, async (after, isEnd) => {
    const crashed = memoryStore(after);
    await checkModel(crashed, base, fixtures[0].expected);
    const ids = await modelIds(crashed);
    if (ids.includes(over)) await checkModel(crashed, over, fixtures[1].expected);
    if (isEnd) assert.deepEqual(ids, [base]);
    // The next cleaning finishes it.
    const whole = ids.includes(over) ? 4 : 3;
    await cleanStore(crashed);
    assert.equal(after.paths().filter((path) => path.endsWith(".pack")).length, isEnd ? 3 : whole);
    await checkModel(crashed, base, fixtures[0].expected);
  });
  assert.ok(states > 20);
});

test("cleaning: what it says is gone is gone after a crash, too", async () => {
  const { fs, store, base, over, fixtures } = await twoModels();
  await fs.remove(`s/models/${over}.model`);
  await fs.syncFolder("s/models");
  const from = fs.log.length;
  assert.equal((await cleanStore(store)).packs, 1);
  assert.equal(requireOrder(fs, from).removed, 1);
  await eachCrash(fs, from, async (after) => await checkModel(memoryStore(after), base, fixtures[0].expected));
});

const readerOf = (request: ImportRequest) => async (component: string, block: ManifestBlock) =>
  tableReader(block, request.components.find(({ name }) => name === component)!.table);

/** One component of two blocks, the first of several chunks' length, in one pack. */
function twoBlocks(packed: "on" | "off") {
  const { bytes, ...component } = componentOf(
    "c",
    { a: { x: ["f16", [270, 1000]], y: ["f16", [3]] }, b: { z: ["f16", [1500]] } },
    11,
  );
  return { request: { name: "small", components: [component], packed }, expected: bytes } as const;
}

for (const packed of ["off", "on"] as const) {
  test(`repair in place: synced before it is told, and a crash damages nothing else (packed ${packed})`, async () => {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    const { request, expected } = twoBlocks(packed);
    const { id } = await importModel(store, request);
    const pack = fs.paths().find((path) => path.endsWith(".pack"))!;
    const whole = Uint8Array.from(fs.bytes(pack));
    // As rotten on the disk as in the log of what was written to it.
    const file = await fs.open(pack, "edit");
    // In the first chunk and in the last.
    const sound = await Pack.open(fs, pack, pack.slice("s/packs/".length, -".pack".length));
    for (const { startByte } of chunkPlaces(sound.blocks[0]!)) {
      await file.write(Uint8Array.of(whole[startByte + 9]! ^ 1), startByte + 9);
    }
    await sound[Symbol.asyncDispose]();
    await file.sync();
    const from = fs.log.length;
    const { repaired, left } = await repairModel(store, id, readerOf(request));
    assert.deepEqual([repaired, left], [["a"], []]);
    assert.deepEqual(Buffer.compare(fs.bytes(pack), whole), 0);
    requireOrder(fs, from);
    await eachCrash(
      fs,
      from,
      async (after, isEnd) => {
        const crashed = memoryStore(after);
        const problems = await verifyModel(crashed, id);
        if (isEnd) assert.deepEqual(problems, []);
        assert.ok(problems.every(({ kind, block }) => kind === "block" && block?.label === "a"));
        await repairModel(crashed, id, readerOf(request));
        await checkModel(crashed, id, expected);
      },
      2,
    );
  });
}

test("room between blocks that is not zero is made so, and that is on the disk", async () => {
  const { fs, store, over, fixtures } = await twoModels();
  const { model, pack } = await openUnet(store, fs, over);
  await model[Symbol.asyncDispose]();
  const file = await fs.open(pack, "edit");
  const hole = 4096 + 4096 + 100; // behind b0: b1 lies in the base model's pack
  await file.write(Uint8Array.of(7), hole);
  await file.sync();
  assert.deepEqual(
    (await verifyModel(store, over)).map(({ kind }) => kind),
    ["gap"],
  );
  const from = fs.log.length;
  await repairModel(store, over, () => assert.fail("no block is damaged"));
  requireOrder(fs, from);
  assert.equal(fs.bytes(pack)[hole], 0);
  assert.deepEqual(await verifyModel(memoryStore(fs.crashed(fs.log.length, () => 0.999)), over), []);
  await checkModel(store, over, fixtures[1].expected);
});

async function openUnet(store: Store, fs: MemoryFs, id: string) {
  const model = await openStoredModel(store, id);
  const own = Buffer.from(model.block("unet", "unet", "b0")!.id);
  const pack = fs.paths().find((path) => path.endsWith(".pack") && Buffer.from(fs.bytes(path)).includes(own))!;
  return { model, pack };
}

test("a block that is packed otherwise now gets a pack of its own, whose name is on the disk before models have it", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const { request, expected } = twoBlocks("on");
  const { id } = await importModel(store, request);
  const other = twoBlocks("off");
  const plainFs = new MemoryFs();
  await importModel(memoryStore(plainFs), other.request);
  // A planes index over chunks that are kept plain, as where nothing could be gained.
  const plainPack = plainFs.paths().find((path) => path.endsWith(".pack"))!;
  const name = plainPack.slice(plainPack.lastIndexOf("/") + 1, -".pack".length);
  await using opened = await Pack.open(plainFs, plainPack, name);
  const blocks = opened.blocks.map((block) => ({
    ...block,
    codec: "planes" as const,
    sizes: block.crcs.map((_, i) => Math.min(512 * 1024, block.plainBytes - i * 512 * 1024)),
  }));
  const index = encodeIndex(blocks);
  const whole = plainFs.bytes(plainPack);
  const indexStart = Number(new DataView(whole.buffer).getBigUint64(whole.length - 56, true));
  const bytes = Buffer.concat([
    whole.subarray(0, indexStart),
    index.bytes,
    encodeFooter(index, indexStart, blocks.length),
  ]);
  bytes[5000]! ^= 1;
  // It stands in for the model's pack.
  const old = fs.paths().find((path) => path.endsWith(".pack"))!;
  await fs.remove(old);
  const file = await fs.open(`s/packs/${index.name}.pack`, "create");
  await file.write(bytes, 0);
  await file.sync();
  await fs.syncFolder("s/packs");
  const manifest = (await listModels(store))[0]!.manifest!;
  const components = manifest.components.map((component) => ({
    ...component,
    blocks: component.blocks.map((block) => ({ ...block, pack: index.name })),
  }));
  await publishManifest(fs, "s/models", { ...manifest, components });
  const from = fs.log.length;
  const { repaired, left } = await repairModel(store, id, readerOf(request));
  assert.deepEqual([repaired, left], [["a"], []]);
  const counts = requireOrder(fs, from);
  assert.deepEqual([counts.published, counts.named], [2, 1]);
  await checkModel(store, id, expected);
  await eachCrash(
    fs,
    from,
    async (after, isEnd) => {
      const crashed = memoryStore(after);
      const problems = await verifyModel(crashed, id);
      if (isEnd) assert.deepEqual(problems, []);
      assert.ok(
        problems.every(({ kind, block }) => kind === "block" && block?.label === "a"),
        JSON.stringify(problems),
      );
    },
    3,
  );
});

test("a block of other content than its name says never takes its place", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const { request } = twoBlocks("off");
  const { id } = await importModel(store, request);
  const pack = fs.paths().find((path) => path.endsWith(".pack"))!;
  fs.bytes(pack)[5000]! ^= 1;
  const before = Uint8Array.from(fs.bytes(pack));
  const wrong = async (): Promise<(startByte: number, into: Uint8Array) => Promise<void>> => async (_, into) =>
    void into.fill(5);
  const { repaired, left } = await repairModel(store, id, wrong);
  assert.deepEqual(repaired, []);
  assert.equal(left.length, 1);
  assert.deepEqual(Buffer.compare(fs.bytes(pack), before), 0);
  assert.ok(!fs.paths().some((path) => path.includes("/imports/")));
});

test("what a model got later comes whole or not at all, and the model stays as it is", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const model = fixture({ artifact: false });
  const { id } = await importModel(store, model.request);
  const sources = model.request.components[2]!.sources;
  const { bytes, ...later } = componentOf("later", { l: { "l.w": ["f16", [3000]] } }, 9);
  const request = {
    name: "later",
    components: [{ ...later, sources }, originComponent(sources)],
    packed: "off",
  } as const;
  const from = fs.log.length;
  const companion = (await importModel(store, request)).id;
  requireOrder(fs, from);
  const origin = new TextEncoder().encode(JSON.stringify(sources.map(({ role, stamp }) => [role, stamp])));
  const expected = new Map([...bytes, ["origin", origin]]);
  await checkModel(store, companion, expected);
  let found = 0;
  await eachCrash(
    fs,
    from,
    async (after, isEnd) => {
      const crashed = memoryStore(after);
      await checkModel(crashed, id, model.expected);
      const models = await listModels(crashed);
      const there = models.some((listed) => listed.id === companion);
      assert.ok(there || !isEnd);
      if (there) found++;
      if (there) await checkModel(crashed, companion, expected);
      assert.ok(models.every(({ manifest }) => manifest && (manifest.id === id) === !companionComponent(manifest)));
    },
    2,
  );
  assert.ok(found > 2);
  const removing = fs.log.length;
  assert.equal((await removeModel(store, id)).companions, 1);
  requireOrder(fs, removing);
  await eachCrash(
    fs,
    removing,
    async (after) => {
      const crashed = memoryStore(after);
      for (const { id: listed } of await listModels(crashed)) {
        await checkModel(crashed, listed, listed === id ? model.expected : expected);
      }
      await cleanStore(crashed);
      if (!(await modelIds(crashed)).includes(id)) assert.deepEqual(after.paths(), []);
    },
    3,
  );
});
