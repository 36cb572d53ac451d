/** @file The block store in memory: what comes out is what went in, shared blocks are shared, cut-off imports go on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ledger } from "../../src/ledger/ledger.ts";
import { chooseCodec } from "../../src/store/import/codec-choice.ts";
import { importModel } from "../../src/store/import/import.ts";
import type { ImportEvent } from "../../src/store/import/import-types.ts";
import { BLOCK_ALIGNMENT_BYTES, CHUNK_BYTES, layoutBlock } from "../../src/store/pack/block-layout.ts";
import { CHUNKS_BYTES } from "../../src/store/pack/pack-writer.ts";
import { cleanStore, removeModel } from "../../src/store/removal.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { MemoryFs, memoryStore } from "./memory-store-fs.ts";
import { checkModel, componentOf, type Fixture, fixture, importAndCheck, randomOf } from "./store-fixture.ts";

const packs = (fs: MemoryFs) => fs.paths().filter((path) => path.endsWith(".pack"));

test("a block holds its tensors in order, each at a multiple of 64, and ends at a page", () => {
  const layout = layoutBlock({
    graph: "g",
    label: "l",
    tensors: [
      { name: "a", dtype: "f16", shape: [3] },
      { name: "b", dtype: "f32", shape: [16] },
      { name: "c", dtype: "f16", shape: [1] },
    ],
  });
  assert.deepEqual(
    layout.tensors.map(({ offsetBytes }) => offsetBytes),
    [0, 64, 128],
  );
  assert.equal(layout.plainBytes, BLOCK_ALIGNMENT_BYTES);
});

for (const packed of ["off", "on"] as const) {
  for (const artifact of [false, true]) {
    test(`an import is bit-exact: packed ${packed}, ${artifact ? "with" : "without"} an artifact`, async () => {
      const store = memoryStore(new MemoryFs());
      const id = await importAndCheck(store, fixture({ packed, artifact }));
      assert.deepEqual(await verifyModel(store, id), []);
    });
  }
}

test("the id says what the content is, not how it is stored or named", async () => {
  const ids = new Set<string>();
  for (const packed of ["off", "on"] as const)
    ids.add(await importAndCheck(memoryStore(new MemoryFs()), fixture({ packed })));
  assert.equal(ids.size, 1);
  ids.add(await importAndCheck(memoryStore(new MemoryFs()), fixture({ unetSeed: 9 })));
  assert.equal(ids.size, 2);
});

test("blocks lie in execution order, at multiples of a page", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const id = await importAndCheck(store, fixture());
  await using model = await openStoredModel(store, id);
  assert.deepEqual(
    [...model.components.values()].flatMap(({ blocks }) => blocks.map(({ label }) => label)),
    ["embed", "last", "b0", "b1", "b2", "v0", "v1"],
  );
  const unet = packs(fs).find(
    (path) => Buffer.from(fs.bytes(path)).indexOf(Buffer.from(model.block("unet", "unet", "b1")!.id)) > 0,
  );
  const index = Buffer.from(fs.bytes(unet!)).toString("latin1");
  const starts = [...index.matchAll(/"startByte":(\d+)/g)].map(([, start]) => Number(start));
  assert.deepEqual(starts, [4096, 8192, 16384]);
});

test("the same sources are found again without being read", async () => {
  const store = memoryStore(new MemoryFs());
  const { request } = fixture();
  const first = await importModel(store, request);
  const events: ImportEvent[] = [];
  const deaf = {
    ...request,
    components: request.components.map((component) => ({ ...component, table: new Map() })),
  };
  const second = await importModel(store, deaf, { onEvent: (event) => events.push(event) });
  assert.deepEqual({ ...second, writtenBytes: 0 }, { ...first, reused: true, writtenBytes: 0 });
  assert.deepEqual(events, []);
});

test("a pack that the disk does not read is no damaged one: nothing is imported in its place", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  await importAndCheck(store, fixture());
  const before = fs.paths();
  const [first] = packs(fs);
  fs.hook = (op, path) => {
    if (op === "open" && path === first) throw Object.assign(new Error("EIO: injected"), { code: "EIO" });
    return undefined;
  };
  await assert.rejects(importModel(store, fixture().request), { code: "E_DISK" });
  await assert.rejects(importModel(store, fixture({ unetSeed: 9 }).request), { code: "E_DISK" });
  fs.hook = () => undefined;
  assert.deepEqual(
    fs.paths().filter((path) => !path.includes("/imports/")),
    before,
  );
});

test("a changed source is imported anew; what is the same is shared", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const first = await importAndCheck(store, fixture());
  const before = packs(fs);
  const changed = fixture({ unetSeed: 8 });
  const second = await importModel(store, changed.request);
  assert.notEqual(second.id, first);
  await checkModel(store, second.id, changed.expected);
  assert.equal(packs(fs).length, before.length + 1); // the UNet's alone
  // Same content under other stamps: nothing new is kept.
  const touched = fixture();
  const components = touched.request.components.map((component) => ({
    ...component,
    sources: component.sources.map((source) => ({ ...source, stamp: `${source.stamp} touched` })),
  }));
  const third = await importModel(store, { ...touched.request, components });
  assert.equal(third.id, first);
  assert.equal(third.reused, false);
  assert.equal(packs(fs).length, before.length + 1);
});

test("two artifacts over one base share the blocks that they leave alone", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  await importAndCheck(store, fixture({ artifact: false }));
  const over = fixture();
  const events: ImportEvent[] = [];
  const { id, writtenBytes } = await importModel(store, over.request, { onEvent: (event) => events.push(event) });
  await checkModel(store, id, over.expected);
  const shared = events.flatMap((event) => (event.type === "component" ? [event.sharedBlocks] : []));
  assert.deepEqual(shared, [2, 1, 2]); // b1 is untouched; the other components are the same
  assert.equal(writtenBytes, 2 * 4096);
});

test("a block that the store has is read before it is shared: one that is damaged there is stored anew", async () => {
  for (const packed of ["off", "on"] as const) {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    const base = await importAndCheck(store, fixture({ artifact: false, packed }));
    await using model = await openStoredModel(store, base);
    // The artifact leaves it alone.
    const { id } = model.block("unet", "unet", "b1")!;
    const path = packs(fs).find((name) => Buffer.from(fs.bytes(name)).includes(id))!;
    const index = Buffer.from(fs.bytes(path)).toString("latin1");
    const at = Number(/"startByte":(\d+)/.exec(index.slice(index.indexOf(id)))![1]) + 100;
    fs.bytes(path)[at]! ^= 1;
    const over = fixture({ packed });
    const imported = await importModel(store, over.request);
    await checkModel(store, imported.id, over.expected);
    assert.deepEqual(await verifyModel(store, imported.id), []);
    assert.equal((await verifyModel(store, base)).length, 1);
  }
});

test("a block that stands twice is stored once", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const one = componentOf("c", { a: { x: ["f16", [8]] }, b: { y: ["f16", [8]] }, d: { z: ["f16", [9]] } }, 4);
  one.bytes.set("y", one.bytes.get("x")!);
  const table = new Map(one.table);
  table.set("y", { ...one.table.get("x")!, name: "y" });
  const { bytes, ...component } = one;
  const twice: Fixture = {
    request: { name: "n", components: [{ ...component, table }], packed: "off" },
    expected: bytes,
  };
  await importAndCheck(store, twice);
  const index = Buffer.from(fs.bytes(packs(fs)[0]!)).toString("latin1");
  assert.equal([...index.matchAll(/"startByte"/g)].length, 2);
});

/** Fails everything from the k-th write on, as a killed process would. */
function killAt(fs: MemoryFs, count: number): () => boolean {
  let left = count;
  fs.hook = () => {
    if (left-- <= 0) throw Object.assign(new Error("killed"), { code: "KILLED" });
    return undefined;
  };
  return () => left < 0;
}

