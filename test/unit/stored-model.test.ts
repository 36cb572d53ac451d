/** @file A model in the store as it is opened: what is told of it, what reads take and check, and that files are closed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { memorySource } from "../../src/source/memory.ts";
import type { StoreFs } from "../../src/store/fs.ts";
import { tableReader } from "../../src/store/import/build-table.ts";
import { importModel } from "../../src/store/import/import.ts";
import type { PackedChoice } from "../../src/store/import/import-types.ts";
import { CHUNK_BYTES, layoutBlock } from "../../src/store/pack/block-layout.ts";
import { Pack } from "../../src/store/pack/pack.ts";
import { chunkPlaces } from "../../src/store/pack/pack-format.ts";
import { ReadMeter } from "../../src/store/pack/read-meter.ts";
import { removeModel } from "../../src/store/removal.ts";
import { repairModel } from "../../src/store/repair.ts";
import { openPack, packNames } from "../../src/store/store.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { artifactBytes } from "./lzr2-fixture.ts";
import { MemoryFs, memoryStore } from "./memory-store-fs.ts";
import { checkModel, componentOf, type Fixture, fixture } from "./store-fixture.ts";

/** One block of two whole chunks and a part of a third. */
function threeChunks(packed: PackedChoice): Fixture {
  const { bytes, ...component } = componentOf("c", { a: { x: ["f16", [CHUNK_BYTES + 5000]] } }, 6);
  return { request: { name: "n", components: [component], packed }, expected: bytes };
}

test("what an artifact brought is told: how many records, what it left alone, where each begins", async () => {
  for (const packed of ["off", "on"] as const) {
    const store = memoryStore(new MemoryFs());
    const { request } = fixture({ packed });
    const imported = await importModel(store, request);
    await using model = await openStoredModel(store, imported.id);
    assert.deepEqual(
      ["text", "vae"].map((name) => model.components.get(name)!.artifact),
      [undefined, undefined],
    );
    const facts = model.components.get("unet")!.artifact!;
    assert.deepEqual(imported.artifact, facts);
    const { records, ...counts } = facts;
    // Of six parameters three get weights, one record has none, and two are not named.
    assert.deepEqual(counts, { applied: 3, untouched: 1, missing: 2, skippedOverlayRows: 0 });
    assert.deepEqual(
      records.map(([key]) => key),
      ["u.b2.w", "u.b0.w", "u.b0.b"],
    );
    assert.equal(records[0]![1], 4);
    const artifact = request.components[1]!.artifact!.source;
    for (const [key, startByte] of records) {
      const named = new Uint8Array(4 + key.length);
      await artifact.read(startByte, named);
      assert.equal(Buffer.from(named.subarray(4)).toString(), key);
    }
  }
});

test("a block is its tensors, each at its place, and zeros between and behind them, whatever the memory held; any piece of it", async () => {
  const { blocks, table, bytes } = componentOf("c", { a: { x: ["f16", [5]], y: ["f32", [40]], z: ["f16", [1]] } }, 8);
  const layout = layoutBlock(blocks[0]!);
  const whole = new Uint8Array(4096);
  // At multiples of 64: 10 bytes, 160 bytes, 2 bytes.
  for (const [name, at] of Object.entries({ x: 0, y: 64, z: 256 })) whole.set(bytes.get(name)!, at);
  for (const [from, to] of [
    [0, 4096],
    [0, 10],
    [3, 70],
    [9, 65],
    [10, 64],
    [100, 258],
    [223, 257],
    [258, 4096],
  ] as const) {
    const into = new Uint8Array(to - from).fill(0xee);
    await tableReader(layout, table)(from, into);
    assert.deepEqual(into, whole.slice(from, to), `${from}..${to}`);
  }
  const stop = new Error("stop");
  await assert.rejects(tableReader(layout, table, AbortSignal.abort(stop))(0, new Uint8Array(9)), stop);
});

