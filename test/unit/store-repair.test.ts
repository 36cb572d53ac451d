/** @file Repairs: what must be on the disk before what, crashes in between, and a lock that went to another process. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tableReader } from "../../src/store/import/build-table.ts";
import { importModel } from "../../src/store/import/import.ts";
import type { ImportRequest } from "../../src/store/import/import-types.ts";
import { type ManifestBlock, publishManifest } from "../../src/store/manifest.ts";
import { Pack } from "../../src/store/pack/pack.ts";
import { chunkPlaces, encodeFooter, encodeIndex } from "../../src/store/pack/pack-format.ts";
import { repairModel } from "../../src/store/repair.ts";
import { listModels, type Store } from "../../src/store/store.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { MemoryFs, MemoryLock, memoryStore } from "./memory-store-fs.ts";
import { eachCrash, requireOrder, twoModels } from "./store-crashes.ts";
import { checkModel, componentOf } from "./store-fixture.ts";

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

/** Block "a" was damaged before the repair, and is so at most until its end. */
async function onlyADamaged(store: Store, id: string, isEnd: boolean): Promise<void> {
  const problems = await verifyModel(store, id);
  if (isEnd) assert.deepEqual(problems, []);
  const others = problems.filter(({ kind, block }) => kind !== "block" || block?.label !== "a");
  assert.deepEqual(others, []);
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
        await onlyADamaged(crashed, id, isEnd);
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

test("all that is damaged in a pack is told: blocks, and room that isn't zero, which is made so whatever becomes of them", async () => {
  const { fs, store, over, fixtures } = await twoModels();
  const { model, pack } = await openUnet(store, fs, over);
  await model[Symbol.asyncDispose]();
  const file = await fs.open(pack, "edit");
  for (const at of [4096 + 9, 4096 + 4096 + 100]) await file.write(Uint8Array.of(fs.bytes(pack)[at]! ^ 4), at);
  await file.sync();
  const kinds = (await verifyModel(store, over)).map(({ kind }) => kind);
  assert.deepEqual(kinds.sort(), ["block", "gap"]);
  // The base model's weights aren't those that the artifact gave.
  const { repaired, left } = await repairModel(store, over, readerOf(fixtures[0].request));
  assert.deepEqual([repaired, left.map(({ kind }) => kind)], [[], ["block"]]);
  assert.equal(fs.bytes(pack)[4096 + 4096 + 100], 0);
});

test("a damaged block is told in each place that has it, and made once", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const { request } = twoBlocks("off");
  const [c] = request.components;
  const twice = { ...request, components: [c!, { ...c!, name: "d" }] };
  const { id } = await importModel(store, twice);
  const places = async () =>
    (await verifyModel(store, id)).map(({ component, block }) => `${component} ${block?.label}`);
  const pack = fs.paths().find((path) => path.endsWith(".pack"))!;
  fs.bytes(pack)[4096 + 9]! ^= 1;
  assert.deepEqual((await places()).sort(), ["c a", "d a"]);
  const { repaired, left } = await repairModel(store, id, readerOf(twice));
  assert.deepEqual([repaired, left], [["a"], []]);
});

async function openUnet(store: Store, fs: MemoryFs, id: string) {
  const model = await openStoredModel(store, id);
  const own = Buffer.from(model.block("unet", "unet", "b0")!.id);
  const pack = fs.paths().find((path) => path.endsWith(".pack") && Buffer.from(fs.bytes(path)).includes(own))!;
  return { model, pack };
}

/** A store whose damaged block "a" is packed as nobody packs it any more. */
async function packedOtherwise() {
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
  return { fs, store, request, id, expected };
}

test("a block that is packed otherwise now gets a pack of its own, whose name is on the disk before models have it", async () => {
  const { fs, store, request, id, expected } = await packedOtherwise();
  const from = fs.log.length;
  const { repaired, left } = await repairModel(store, id, readerOf(request));
  assert.deepEqual([repaired, left], [["a"], []]);
  const counts = requireOrder(fs, from);
  assert.deepEqual([counts.published, counts.named], [2, 1]);
  await checkModel(store, id, expected);
  await eachCrash(fs, from, async (after, isEnd) => await onlyADamaged(memoryStore(after), id, isEnd), 3);
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

test("a lock that went to another process: no block, no gap and no name is written from then on", async () => {
  const inPlace = async () => {
    const fs = new MemoryFs();
    const { request } = twoBlocks("off");
    const { id } = await importModel(memoryStore(fs), request);
    fs.bytes(fs.paths().find((path) => path.endsWith(".pack"))!)[5000]! ^= 1;
    return { fs, id, request };
  };
  const gap = async () => {
    const { fs, store, over } = await twoModels();
    const { model, pack } = await openUnet(store, fs, over);
    await model[Symbol.asyncDispose]();
    fs.bytes(pack)[4096 + 4096 + 100] = 7;
    return { fs, id: over, request: twoBlocks("off").request };
  };
  for (const [prepare, looks] of [
    [inPlace, 1],
    [gap, 1],
    [packedOtherwise, 2],
  ] as const) {
    for (let at = 0; at <= looks; at++) {
      const { fs, id, request } = await prepare();
      const lock = new MemoryLock();
      lock.lostAtCheck = at;
      fs.hook = (op, path) => {
        if (/^(write|rename)/.test(op) && !path.endsWith(".part")) assert.ok(lock.checks <= at, `${op} ${path}`);
        return undefined;
      };
      const names = () => fs.paths().filter((path) => /\.(pack|model)$/.test(path));
      const [before, from] = [names(), fs.log.length];
      const repair = repairModel(memoryStore(fs, lock), id, readerOf(request));
      if (at === looks) {
        assert.deepEqual((await repair).left, []);
        assert.equal(lock.checks, looks);
        continue;
      }
      await assert.rejects(repair, { code: "E_STORE_LOCK" });
      assert.equal(lock.isHeld, false);
      if (at > 0) continue;
      assert.deepEqual(names(), before);
      // What was written is gone with the folder it was made in.
      const there = new Set(before.map((path) => fs.names.get(path)));
      assert.ok(fs.log.slice(from).every((entry) => entry.op !== "write" || !there.has(entry.inode)));
    }
  }
});
