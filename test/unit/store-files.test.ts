/** @file How the store reads and writes its files: to the last byte, past the cache only where pages meet, and closed whatever becomes of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { SolvayError } from "../../src/errors.ts";
import { memorySource } from "../../src/source/memory.ts";
import {
  type DirectWriter,
  PAGE_BYTES,
  publishSmallFile,
  readFully,
  readSmallFile,
  type StoreFile,
  storeFailure,
  writeFully,
} from "../../src/store/fs.ts";
import { CHUNK_BYTES, layoutBlock } from "../../src/store/pack/block-layout.ts";
import { ChunkSums } from "../../src/store/pack/chunk-sums.ts";
import { Pack } from "../../src/store/pack/pack.ts";
import { writeBlock } from "../../src/store/pack/pack-writer.ts";
import { PartFile } from "../../src/store/pack/part-file.ts";
import { PlacedFile } from "../../src/store/pack/placed-file.ts";
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

test("a file that takes few bytes at a time gets all of them in their places; one that takes none is no success", async () => {
  const taken = new Uint8Array(9).fill(0xee);
  const asked: number[] = [];
  const file = (most: number) => ({
    async write(bytes: Uint8Array, at: number) {
      asked.push(bytes.byteLength);
      const count = at < 6 ? Math.min(most, bytes.byteLength) : bytes.byteLength;
      taken.set(bytes.subarray(0, count), at);
      return count;
    },
  });
  await writeFully(file(2), BYTES, 1, 3);
  sameBytes(taken, Uint8Array.of(0xee, 1, 2, 3, 4, 5, 6, 7, 0xee));
  // Never more than three at once; after each two, the rest.
  assert.deepEqual(asked, [3, 3, 3, 1]);
  await assert.rejects(writeFully(file(0), BYTES, 0), { code: "EIO" });
});

test("a small file is read whole up to its limit, and is not there, or too large, otherwise", async () => {
  const fs = new MemoryFs();
  await publishSmallFile(fs, "folder", "small", BYTES);
  sameBytes((await readSmallFile(fs, "folder/small", 7))!, BYTES);
  await assert.rejects(readSmallFile(fs, "folder/small", 6), {
    code: "E_STORE_DAMAGED",
    message: /found 7, allowed 6/,
  });
  assert.equal(await readSmallFile(fs, "folder/none", 7), undefined);
});

test("a small file that can't be published leaves nothing, and why is what failed first", async () => {
  for (const failing of ["open", "write", "sync", "rename"]) {
    const fs = new MemoryFs();
    fs.hook = (op) => {
      if (op === failing || op === "remove") throw Object.assign(new Error(op), { code: "EIO" });
      return undefined;
    };
    await assert.rejects(publishSmallFile(fs, "folder", "small", BYTES), { message: failing });
    assert.equal(fs.names.has("folder/small"), false);
    fs.hook = (op) => {
      if (op === failing) throw Object.assign(new Error(op), { code: "EIO" });
      return undefined;
    };
    await assert.rejects(publishSmallFile(fs, "folder", "small", BYTES), { message: failing });
    assert.deepEqual(fs.paths(), []);
  }
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

test("what the system refuses is told by what helps: room, rights, another folder, another disk", () => {
  const codeOf = (code: string) => {
    const told = storeFailure(Object.assign(new Error(`${code}: x`), { code }), "s", 5);
    return told instanceof SolvayError ? [told.code, told.subject] : told;
  };
  for (const [name, codes] of [
    ["E_DISK_FULL", ["ENOSPC", "EDQUOT"]],
    ["E_ACCESS", ["EACCES", "EPERM", "EROFS"]],
    ["E_STORE_FOLDER", ["ENOTDIR", "EEXIST"]],
    ["E_DISK", ["EIO", "EMFILE", "ESTALE"]],
  ] as const)
    for (const code of codes) assert.deepEqual(codeOf(code), [name, "s"], code);
  for (const other of [new TypeError("ours"), Object.assign(new Error("ours"), { code: "ERR_X" }), "text"])
    assert.equal(storeFailure(other, "s"), other);
});

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

test("whatever part of a write is cut short, what is told as written is, and the rest is written again", async () => {
  for (const short of ["head", "pages", "tail"] as const) {
    const memory = new Uint8Array(4 * PAGE_BYTES);
    const [from, length] = [100, 2 * PAGE_BYTES];
    for (const i of memory.keys()) memory[i] = i % 251;
    const disk = new Uint8Array(4 * PAGE_BYTES);
    let cuts = 0;
    const write = (how: string) => async (bytes: Uint8Array, at: number) => {
      const isCut = how === short && cuts++ === 0;
      // A page, or a few bytes.
      const kept = isCut ? (how === "pages" ? 0 : Math.floor(bytes.byteLength / 2)) : bytes.byteLength;
      disk.set(bytes.subarray(0, kept), at);
      return kept;
    };
    const direct: DirectWriter = { memory, write: write("pages"), close: async () => {} };
    const plain = async (bytes: Uint8Array, at: number) =>
      await write(at % PAGE_BYTES === 0 ? "tail" : "head")(bytes, at);
    const part = new PartFile({ write: plain } as unknown as StoreFile, direct);
    const bytes = memory.subarray(from, from + length);
    // What was told comes first; the rest is asked for again.
    const told = await part.write(bytes, from);
    sameBytes(disk.subarray(from, from + told), bytes.subarray(0, told), short);
    assert.ok(told < length, short);
    for (let done = told; done < length; ) {
      const more = await part.write(bytes.subarray(done), from + done);
      assert.ok(more > 0, short);
      done += more;
    }
    sameBytes(disk.subarray(from, from + length), bytes, short);
    assert.equal(disk[from + length], 0);
  }
});

test("a part's places: what spans chunks is compared, copied and zeroed to its last byte, and its neighbours stay", async () => {
  const f16 = (name: string, elements: number) => ({ name, dtype: "f16", shape: [elements] }) as const;
  const layouts = [
    layoutBlock({ graph: "g", label: "before", tensors: [f16("a", 9)] }),
    // It begins within a chunk and ends in the third.
    layoutBlock({ graph: "g", label: "long", tensors: [f16("lead", 1000), f16("w", CHUNK_BYTES + 5000)] }),
    layoutBlock({ graph: "g", label: "behind", tensors: [f16("z", 9)] }),
  ];
  const fs = new MemoryFs();
  const file = await fs.open("part", "create");
  const placed = new PlacedFile(file, layouts);
  const { tensor, startByte } = placed.places.get("w")!;
  const bytes = new Uint8Array(tensor.shape[0]! * 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31) % 255;
  await file.truncate(placed.endByte);
  fs.bytes("part").fill(7);
  // From a file in which it lies behind something else.
  const source = memorySource("weights", Uint8Array.from([1, 2, 3, ...bytes]));
  const entry = { ...f16("w", tensor.shape[0]!), source, startByte: 3, endByte: 3 + bytes.length };
  await placed.copy("w", new Map([["w", entry]]));
  sameBytes(fs.bytes("part").subarray(startByte, startByte + bytes.length), bytes, "copied");
  assert.deepEqual([fs.bytes("part")[startByte - 1], fs.bytes("part")[startByte + bytes.length]], [7, 7]);

  const stop = new Error("stop");
  await assert.rejects(placed.copy("w", new Map([["w", entry]]), AbortSignal.abort(stop)), stop);

  // Pieces end where the block's chunks do.
  const first = CHUNK_BYTES - tensor.offsetBytes;
  const ends = [first, first + CHUNK_BYTES, bytes.length];
  const crcs = ends.map((end, i) => crc32(bytes.subarray(ends[i - 1] ?? 0, end)));
  const place = placed.places.get("w")!;
  assert.ok(await placed.hasPieces(place, bytes.length, crcs));
  for (const end of ends) {
    fs.bytes("part")[startByte + end - 1]! ^= 1;
    assert.ok(!(await placed.hasPieces(place, bytes.length, crcs)), `a flipped bit before ${end}`);
    fs.bytes("part")[startByte + end - 1]! ^= 1;
  }

  await writeFully(file, Uint8Array.of(5), placed.starts[1]! - 1);
  await placed.zero(1);
  const whole = fs.bytes("part");
  const zeros = new Uint8Array(placed.starts[2]! - placed.starts[1]!);
  sameBytes(whole.subarray(placed.starts[1]!, placed.starts[2]!), zeros, "zeroed");
  assert.deepEqual([whole[placed.starts[1]! - 1], whole[placed.starts[2]!]], [5, 7]);
});

for (const packed of ["off", "on"] as const) {
  test(`a flipped bit in any chunk of a block is found by whoever reads it, whole or in part: packed ${packed}`, async () => {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    const long = componentOf("u", { b: { w: ["f16", [CHUNK_BYTES + 5000]] } }, 3);
    const expected = long.bytes;
    await importAndCheck(store, { request: { name: "m", components: [long], packed }, expected });
    const [path] = fs.paths().filter((name) => name.endsWith(".pack"));
    const name = /([0-9a-f]{64})\.pack$/.exec(path!)![1]!;
    await using sound = await openPack(store, name);
    const [block] = sound.blocks;
    const wanted = expected.get("w")!;
    let at = block!.startByte;
    for (const [chunk] of block!.crcs.entries()) {
      const byte = at + 1000;
      at += block!.sizes?.[chunk] ?? CHUNK_BYTES;
      fs.bytes(path!)[byte]! ^= 4;
      const ranges = [
        [0, block!.plainBytes],
        [chunk * CHUNK_BYTES + 10, chunk * CHUNK_BYTES + 20],
      ] as const;
      for (const [from, to] of ranges) {
        await using pack = await openPack(store, name);
        const into = new Uint8Array(to - from);
        await assert.rejects(
          pack.readPlain(block!.id, from, into, "b"),
          { code: "E_STORE_DAMAGED" },
          `${chunk} ${from}`,
        );
      }
      fs.bytes(path!)[byte]! ^= 4;
    }
    const into = new Uint8Array(wanted.length - 100);
    await sound.readPlain(block!.id, 100, into, "b");
    sameBytes(into, wanted.subarray(100));
  });
}

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

test("a block of many chunks hears its signal between them, where it is written and where it is only summed", async () => {
  const plainBytes = 40 * CHUNK_BYTES;
  for (const work of ["write", "sum"] as const) {
    const stop = new Error("stop");
    const controller = new AbortController();
    let reads = 0;
    const read = async () => {
      if (++reads === 3) controller.abort(stop);
    };
    const { signal } = controller;
    const file = await new MemoryFs().open("part", "create");
    await assert.rejects(
      work === "write"
        ? writeBlock(file, 4096, { plainBytes, codec: "plain" }, read, { signal })
        : new ChunkSums(plainBytes).finish(read, signal),
      stop,
    );
    assert.equal(reads, 3, work);
  }
});