for (const packed of ["off", "on"] as const) {
  test(`an import cut off after any number of operations goes on and is bit-exact: packed ${packed}`, async () => {
    let resumed = 0;
    for (let count = 1, killed = true; killed; count += 3) {
      const fs = new MemoryFs();
      const store = memoryStore(fs);
      const wasKilled = killAt(fs, count);
      await importModel(store, fixture({ packed }).request).catch(() => undefined);
      killed = wasKilled();
      fs.hook = () => undefined;
      const { request, expected } = fixture({ packed });
      const onEvent = (event: ImportEvent) => {
        if (event.type === "resume") resumed++;
      };
      const { id } = await importModel(store, request, { onEvent });
      await checkModel(store, id, expected);
      assert.deepEqual(await verifyModel(store, id), []);
      assert.deepEqual(
        fs.paths().filter((path) => path.includes("/imports/")),
        [],
      );
    }
    assert.ok(resumed > 10, `${resumed} resumed`);
  });
}

test("an import that was cut off and then made with another wish leaves nothing", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  killAt(fs, 40);
  await importModel(store, fixture({ packed: "on" }).request).catch(() => undefined);
  fs.hook = () => undefined;
  assert.ok(fs.paths().some((path) => path.includes("/imports/")));
  await importAndCheck(store, fixture({ packed: "off" }));
  assert.deepEqual(
    fs.paths().filter((path) => path.includes("/imports/")),
    [],
  );
});

