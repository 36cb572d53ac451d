/** @file How the store reads and writes its files: to the last byte, past the cache only where pages meet, and closed whatever becomes of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DirectWriter, PAGE_BYTES, readFully, type StoreFile } from "../../src/store/fs.ts";
import { CHUNK_BYTES } from "../../src/store/pack/block-layout.ts";
import { Pack } from "../../src/store/pack/pack.ts";
import { PartFile } from "../../src/store/pack/part-file.ts";
import { openPack } from "../../src/store/store.ts";
import { sameBytes } from "../support/same.ts";
import { MemoryFs, memoryStore } from "./memory-store-fs.ts";
import { componentOf, importAndCheck } from "./store-fixture.ts";

const BYTES = Uint8Array.from({ length: 7 }, (_, i) => i + 1);

test("a file that is read byte by byte is read to its last one, or ends too soon", async () => {
  const file = {
    async read(into: Uint8Array, at: number) {
      into.set(BYTES.subarray(at, at + 1));
      return at < BYTES.length ? 1 : 0;
    },
  } as StoreFile;
  const into = new Uint8Array(7);
  await readFully(file, into, 0, "f");
  sameBytes(into, BYTES);
  await assert.rejects(readFully(file, new Uint8Array(8), 0, "f"), /ends too soon \(needs 8 bytes\) at byte 7/);
});

/** A part whose writes are noted: where they went, how, and when they ended. */
function watched(fail?: "head" | "pages") {
  const memory = new Uint8Array(4 * PAGE_BYTES);
  const log: string[] = [];
  const write = (how: "head" | "pages") => async (bytes: Uint8Array, at: number) => {
    if (how === "pages")
      assert.deepEqual([(bytes.byteOffset - memory.byteOffset) % PAGE_BYTES, at % PAGE_BYTES], [0, 0]);
    if (fail === how) throw Object.assign(new Error("EIO"), { code: "EIO" });
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    log.push(`${how} ${at} ${bytes.byteLength}`);
    return bytes.byteLength;
  };
  const direct: DirectWriter = { memory, write: write("pages"), close: async () => {} };
  return { part: new PartFile({ write: write("head") } as unknown as StoreFile, direct), memory, log };
}

test("whole pages go past the cache where memory and file meet in them; what lies otherwise goes the usual way", async () => {
  const { part, memory, log } = watched();
  assert.equal(await part.write(memory.subarray(100, 100 + 2 * PAGE_BYTES), 100), 2 * PAGE_BYTES);
  assert.deepEqual(log.sort(), [
    `head 100 ${PAGE_BYTES - 100}`,
    `head ${2 * PAGE_BYTES} 100`,
    `pages ${PAGE_BYTES} ${PAGE_BYTES}`,
  ]);
  log.length = 0;
  assert.equal(await part.write(memory.subarray(0, 2 * PAGE_BYTES), 100), 2 * PAGE_BYTES);
  assert.equal(await part.write(new Uint8Array(2 * PAGE_BYTES), 0), 2 * PAGE_BYTES);
  assert.deepEqual(log, [`head 100 ${2 * PAGE_BYTES}`, `head 0 ${2 * PAGE_BYTES}`]);
});

test("a write that fails is told once the others, which read the same memory, have ended", async () => {
  const { part, memory, log } = watched("head");
  await assert.rejects(part.write(memory.subarray(100, 100 + 2 * PAGE_BYTES), 100), { code: "EIO" });
  assert.deepEqual(log, [`pages ${PAGE_BYTES} ${PAGE_BYTES}`]);
});

class CountingFs extends MemoryFs {
  openFiles = 0;

  override async open(...args: Parameters<MemoryFs["open"]>): Promise<StoreFile> {
    const file = await super.open(...args);
    this.openFiles++;
    const close = file.close.bind(file);
    return Object.assign(file, {
      close: async () => {
        this.openFiles--;
        await close();
      },
    });
  }
}

test("a pack that can't be opened is closed; a read of many pieces hears its signal between them", async () => {
  const fs = new CountingFs();
  const store = memoryStore(fs);
  const big = componentOf("u", { b: { w: ["f16", [16 * (CHUNK_BYTES / 4)]] } }, 3);
  const expected = big.bytes;
  await importAndCheck(store, { request: { name: "m", components: [big], packed: "on" }, expected });
  assert.equal(fs.openFiles, 0);
  const [path] = fs.paths().filter((name) => name.endsWith(".pack"));
  const name = /([0-9a-f]{64})\.pack$/.exec(path!)![1]!;
  const pack = await openPack(store, name);
  const [block] = pack.blocks;
  const stop = new AbortController();
  let reads = 0;
  fs.hook = (op) => {
    if (op === "read" && ++reads === 1) stop.abort(new Error("enough"));
    return undefined;
  };
  const into = new Uint8Array(block!.plainBytes);
  await assert.rejects(pack.readPlain(block!.id, 0, into, "b", { signal: stop.signal }), /enough/);
  assert.ok(reads < block!.crcs.length, `${reads} reads of ${block!.crcs.length} chunks`);
  fs.hook = () => undefined;
  await pack[Symbol.asyncDispose]();
  fs.bytes(path!)[3]! ^= 1;
  await assert.rejects(Pack.open(fs, path!, name), { code: "E_STORE_DAMAGED" });
  assert.equal(fs.openFiles, 0);
});