test("artifacts that are alike in some blocks: each model is whole, and its packs hold nothing else", async () => {
  const { request } = fixture();
  const over = async (value: number) => {
    const records = [
      { key: "u.b0.b", shape: [2], overlay: [[0, 0, value] as const, [1, 0, 1] as const] },
      { key: "u.b2.b", shape: [4], overlay: [[3, 0, 5] as const] },
    ];
    const artifact = { source: memorySource("x.lzr2", artifactBytes(...records)), compat: false };
    const sources = [{ role: "artifact", path: "", stamp: `${value}` }];
    const components = request.components.map((part) => (part.artifact ? { ...part, artifact, sources } : part));
    const { id } = await importModel(store, { ...request, components });
    return { id, ...(await open(id)) };
  };
  const store = memoryStore(new MemoryFs());
  const open = async (id: string) => {
    await using model = await openStoredModel(store, id);
    const [b0, , b2] = model.components.get("unet")!.blocks.map((block) => block.id);
    return { b0, b2 };
  };
  const [one, two] = [await over(2), await over(3)];
  assert.deepEqual([one.b0 === two.b0, one.b2 === two.b2], [false, true]);
  for (const { id } of [one, two]) assert.deepEqual(await verifyModel(store, id), []);
});

test("overlay rows that lie outside of their matrices are counted over all records", async () => {
  const records = [
    { key: "u.b2.w", shape: [4, 6], overlay: [[4, 0, 1] as const, [0, 6, 1] as const] },
    { key: "u.b0.b", shape: [2], overlay: [[2, 0, 1] as const] },
    { key: "u.b2.b", shape: [4] },
  ];
  const { request } = fixture();
  const artifact = { source: memorySource("x.lzr2", artifactBytes(...records)), compat: false };
  const components = request.components.map((part) => (part.artifact ? { ...part, artifact } : part));
  const imported = await importModel(memoryStore(new MemoryFs()), { ...request, components });
  const { records: _, ...counts } = imported.artifact!;
  assert.deepEqual(counts, { applied: 3, untouched: 0, missing: 3, skippedOverlayRows: 3 });
});

test("a read of a whole block takes from the disk what is told of it, to the byte; every part of it counts what it reads", async () => {
  for (const packed of ["off", "on"] as const) {
    const store = memoryStore(new MemoryFs());
    const { id } = await importModel(store, threeChunks(packed).request);
    await using model = await openStoredModel(store, id);
    const block = model.block("c", "c", "a")!;
    let now = 0;
    const taken = async (startByte: number, lengthBytes: number) => {
      const meter = new ReadMeter(() => now++);
      await block.readPlain(startByte, new Uint8Array(lengthBytes), { meter });
      assert.equal(meter.unpackMs > 0, packed === "on");
      return meter.diskBytes;
    };
    assert.equal(await taken(0, block.plainBytes), block.storedBytes);
    assert.equal(block.storedBytes % 4096, 0);
    if (packed === "off") {
      assert.equal(block.storedBytes, block.plainBytes);
      assert.equal(await taken(10, 20), 20);
    } else {
      assert.ok((await taken(10, 20)) > CHUNK_BYTES / 2);
    }
  }
});

test("blocks of one label in two graphs are two, and each component has its own", async () => {
  const store = memoryStore(new MemoryFs());
  const plan = (seed: number) => componentOf("c", { x: { a: ["f16", [8]] }, y: { b: ["f16", [9]] } }, seed);
  const [one, two] = [plan(1), plan(2)].map(({ bytes: _, blocks: [first, second], ...rest }, i) => ({
    ...rest,
    name: `c${i}`,
    blocks: [
      { ...first!, graph: "once", label: "same" },
      { ...second!, graph: "each step", label: "same" },
    ],
  }));
  const { id } = await importModel(store, { name: "n", components: [one!, two!], packed: "off" });
  await using model = await openStoredModel(store, id);
  const tensors = (component: string, graph: string) =>
    model.block(component, graph, "same")?.tensors.map(({ name }) => name);
  assert.deepEqual(tensors("c0", "once"), ["a"]);
  assert.deepEqual(tensors("c0", "each step"), ["b"]);
  assert.equal(tensors("c0", "never"), undefined);
  const ids = ["c0", "c1"].map((component) => model.block(component, "once", "same")!.id);
  assert.notEqual(ids[0], ids[1]);
});