test("what a cut-off import left is checked before it is used: damage in it is not taken over", async () => {
  const random = randomOf(5);
  let found = 0;
  for (let count = 20; count < 200; count += 7) {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    killAt(fs, count);
    await importModel(store, fixture().request).catch(() => undefined);
    fs.hook = () => undefined;
    for (const path of fs.paths().filter((name) => /\.(part|placed)$/.test(name))) {
      const bytes = fs.bytes(path);
      for (let i = 0; i < 40 && bytes.length > 0; i++) {
        const at = Math.floor(random() * bytes.length);
        bytes[at] = bytes[at]! ^ (1 << Math.floor(random() * 8));
        found++;
      }
    }
    const { request, expected } = fixture();
    const { id } = await importModel(store, request);
    await checkModel(store, id, expected);
    assert.deepEqual(await verifyModel(store, id), []);
  }
  assert.ok(found > 100);
});

test("a disk that is too small is refused before anything is written", async () => {
  const fs = new MemoryFs();
  fs.free = 10_000;
  await assert.rejects(
    importModel(memoryStore(fs), fixture().request),
    /E_DISK_FULL s: the import needs 36 KiB, 10 KiB free/,
  );
  assert.deepEqual(
    fs.paths().filter((path) => !path.endsWith("journal")),
    [],
  );
});

test("a source that changes while it is imported gives no model, whichever it is, and nothing stays of the attempt", async () => {
  const { request, expected } = fixture();
  for (const changing of request.components.keys()) {
    const fs = new MemoryFs();
    const write = async () => {
      const file = await fs.open("weights", "create");
      await file.write(new Uint8Array(8), 0);
    };
    await write();
    const ofFile = async () => {
      const own = { role: "weights", path: "weights", stamp: (await fs.stat("weights"))!.stamp };
      const components = request.components.map((component, i) =>
        i === changing ? { ...component, sources: [...component.sources, own] } : component,
      );
      return { ...request, components };
    };
    const onEvent = (event: ImportEvent) => event.type === "codec" && void write();
    await assert.rejects(importModel(memoryStore(fs), await ofFile(), { onEvent }), /E_CHANGED_DURING_READ weights/);
    assert.deepEqual(
      fs.paths().filter((path) => /models|imports/.test(path)),
      [],
    );
    const { id } = await importModel(memoryStore(fs), await ofFile());
    await checkModel(memoryStore(fs), id, expected);
  }
});

