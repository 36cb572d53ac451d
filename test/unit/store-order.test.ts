/**
 * @file What must be on the disk before what: each operation of a store is recorded, and held against the rules by which no crash
 * loses or mixes anything. Then crashes themselves, of all that writes to a store and is no import.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { memorySource } from "../../src/source/memory.ts";
import { companionComponent, originComponent } from "../../src/store/companion.ts";
import { Field } from "../../src/store/fields.ts";
import type { StoreFile } from "../../src/store/fs.ts";
import { importModel } from "../../src/store/import/import.ts";
import { Journal } from "../../src/store/import/journal.ts";
import { SavePoint } from "../../src/store/import/save-point.ts";
import { SerialWork } from "../../src/store/import/serial-work.ts";
import { decodePackBlock, extentBytes } from "../../src/store/pack/pack-format.ts";
import { cleanStore, removeModel } from "../../src/store/removal.ts";
import { listModels, modelIds } from "../../src/store/store.ts";
import { MemoryFs, MemoryLock, memoryStore } from "./memory-store-fs.ts";
import { eachCrash, folderOf, requireOrder, twoModels } from "./store-crashes.ts";
import { checkModel, componentOf, fixture } from "./store-fixture.ts";

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

/** A disk that takes its time: writes end, and read what they are given, some turns later. `told`: what was done too soon. */
function slowDisk() {
  const fs = new MemoryFs();
  const told: string[] = [];
  const open = fs.open.bind(fs);
  fs.open = async (path, mode) => {
    const file = await open(path, mode);
    let writing = 0;
    const write = file.write.bind(file);
    file.write = async (bytes, at) => {
      writing++;
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
      writing--;
      return await write(bytes, at);
    };
    for (const op of ["sync", "close"] as const) {
      const now = file[op].bind(file);
      file[op] = async () => {
        if (writing > 0) told.push(`${op} of ${path} while ${writing} writes are under way`);
        await now();
      };
    }
    return file;
  };
  return { fs, store: memoryStore(fs), told };
}

test("on a slow disk: nothing is hashed, synced or closed before what was written to it is there", async () => {
  for (const packed of ["off", "on"] as const) {
    const { store, told } = slowDisk();
    const { request, expected } = fixture({ packed });
    await checkModel(store, (await importModel(store, request)).id, expected);
    assert.deepEqual(told, []);
  }
});

test("on a slow disk: an import that fails lets what is under way end before it closes its files", async () => {
  const { request } = fixture();
  const { source, compat } = request.components[1]!.artifact!;
  const whole = new Uint8Array(source.byteLength);
  await source.read(0, whole);
  for (const packed of ["off", "on"] as const) {
    const { store, told } = slowDisk();
    // Its last record is cut: what the others hold is on its way then.
    const artifact = { source: memorySource("cut.lzr2", whole.slice(0, -2)), compat };
    const components = request.components.map((part) => (part.artifact ? { ...part, artifact } : part));
    await assert.rejects(importModel(store, { ...request, components, packed }), { code: "E_TRUNCATED" });
    assert.deepEqual(told, []);
  }
});

test("a save point in the midst of the work: its writes end, then the lock is looked at, the part synced, its lines written", async () => {
  const log: string[] = [];
  const slowly = async (what: string) => {
    await new Promise((resolve) => setImmediate(resolve));
    log.push(what);
  };
  const fs = new MemoryFs();
  const journal = await Journal.open(fs, "s/journal");
  fs.hook = (op) => {
    if (op === "write") log.push("journal");
    return undefined;
  };
  const part = { sync: () => slowly("sync") } as unknown as StoreFile;
  const savePoint = new SavePoint(part, journal, () => slowly("lock"));
  const HALF = 150 * 1024 ** 2;
  savePoint.add({ key: "a" }, HALF);
  await savePoint.flushIfDue(() => slowly("too soon"));
  assert.deepEqual(log, []);
  savePoint.add({ key: "b" }, HALF);
  await savePoint.flushIfDue(() => slowly("written"));
  await savePoint.settle();
  assert.deepEqual(log, ["written", "lock", "sync", "journal"]);
  const lines = Buffer.from(fs.bytes("s/journal")).toString().trim().split("\n");
  assert.deepEqual(
    lines.map((line) => line.slice(9)),
    ['{"key":"a"}', '{"key":"b"}'],
  );
});