test("reads by name hear an abort", async () => {
  const store = memoryStore(new MemoryFs());
  const { id } = await importModel(store, fixture().request);
  await using model = await openStoredModel(store, id);
  const { source, startByte } = model.components.get("text")!.table.get("t.w")!;
  const stop = new Error("stop");
  await assert.rejects(source.read(startByte, new Uint8Array(8), AbortSignal.abort(stop)), stop);
  // Without room between blocks, which is looked at in the end.
  const whole = await importModel(store, threeChunks("off").request);
  await assert.rejects(verifyModel(store, whole.id, { signal: AbortSignal.abort(stop) }), stop);
});

test("a pack that is cut or lengthened while it is open is refused from then on", async () => {
  for (const change of [-1, 1, 4096]) {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    const { id } = await importModel(store, threeChunks("off").request);
    await using model = await openStoredModel(store, id);
    const block = model.block("c", "c", "a")!;
    await block.readPlain(0, new Uint8Array(5));
    const path = fs.paths().find((name) => name.endsWith(".pack"))!;
    const file = await fs.open(path, "edit");
    await file.truncate(fs.bytes(path).length + change);
    const told = { code: "E_STORE_DAMAGED", message: /its size changed/ };
    await assert.rejects(block.readPlain(0, new Uint8Array(5)), told);
  }
});

test("a chunk that was found sound says nothing of its neighbours: each is checked when it is first read", async () => {
  for (const packed of ["off", "on"] as const) {
    for (const [known, damaged] of [
      [0, 1],
      [0, 2],
      [1, 0],
      [2, 1],
    ] as const) {
      const fs = new MemoryFs();
      const store = memoryStore(fs);
      const { id } = await importModel(store, threeChunks(packed).request);
      await using model = await openStoredModel(store, id);
      const block = model.block("c", "c", "a")!;
      await block.readPlain(known * CHUNK_BYTES + 7, new Uint8Array(9));
      const path = fs.paths().find((name) => name.endsWith(".pack"))!;
      await using pack = await Pack.open(fs, path, path.slice("s/packs/".length, -".pack".length));
      fs.bytes(path)[chunkPlaces(pack.blocks[0]!)[damaged]!.startByte + 100]! ^= 1;
      const told = { code: "E_STORE_DAMAGED", message: new RegExp(`chunk ${damaged}: checksum differs`) };
      await assert.rejects(block.readPlain(0, new Uint8Array(block.plainBytes)), told);
      await assert.rejects(block.readPlain(damaged * CHUNK_BYTES + 3, new Uint8Array(5)), told);
    }
  }
});

test("of two equal blocks the second leaves nothing behind, also where it is the last", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const one = componentOf("c", { a: { x: ["f16", [5000]] }, b: { y: ["f16", [5000]] } }, 4);
  const [x, y] = ["x", "y"].map((name) => one.bytes.get(name)!);
  const { bytes: _, ...component } = one;
  const table = new Map(one.table).set("y", { ...one.table.get("x")!, name: "y" });
  const { id } = await importModel(store, { name: "n", components: [{ ...component, table }], packed: "off" });
  assert.notDeepEqual(x, y);
  await checkModel(
    store,
    id,
    new Map([
      ["x", x!],
      ["y", x!],
    ]),
  );
  const pack = fs.bytes(fs.paths().find((path) => path.endsWith(".pack"))!);
  // The header, one block of three pages, its index, and the footer.
  assert.ok(pack.length < 4096 + 3 * 4096 + 1024, `${pack.length} bytes`);
});

test("what two components have alike is stored once, and both have it", async () => {
  for (const packed of ["off", "on"] as const) {
    const store = memoryStore(new MemoryFs());
    const plan = { a: { x: ["f16", [5000]] }, b: { y: ["f16", [9]] } } as const;
    const { bytes, ...one } = componentOf("c", plan, 4);
    const { bytes: more, ...other } = componentOf("d", { ...plan, e: { z: ["f16", [8]] } }, 4);
    const { id } = await importModel(store, { name: "n", components: [one, other], packed });
    await checkModel(store, id, new Map([...bytes, ...more]));
    let blocks = 0;
    for (const name of await packNames(store)) {
      await using pack = await openPack(store, name);
      blocks += pack.blocks.length;
    }
    assert.equal(blocks, 3);
  }
});

