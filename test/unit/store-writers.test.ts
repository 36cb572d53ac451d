/** @file Who writes to a store: one at a time, with a lock that may go to another process, and a journal to go on from. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { importModel } from "../../src/store/import/import.ts";
import type { ImportEvent } from "../../src/store/import/import-types.ts";
import { Journal } from "../../src/store/import/journal.ts";
import { cleanStore, removeModel } from "../../src/store/removal.ts";
import { repairModel } from "../../src/store/repair.ts";
import { findModelId, lockToWrite } from "../../src/store/store.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { MemoryFs, MemoryLock, memoryStore } from "./memory-store-fs.ts";
import { checkModel, componentOf, fixture } from "./store-fixture.ts";

const ID = (digit: string) => digit.repeat(64);

test("the writer's lock is let go whatever fails, and nobody writes without it", async () => {
  const sound = new MemoryFs();
  const { id } = await importModel(memoryStore(sound), fixture({ artifact: false }).request);
  // What a killed process has left is removed under the lock, too.
  for (const path of [`s/models/${ID("0")}.model.partial`, "s/imports/repair/block.part"]) {
    await sound.open(path, "create");
    await sound.syncFolder(path.slice(0, path.lastIndexOf("/")));
  }
  const commands: Record<string, (store: ReturnType<typeof memoryStore>) => Promise<unknown>> = {
    import: (store) => importModel(store, fixture().request),
    remove: (store) => removeModel(store, id),
    clean: (store) => cleanStore(store),
    repair: (store) => repairModel(store, id, () => Promise.reject(new Error("no sources"))),
  };
  for (const [name, command] of Object.entries(commands)) {
    for (let k = 0, fired = true; fired; k += name === "import" ? 7 : 1) {
      const fs = sound.crashed(sound.log.length, () => 1);
      const lock = new MemoryLock();
      let left = k;
      fired = false;
      fs.hook = (op, path) => {
        if (/^(write|rename|remove|create|truncate)/.test(op)) assert.ok(lock.isHeld, `${op} ${path} without the lock`);
        if (left-- !== 0) return undefined;
        fired = true;
        throw Object.assign(new Error("EIO: injected"), { code: "EIO" });
      };
      await command(memoryStore(fs, lock)).catch(() => undefined);
      assert.equal(lock.isHeld, false, `${name}, operation ${k}`);
      assert.ok(lock.taken <= 1);
    }
  }
});

test("two that write take turns: the second waits, says so, and finds the first one's work; whoever gives up waiting holds nothing", async () => {
  const fs = new MemoryFs();
  const lock = new MemoryLock();
  const store = memoryStore(fs, lock);
  const events: string[] = [];
  const held = await lock.take({ onWait: () => assert.fail("it is free") });
  const all = ["one", "two"].map((name) =>
    importModel(store, fixture().request, { onEvent: ({ type }) => type === "wait" && events.push(name) }),
  );
  const stop = new AbortController();
  const third = removeModel(store, ID("0"), { signal: stop.signal, onWait: () => events.push("three") });
  for (let i = 0; i < 10; i++) await new Promise((resume) => setImmediate(resume));
  assert.deepEqual(events.toSorted(), ["one", "three", "two"]);
  assert.deepEqual(fs.paths(), []);
  stop.abort(new Error("enough"));
  await assert.rejects(third, /enough/);
  await held[Symbol.asyncDispose]();
  const [one, two] = await Promise.all(all);
  assert.deepEqual([one!.reused, two!.reused].toSorted(), [false, true]);
  assert.equal(lock.isHeld, false);
  await checkModel(store, one!.id, fixture().expected);
});

test("a lock that went to another process: nothing gets a name, and the journal no line, from then on", async () => {
  const whole = new MemoryLock();
  const first = new MemoryFs();
  await importModel(memoryStore(first, whole), fixture().request);
  // Before each pack, each line and the model.
  assert.ok(whole.checks >= 7, `${whole.checks} looks`);
  const names = (fs: MemoryFs) => fs.paths().filter((path) => /\.(pack|model)$/.test(path));
  const counts: number[] = [];
  for (let at = 0; at < whole.checks; at++) {
    const fs = new MemoryFs();
    const lock = new MemoryLock();
    lock.lostAtCheck = at;
    await assert.rejects(importModel(memoryStore(fs, lock), fixture().request), { code: "E_STORE_LOCK" });
    assert.ok(!names(fs).some((path) => path.endsWith(".model")));
    assert.equal(lock.isHeld, false);
    counts.push(names(fs).length);
    // The log after the last look that went well: no name, no line.
    const journals = fs.paths().filter((path) => path.endsWith("/journal"));
    for (const path of journals) {
      const { entries } = await Journal.open(fs, path);
      const done = entries.filter((entry) => entry.get("t").text() === "done").length;
      assert.ok(done === names(fs).length, `${done} done, ${names(fs).length} packs`);
      if (at === 0) assert.equal(entries.length, 0);
    }
  }
  // The last look is the model's: all packs are there by then.
  assert.equal(counts.at(-1), names(first).length - 1);
  assert.equal(counts[0], 0);
});

test("a journal is believed up to its first line that is not sound, and goes on from there", async () => {
  const fs = new MemoryFs();
  {
    await using journal = await Journal.open(fs, "journal");
    await journal.append([{ n: 1 }, { n: 2 }]);
    await journal.append([]);
    await journal.append([{ n: 3 }]);
  }
  const whole = Uint8Array.from(fs.bytes("journal"));
  assert.equal(fs.log.filter(({ op }) => op === "sync").length, 2);
  const lineEnds = [...whole.entries()].flatMap(([i, byte]) => (byte === 10 ? [i + 1] : []));
  for (let at = 0; at < whole.length; at++) {
    for (const kind of ["cut", "flip"] as const) {
      const made = new MemoryFs();
      const bytes = kind === "cut" ? whole.subarray(0, at) : whole.map((byte, i) => (i === at ? byte ^ 1 : byte));
      await (await made.open("journal", "create")).write(bytes, 0);
      const sound = lineEnds.filter((end) => end <= at).length;
      {
        await using journal = await Journal.open(made, "journal");
        assert.deepEqual(
          journal.entries.map((entry) => entry.get("n").whole(1, 3)),
          [1, 2, 3].slice(0, sound),
          `${kind} at ${at}`,
        );
        await journal.append([{ n: 9 }]);
      }
      await using again = await Journal.open(made, "journal");
      assert.deepEqual(
        again.entries.map((entry) => entry.get("n").whole(1, 9)),
        [...[1, 2, 3].slice(0, sound), 9],
      );
    }
  }
});

test("who writes first removes what killed processes left: unpublished names and a repair's folder, nothing else", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const id = "a".repeat(64);
  const keep = [`s/models/${id}.model`, `s/packs/${id}.pack`, `s/imports/${id}/journal`, "s/models/notes.txt"];
  const left = [`s/models/${id}.model.partial`, "s/models/x.partial", `s/imports/repair/${id}.part`];
  for (const file of [...keep, ...left]) {
    await fs.makeFolder(file.slice(0, file.lastIndexOf("/")));
    await (await fs.open(file, "create")).close();
  }
  await (await lockToWrite(store, { onWait: () => undefined }))[Symbol.asyncDispose]();
  assert.deepEqual(fs.paths().sort(), keep.sort());
});

test("a model is named by four digits of its id or more, which are its alone", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const none = (prefix: string) =>
    assert.rejects(findModelId(store, prefix), { code: "E_STORE_MODEL", problem: /no model in the store/ });
  await fs.makeFolder("s/models");
  const ids = ["abcd0", "abcd1", "ef012"].map((start) => start.padEnd(64, "7"));
  for (const id of ids) await (await fs.open(`s/models/${id}.model`, "create")).close();
  for (const id of ids)
    for (const digits of [5, 12, 64]) assert.equal(await findModelId(store, id.slice(0, digits)), id);
  assert.equal(await findModelId(store, "ef01"), ids[2]);
  for (const prefix of ["", "e", "ef0", "EF01", "ef013", "f012", "ef01*", `${ids[2]}7`, "../ef01"]) await none(prefix);
  await assert.rejects(findModelId(store, "abcd"), { code: "E_STORE_MODEL", problem: "2 models begin so" });
});

test("an import that was cut off anywhere, and what it had written came into the store otherwise since: a sound pack all the same", async () => {
  let wasKilled = true;
  let shared = 0;
  for (let count = 1; wasKilled; count += 2) {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    let left = count;
    wasKilled = false;
    fs.hook = () => {
      if (left-- > 0) return undefined;
      wasKilled = true;
      throw Object.assign(new Error("killed"), { code: "KILLED" });
    };
    await importModel(store, fixture().request).catch(() => undefined);
    fs.hook = () => undefined;
    const base = await importModel(store, fixture({ artifact: false }).request);
    const { request, expected } = fixture();
    const progress: [number, number][] = [];
    const onEvent = (event: ImportEvent) => {
      if (event.type === "component" && event.component === "unet") shared += event.sharedBlocks;
      if (event.type === "progress") progress.push([event.doneBytes, event.totalBytes]);
    };
    const { id, reused, plainBytes } = await importModel(store, request, { onEvent });
    await checkModel(store, id, expected);
    // Whatever is made, found or taken up counts, once.
    if (!reused) assert.deepEqual(progress.at(-1), [plainBytes, plainBytes], `killed at ${count}`);
    assert.deepEqual(
      progress.map(([done]) => done),
      progress.map(([done]) => done).toSorted((a, b) => a - b),
    );
    for (const model of [base.id, id]) assert.deepEqual(await verifyModel(store, model), [], `killed at ${count}`);
  }
  assert.ok(shared > 3, `${shared} shared`);
});

test("an import that was cut off goes on with blocks that are cut as it cuts them, and with no others", async () => {
  const { bytes, ...one } = componentOf("c", { a: { x: ["f16", [900]] }, b: { y: ["f16", [900]] } }, 4);
  const [a, b] = one.blocks;
  // As another version may cut the same files: equally long, and of other tensors.
  const otherwise = {
    ...one,
    blocks: [
      { ...a!, tensors: b!.tensors },
      { ...b!, tensors: a!.tensors },
    ],
  };
  let wasKilled = true;
  for (let count = 1; wasKilled; count++) {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    let left = count;
    wasKilled = false;
    fs.hook = () => {
      if (left-- > 0) return undefined;
      wasKilled = true;
      throw Object.assign(new Error("killed"), { code: "KILLED" });
    };
    await importModel(store, { name: "n", components: [one], packed: "off" }).catch(() => undefined);
    fs.hook = () => undefined;
    // Also one that is whole is no model that is cut otherwise.
    const { id, reused } = await importModel(store, { name: "n", components: [otherwise], packed: "off" });
    assert.equal(reused, false);
    await checkModel(store, id, bytes);
  }
});