test("the disk's speed is measured in the work folder, which goes whatever becomes of the process", async () => {
  const seen: string[] = [];
  const measureDisk = async (folder: string) => {
    seen.push(folder);
    return { bytesPerSecond: 1e12, direct: true };
  };
  const store = { ...memoryStore(new MemoryFs()), measureDisk };
  const { codec } = await chooseCodec(store, "s/imports/x", "auto", 2 ** 40);
  assert.equal(codec, "plain");
  assert.deepEqual(seen, ["s/imports/x"]);
});

for (const packed of ["off", "on"] as const) {
  test(`what an earlier attempt has written needs no room again (packed ${packed})`, async () => {
    const whole = new Ledger({ device: 0, ram: 2 ** 30, disk: 2 ** 30 });
    await importModel(memoryStore(new MemoryFs()), fixture({ packed }).request, {
      budget: { ledger: whole, memory: "ram" },
    });
    const { peakBytes } = whole.state("disk");
    let saved = 0;
    for (let last = 1; ; last++) {
      const fs = new MemoryFs();
      let writes = 0;
      fs.hook = (op) => {
        if (op === "write" && ++writes > last) throw Object.assign(new Error("EIO"), { code: "EIO" });
        return undefined;
      };
      const { request, expected } = fixture({ packed });
      const failed = await importModel(memoryStore(fs), request).then(
        () => false,
        () => true,
      );
      if (!failed) break;
      fs.hook = () => undefined;
      let used = 0;
      for (const name of await fs.list("s/imports")) used += await fs.usedBytes(`s/imports/${name}`);
      saved = Math.max(saved, used);
      const ledger = new Ledger({ device: 0, ram: 2 ** 30, disk: Math.max(0, peakBytes - used) });
      const { id } = await importModel(memoryStore(fs), request, { budget: { ledger, memory: "ram" } });
      await checkModel(memoryStore(fs), id, expected);
    }
    assert.ok(saved > peakBytes / 2);
  });
}

test("an import's bytes pass the ledger: room on the disk, and its buffers", async () => {
  const budgets = { device: 0, ram: 2 ** 30, disk: 36 * 1024 };
  const ledger = new Ledger(budgets);
  await importModel(memoryStore(new MemoryFs()), fixture().request, { budget: { ledger, memory: "ram" } });
  assert.deepEqual(ledger.held(), []);
  const { plainBytes } = await importModel(memoryStore(new MemoryFs()), fixture().request);
  assert.equal(plainBytes, 36 * 1024);
  assert.equal(ledger.state("disk").peakBytes, plainBytes);
  const buffers = ledger.state("ram").peakBytes;
  assert.ok(buffers > 0);
  const small = [
    { change: { disk: budgets.disk - 1 }, error: /E_DISK_FULL/ },
    { change: { ram: buffers - 1 }, error: /E_RAM/ },
  ];
  for (const { change, error } of small) {
    const fs = new MemoryFs();
    const short = new Ledger({ ...budgets, ...change });
    await assert.rejects(
      importModel(memoryStore(fs), fixture().request, { budget: { ledger: short, memory: "ram" } }),
      error,
    );
    assert.deepEqual(short.held(), []);
    assert.deepEqual(
      fs.paths().filter((path) => !path.endsWith("journal")),
      [],
    );
  }
});

test("room on the disk: all blocks once, and those that an artifact is decoded to once more where they are packed from there", async () => {
  // By components, in pages: text 2 + 1, UNet 1 + 2 + 1, VAE 1 + 1.
  const [all, unet] = [9, 4].map((pages) => pages * BLOCK_ALIGNMENT_BYTES) as [number, number];
  for (const [packed, artifact, wanted] of [
    ["off", false, all],
    ["off", true, all],
    ["on", false, all],
    ["on", true, all + unet],
  ] as const) {
    const ledger = new Ledger({ device: 0, ram: 2 ** 30, disk: 2 ** 30 });
    const { request } = fixture({ packed, artifact });
    await importModel(memoryStore(new MemoryFs()), request, { budget: { ledger, memory: "ram" } });
    assert.equal(ledger.state("disk").peakBytes, wanted, `${packed} ${artifact}`);
  }
});