test("a save point that fails writes none of its lines, and nothing is saved after it", async () => {
  for (const failing of ["written", "lock", "sync"]) {
    const fs = new MemoryFs();
    const journal = await Journal.open(fs, "s/journal");
    const step = async (what: string) => {
      if (what === failing) throw new Error(`${what} failed`);
    };
    const part = { sync: () => step("sync") } as unknown as StoreFile;
    const savePoint = new SavePoint(part, journal, () => step("lock"));
    savePoint.add({ key: "a" }, 2 ** 30);
    await savePoint.flushIfDue(() => step("written"));
    await assert.rejects(savePoint.settle(), { message: `${failing} failed` });
    savePoint.add({ key: "b" }, 2 ** 30);
    await assert.rejects(savePoint.flushIfDue(), { message: `${failing} failed` });
    await assert.rejects(savePoint.flush(), { message: `${failing} failed` });
    assert.equal(fs.bytes("s/journal").byteLength, 0, failing);
  }
});

test("work in turn: after a failure nothing begins, whoever asks is told the first one, and who must wait waits", async () => {
  const begun: string[] = [];
  const work = new SerialWork();
  const step = (name: string, fails: boolean) =>
    work.add(async () => {
      begun.push(name);
      await new Promise((resolve) => setImmediate(resolve));
      begun.push(`${name} ends`);
      if (fails) throw new Error(`${name} failed`);
    });
  step("a", false);
  await work.done();
  for (const name of ["b", "c", "d"]) step(name, true);
  assert.equal(work.waiting, 3);
  work.throwFailure();
  const settled = work.settled().then(() => begun.length);
  await assert.rejects(work.done(), { message: "b failed" });
  assert.equal(await settled, 4);
  assert.deepEqual([begun, work.waiting], [["a", "a ends", "b", "b ends"], 0]);
  assert.throws(() => work.throwFailure(), { message: "b failed" });
  step("e", false);
  await assert.rejects(work.done(), { message: "b failed" });
  assert.equal(begun.length, 4);
});

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

test("a lock that went to another process: nothing is removed from then on", async () => {
  for (const command of ["remove", "clean"] as const) {
    /** With the lock lost at the `at`-th look; resolves to how many there were. */
    const run = async (at: number) => {
      const { fs, store: first, base, over } = await twoModels();
      const { id: stray } = await importModel(first, companionOf("gone"));
      await (await fs.open("s/imports/x/journal", "create")).sync();
      if (command === "clean") await fs.remove(`s/models/${over}.model`);
      const lock = new MemoryLock();
      lock.lostAtCheck = at;
      let removals = 0;
      fs.hook = (op, path) => {
        if (!/^remove/.test(op)) return undefined;
        assert.equal(lock.checks, ++removals, `${path} without a look at the lock`);
        assert.ok(lock.checks <= at, `${path}, which is another process's`);
        return undefined;
      };
      const store = memoryStore(fs, lock);
      const work = command === "remove" ? removeModel(store, over) : cleanStore(store);
      if (at === Number.POSITIVE_INFINITY) await work;
      else await assert.rejects(work, { code: "E_STORE_LOCK" });
      assert.equal(lock.isHeld, false);
      const ids = await modelIds(store);
      assert.ok(ids.includes(base));
      if (at === Number.POSITIVE_INFINITY) assert.ok(!ids.includes(stray) && !ids.includes(over));
      return lock.checks;
    };
    const looks = await run(Number.POSITIVE_INFINITY);
    // The model or what an import left, the companion, and the packs of both.
    assert.ok(looks >= 4, `${looks}`);
    for (let at = 0; at < looks; at++) await run(at);
  }
});

/** What a model got later that is not there any more. */
function companionOf(name: string) {
  const { bytes: _, ...later } = componentOf("later", { l: { "l.w": ["f16", [3000]] } }, 9);
  const sources = [{ role: name, path: "", stamp: "1" }];
  return { name, components: [{ ...later, sources }, originComponent(sources)], packed: "off" } as const;
}

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