test("what is shared is stored as it is asked for, whichever way the store has it, too", async () => {
  for (const packed of ["off", "on"] as const) {
    const store = memoryStore(new MemoryFs());
    for (const other of ["off", "on"] as const)
      await importModel(store, fixture({ artifact: false, packed: other }).request);
    const { request, expected } = fixture({ packed });
    const { id } = await importModel(store, request);
    await checkModel(store, id, expected);
    await using model = await openStoredModel(store, id);
    const codecs = model.components.get("unet")!.blocks.map(({ codec }) => codec);
    assert.deepEqual(new Set(codecs), new Set([packed === "on" ? "planes" : "plain"]));
    // Weights of 32 bits have no planes.
    const others = ["text", "vae"].flatMap((name) => model.components.get(name)!.blocks.map(({ codec }) => codec));
    assert.deepEqual(others, packed === "on" ? ["plain", "planes", "plain", "planes"] : new Array(4).fill("plain"));
  }
});

test("whatever the store does, it closes what it opens, once", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  let open = 0;
  /** `opened`, counted until it is closed. */
  const counted = <T extends { close(): Promise<void> }>(opened: T): T => {
    open++;
    let isOpen = true;
    const close = opened.close.bind(opened);
    opened.close = async () => {
      assert.ok(isOpen, "closed twice");
      isOpen = false;
      open--;
      await close();
    };
    return opened;
  };
  const openFile = fs.open.bind(fs);
  fs.open = async (path, mode) => counted(await openFile(path, mode));
  const openDirect: StoreFs["openDirect"] = async (path, memory) => {
    const file = await openFile(path, "edit");
    const write = (bytes: Uint8Array, at: number) => file.write(bytes, at);
    return counted({ memory, write, close: () => file.close() });
  };
  Object.assign(fs, { openDirect });
  const { request, expected } = fixture();
  const done = async (what: string, work: () => Promise<unknown>) => {
    await work();
    assert.equal(open, 0, what);
  };
  const { id } = await importModel(store, request);
  await done("an import", async () => undefined);
  await done("one that is there", () => importModel(store, request));
  await done("a model that was opened", () => checkModel(store, id, expected));
  // Its packs are there, and its index is not: each gets its name a second time.
  fs.names.delete(`s/models/${id}.model`);
  await done("an import into packs of the same names", () => importModel(store, request));
  // All blocks are damaged: they are written anew, into packs of the names that the damaged ones have.
  fs.names.delete(`s/models/${id}.model`);
  const packs = fs.paths().filter((path) => path.endsWith(".pack"));
  for (const bytes of packs.map((path) => fs.bytes(path))) {
    const indexStart = Number(new DataView(bytes.buffer).getBigUint64(bytes.length - 56, true));
    for (let at = 4096; at < indexStart; at += 4096) bytes[at]! ^= 1;
  }
  await done("an import over damaged packs", () => importModel(store, request));
  assert.deepEqual(
    fs.paths().filter((path) => path.endsWith(".pack")),
    packs,
  );
  const [pack] = packs;
  fs.bytes(pack!)[4096]! ^= 1;
  const before = request.components;
  await done("a check", () => verifyModel(store, id));
  await done("a repair", () =>
    repairModel(store, id, async (component, block) =>
      tableReader(block, before.find(({ name }) => name === component)!.table),
    ),
  );
  fs.hook = (op, path) => {
    if (op === "write" && path.includes("/imports/")) throw Object.assign(new Error("EIO"), { code: "EIO" });
    return undefined;
  };
  await done("an import that fails", () =>
    assert.rejects(importModel(store, fixture({ unetSeed: 5, textSeed: 5 }).request), { code: "E_DISK" }),
  );
  fs.hook = () => undefined;
  fs.bytes(pack!)[0]! ^= 1;
  await done("a model whose pack is refused", () =>
    assert.rejects(openStoredModel(store, id), { code: "E_STORE_DAMAGED" }),
  );
  await done("a check of that", () => verifyModel(store, id));
  await done("a removal", () => removeModel(store, id));
});