test("an import's buffers: what decodes an artifact, and the thread that hashes it, are counted", async () => {
  const peakOf = async (artifact: boolean, threadBytes?: number) => {
    const ledger = new Ledger({ device: 0, ram: 2 ** 30, disk: 2 ** 30 });
    const store = memoryStore(new MemoryFs());
    const threads = { threadBytes: threadBytes!, start: () => assert.fail("the component is small") };
    const { request } = fixture({ artifact });
    await importModel({ ...store, ...(threadBytes !== undefined && { hashThreads: threads }) }, request, {
      budget: { ledger, memory: "ram" },
    });
    return ledger.state("ram").peakBytes;
  };
  assert.equal(await peakOf(false), CHUNKS_BYTES);
  assert.equal(await peakOf(false, 5000), CHUNKS_BYTES);
  const decoding = await peakOf(true);
  // Two tensors of the largest size: 6000 bytes, whole pages, and a page more.
  assert.ok(decoding >= CHUNKS_BYTES + 2 * 3 * 4096, `${decoding}`);
  assert.equal(await peakOf(true, 5000), decoding + 5000);
});

test("removing a model removes what only it needs", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const base = await importAndCheck(store, fixture({ artifact: false }));
  const over = fixture();
  const { id } = await importModel(store, over.request);
  await removeModel(store, base);
  await checkModel(store, id, over.expected); // its own pack, and those it shares
  const { packs: removed } = await removeModel(store, id);
  assert.equal(removed, 4);
  assert.deepEqual(fs.paths(), []);
});

test("cleaning removes unfinished imports and packs that no model has, and touches nothing while a model is damaged", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  killAt(fs, 40);
  await importModel(store, fixture().request).catch(() => undefined);
  fs.hook = () => undefined;
  assert.ok(fs.paths().length > 0);
  await cleanStore(store);
  assert.deepEqual(fs.paths(), []);
  const id = await importAndCheck(store, fixture());
  fs.bytes(`s/models/${id}.model`)[100]! ^= 1;
  const kept = packs(fs);
  assert.match((await cleanStore(store)).note!, /left alone/);
  assert.deepEqual(packs(fs), kept);
});

test("reads of any range give the same bytes, plain or packed, before and after the first check", async () => {
  const elements = CHUNK_BYTES + 12345; // a little over two chunks of fp16
  const one = componentOf("c", { a: { x: ["f16", [elements]], y: ["f16", [77]] } }, 6);
  const { bytes: _, ...component } = one;
  const whole = new Uint8Array(layoutBlock(component.blocks[0]!).plainBytes);
  whole.set(one.bytes.get("x")!);
  whole.set(one.bytes.get("y")!, Math.ceil((elements * 2) / 64) * 64);
  for (const packed of ["off", "on"] as const) {
    const store = memoryStore(new MemoryFs());
    const { id } = await importModel(store, { name: "n", components: [component], packed });
    await using model = await openStoredModel(store, id);
    const block = model.block("c", "c", "a")!;
    assert.equal(block.codec, packed === "on" ? "planes" : "plain");
    assert.ok(packed === "off" || block.storedBytes < 0.9 * block.plainBytes);
    const random = randomOf(7);
    for (let i = 0; i < 60; i++) {
      const start = Math.floor(random() * whole.length);
      const length = Math.floor(random() * (i % 2 ? 5000 : whole.length - start));
      const into = new Uint8Array(Math.min(length, whole.length - start));
      await block.readPlain(start, into);
      assert.deepEqual(
        Buffer.compare(into, whole.subarray(start, start + into.length)),
        0,
        `${start} + ${into.length}`,
      );
    }
    const aborted = AbortSignal.abort(new Error("stop"));
    await assert.rejects(block.readPlain(0, new Uint8Array(10), { signal: aborted }), /stop/);
    await assert.rejects(block.readPlain(whole.length - 5, new Uint8Array(10)), RangeError);
  }
});
