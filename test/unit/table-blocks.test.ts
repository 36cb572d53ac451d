/** @file Blocks read straight from a table: tensors larger than one read, any stretch of a block, and what becomes of failing reads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TensorEntry } from "../../src/container/table.ts";
import { ArtifactError } from "../../src/errors.ts";
import type { ByteSource } from "../../src/source/source.ts";
import { type DirectWriter, PAGE_BYTES, type StoreFile } from "../../src/store/fs.ts";
import { layoutBlock } from "../../src/store/pack/block-layout.ts";
import { forEachConcurrent, mapAhead } from "../../src/store/pack/concurrency.ts";
import { PartFile } from "../../src/store/pack/part-file.ts";
import { PlacedFile } from "../../src/store/pack/placed-file.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import { DTYPE_BYTES, type DType, elementCount } from "../../src/tensor/dtype.ts";
import { randomOf } from "./store-fixture.ts";

const MiB = 1024 ** 2;

/** A word of a file that nobody has: finite in every dtype, and unlike its neighbours. */
const wordAt = (index: number) => (Math.imul(index + 1, 0x9e3779b1) >>> 0) & 0x3b7f3b7f;

/** A file of any size, whose bytes are computed as they are read. Counts reads under way. */
class ComputedSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly reads: { readonly startByte: number; readonly lengthBytes: number }[] = [];
  mostAtOnce = 0;
  /** Before a read ends, by the place where it begins. */
  before: (startByte: number) => Promise<void> = async () => {};
  #running = 0;

  constructor(byteLength: number) {
    this.name = "computed.safetensors";
    this.byteLength = byteLength;
  }

  async read(startByte: number, into: Uint8Array): Promise<void> {
    assert.ok(startByte >= 0 && startByte + into.byteLength <= this.byteLength, `${startByte} + ${into.byteLength}`);
    this.reads.push({ startByte, lengthBytes: into.byteLength });
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#running);
    try {
      await new Promise((resume) => setImmediate(resume));
      await this.before(startByte);
      fillComputed(startByte, into);
    } finally {
      this.#running--;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

function fillComputed(startByte: number, into: Uint8Array): void {
  if (startByte % 4 === 0 && into.byteOffset % 4 === 0) {
    const words = new Uint32Array(into.buffer, into.byteOffset, into.byteLength >>> 2);
    const first = startByte / 4;
    for (let i = 0; i < words.length; i++) words[i] = wordAt(first + i);
    for (let i = words.length * 4; i < into.byteLength; i++) into[i] = byteAt(startByte + i);
  } else {
    for (let i = 0; i < into.byteLength; i++) into[i] = byteAt(startByte + i);
  }
}

const byteAt = (at: number) => (wordAt(at >>> 2) >>> (8 * (at & 3))) & 0xff;

/** Whether `found` is what lies at `startByte` of the file; else where it first differs. */
function firstDifference(found: Uint8Array, startByte: number): number | undefined {
  const expected = new Uint8Array(found.byteLength);
  fillComputed(startByte, expected);
  if (Buffer.compare(found, expected) === 0) return undefined;
  return found.findIndex((byte, i) => byte !== expected[i]);
}

/** Tensors somewhere in one file, each after a gap of its own. */
function tableOf(
  specs: readonly (readonly [name: string, dtype: DType, shape: readonly number[], gapBytes: number])[],
) {
  const places = new Map<string, number>();
  let end = 0;
  for (const [name, dtype, shape, gapBytes] of specs) {
    places.set(name, end + gapBytes);
    end += gapBytes + elementCount(shape) * DTYPE_BYTES[dtype];
  }
  const source = new ComputedSource(end);
  const table = new Map(
    specs.map(([name, dtype, shape]): [string, TensorEntry] => {
      const startByte = places.get(name)!;
      const endByte = startByte + elementCount(shape) * DTYPE_BYTES[dtype];
      return [name, { name, dtype, shape, source, startByte, endByte }];
    }),
  );
  return { source, table };
}

test("a tensor of more than 64 MiB is read in parts, each from its own place, whole and from within", async () => {
  const elements = 34 * MiB + 5;
  const { source, table } = tableOf([
    ["small", "f16", [3], 1000],
    ["large", "f16", [elements], 8],
    ["after", "f16", [6], 4],
  ]);
  const reader = new TableBlocks("p", table);
  const [block] = reader.blocks("s", ["small", "large", "after"]);
  const whole = new Uint8Array(block!.storedBytes);
  const report = await reader.read(block!, 0, whole);
  const bytesOfAll = 6 + elements * 2 + 12;
  assert.deepEqual(report, { diskBytes: bytesOfAll, decodeMs: 0 });
  assert.equal(reader.readBytes, bytesOfAll);
  for (const { name, offsetBytes } of block!.tensors) {
    const { startByte, endByte } = table.get(name)!;
    assert.equal(firstDifference(whole.subarray(offsetBytes, offsetBytes + endByte - startByte), startByte), undefined);
  }
  // Several threads share the work, and no more reads are under way than there are threads.
  assert.ok(source.reads.every(({ lengthBytes }) => lengthBytes <= 32 * MiB));
  assert.equal(source.reads.length, 5);
  assert.equal(source.mostAtOnce, 4);
  const { offsetBytes } = block!.tensors[1]!;
  const from = offsetBytes + 30 * MiB;
  const part = whole.subarray(0, 35 * MiB).fill(0);
  await reader.read(block!, from, part);
  assert.equal(firstDifference(part, table.get("large")!.startByte + 30 * MiB), undefined);
});

test("any stretch of a block: each tensor's bytes, nothing in the gaps between them", async () => {
  const { table } = tableOf([
    ["c", "f32", [5], 12],
    ["a", "f16", [33], 20],
    ["b", "bf16", [1], 6],
    ["d", "f16", [31], 2],
  ]);
  // In an order of its own, as a segment asks.
  const reader = new TableBlocks("p", table);
  const [block] = reader.blocks("s", ["a", "b", "c", "d"]);
  assert.equal(reader.blocks("s", ["a", "b", "c", "d"])[0], block);
  assert.equal(block!.key, "p/s");
  assert.deepEqual(
    block!.tensors.map(({ offsetBytes }) => offsetBytes),
    [0, 128, 192, 256],
  );
  assert.equal(block!.storedBytes, 320);
  const MARK = 0xee;
  const expected = new Uint8Array(320).fill(MARK);
  let covered = 0;
  for (const { name, offsetBytes } of block!.tensors) {
    const { startByte, endByte } = table.get(name)!;
    fillComputed(startByte, expected.subarray(offsetBytes, offsetBytes + endByte - startByte));
    covered += endByte - startByte;
  }
  const random = randomOf(3);
  const found = new Uint8Array(320);
  for (let round = 0; round < 300; round++) {
    const from = round === 0 ? 0 : 4 * Math.floor(random() * 80);
    const length = round === 0 ? 320 : 4 * Math.floor(random() * ((320 - from) / 4 + 1));
    const into = found.subarray(0, length).fill(MARK);
    const { diskBytes } = await reader.read(block!, from, into);
    assert.deepEqual(into, expected.subarray(from, from + length), `${from} + ${length}`);
    if (round === 0) assert.equal(diskBytes, covered);
  }
});

test("an infinity in the second part of a tensor is found, though the first was sound", async () => {
  const { source, table } = tableOf([["w", "f16", [64], 0]]);
  const bad: ByteSource = {
    name: source.name,
    byteLength: source.byteLength,
    async [Symbol.asyncDispose]() {},
    async read(startByte, into) {
      await source.read(startByte, into);
      if (startByte <= 126 && startByte + into.byteLength >= 128) into.set([0x00, 0xfc], 126 - startByte);
    },
  };
  const reader = new TableBlocks("p", new Map([["w", { ...table.get("w")!, source: bad }]]));
  const [block] = reader.blocks("s", ["w"]);
  for (let round = 0; round < 2; round++) {
    await reader.read(block!, 0, new Uint8Array(64));
    await assert.rejects(
      reader.read(block!, 64, new Uint8Array(64)),
      (error) => error instanceof ArtifactError && error.code === "E_NONFINITE" && error.subject === source.name,
    );
  }
});

/** Promises that are settled by hand. */
class Gates {
  readonly #gates = new Map<number, PromiseWithResolvers<void>>();

  at(key: number): PromiseWithResolvers<void> {
    const known = this.#gates.get(key);
    if (known) return known;
    const gate = Promise.withResolvers<void>();
    gate.promise.catch(() => undefined); // whoever waits for it hears of it
    this.#gates.set(key, gate);
    return gate;
  }
}

const turns = async (count = 10) => {
  for (let i = 0; i < count; i++) await new Promise((resume) => setImmediate(resume));
};

/** Whether `work` is under way still once all that can happen has happened. */
async function isPending(work: Promise<unknown>): Promise<boolean> {
  let pending = true;
  work.then(
    () => (pending = false),
    () => (pending = false),
  );
  await turns();
  return pending;
}

test("a failed read of a block is told once no other read writes any more", async () => {
  const { source, table } = tableOf([
    ["a", "f16", [4], 0],
    ["b", "f16", [4], 0],
    ["c", "f16", [4], 0],
  ]);
  const gates = new Gates();
  source.before = (startByte) => gates.at(startByte).promise;
  const reader = new TableBlocks("p", table);
  const [block] = reader.blocks("s", ["a", "b", "c"]);
  const reading = reader.read(block!, 0, new Uint8Array(block!.storedBytes));
  gates.at(8).reject(new Error("disk hiccup"));
  gates.at(0).resolve();
  assert.equal(await isPending(reading), true);
  gates.at(16).resolve();
  await assert.rejects(reading, /disk hiccup/);
});

test("after a failure, concurrent work is waited for, and nothing new is begun", async () => {
  const gates = new Gates();
  const begun: number[] = [];
  const lanes = forEachConcurrent([0, 1, 2, 3, 4], 3, async (item) => {
    begun.push(item);
    await gates.at(item).promise;
  });
  gates.at(1).reject(new Error("first"));
  assert.equal(await isPending(lanes), true);
  assert.deepEqual(begun, [0, 1, 2]);
  gates.at(0).reject(new Error("second"));
  assert.equal(await isPending(lanes), true);
  gates.at(2).resolve();
  await assert.rejects(lanes, /first/);
  assert.deepEqual(begun, [0, 1, 2]);
});

test("results come in order, so many at a time, and whoever leaves early waits for those in work", async () => {
  const gates = new Gates();
  const begun: number[] = [];
  const work = async (item: number) => {
    begun.push(item);
    await gates.at(item).promise;
    return item * 10;
  };
  const results = mapAhead([0, 1, 2, 3, 4, 5], 3, work);
  gates.at(1).resolve();
  const first = results.next();
  assert.equal(await isPending(first), true);
  assert.deepEqual(begun, [0, 1, 2]);
  gates.at(0).resolve();
  assert.deepEqual(await first, { value: 0, done: false });
  assert.deepEqual(await results.next(), { value: 10, done: false });
  assert.deepEqual(begun, [0, 1, 2, 3]);
  const failing = results.next();
  gates.at(2).reject(new Error("third"));
  // 3 and 4 are in work.
  assert.equal(await isPending(failing), true);
  gates.at(3).resolve();
  assert.equal(await isPending(failing), true);
  gates.at(4).resolve();
  await assert.rejects(failing, /third/);
});

test("a write whose pages and rest go separate ways: a failure waits for all, a short write ends where it ended", async () => {
  const memory = new Uint8Array(4 * PAGE_BYTES);
  const written: string[] = [];
  const gates = new Gates();
  let shortBy = { head: 0, pages: 0 };
  const file = {
    async write(bytes: Uint8Array, at: number) {
      await gates.at(at).promise;
      written.push(`cache ${at}+${bytes.byteLength}`);
      return bytes.byteLength - (at % PAGE_BYTES === 0 ? 0 : shortBy.head);
    },
  } as unknown as StoreFile;
  const direct: DirectWriter = {
    memory,
    async write(bytes, at) {
      await gates.at(at).promise;
      written.push(`direct ${at}+${bytes.byteLength}`);
      return bytes.byteLength - shortBy.pages;
    },
    close: async () => undefined,
  };
  const part = new PartFile(file, direct);
  const at = 3 * PAGE_BYTES - 100;
  // Begins as far behind a page of memory as of the file.
  const bytes = memory.subarray(PAGE_BYTES - 100, 3 * PAGE_BYTES + 50);
  const tailAt = at + 100 + 2 * PAGE_BYTES;
  const failing = part.write(bytes, at);
  gates.at(3 * PAGE_BYTES).reject(new Error("pages"));
  gates.at(at).resolve();
  assert.equal(await isPending(failing), true);
  gates.at(tailAt).resolve();
  await assert.rejects(failing, /pages/);
  assert.deepEqual(written, [`cache ${at}+100`, `cache ${tailAt}+50`]);

  const open = new PartFile(
    {
      write: (some: Uint8Array) => Promise.resolve(some.byteLength - (some.byteLength === 100 ? shortBy.head : 0)),
    } as unknown as StoreFile,
    { ...direct, write: async (some) => some.byteLength - shortBy.pages },
  );
  assert.equal(await open.write(bytes, at), bytes.byteLength);
  shortBy = { head: 3, pages: 0 };
  assert.equal(await open.write(bytes, at), 97);
  shortBy = { head: 0, pages: PAGE_BYTES };
  assert.equal(await open.write(bytes, at), 100 + PAGE_BYTES);
});

test("a part says it is written once all that was begun is, in its order, and what failed", async () => {
  const layouts = [layoutBlock({ graph: "g", label: "l", tensors: [{ name: "a", dtype: "u8", shape: [8] }] })];
  const gates = new Gates();
  const written: number[] = [];
  const file = {
    async write(bytes: Uint8Array, at: number) {
      await gates.at(at).promise;
      written.push(at);
      return bytes.byteLength;
    },
  } as unknown as StoreFile;
  const placed = new PlacedFile(file, layouts);
  for (const at of [30, 10, 20]) void placed.write(at, new Uint8Array(4));
  const all = placed.written();
  gates.at(10).resolve();
  gates.at(20).resolve();
  assert.equal(await isPending(all), true);
  gates.at(30).resolve();
  await all;
  assert.deepEqual(written, [30, 10, 20]);
  void placed.write(40, new Uint8Array(4));
  void placed.write(50, new Uint8Array(4));
  gates.at(40).reject(new Error("no room"));
  gates.at(50).resolve();
  await assert.rejects(placed.written(), /no room/);
  assert.throws(() => placed.throwFailure(), /no room/);
  assert.deepEqual(written, [30, 10, 20]);
});
