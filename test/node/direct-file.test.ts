/** @file The store's file operations on this machine's disk: what they promise of names and stamps, and writes past the page cache where there are any. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { openDirect, pageOffset } from "../../src/node/disk/direct-file.ts";
import { NODE_FS } from "../../src/node/disk/node-fs.ts";
import { type DirectWriter, PAGE_BYTES, type StoreFile } from "../../src/store/fs.ts";
import { ringBytes, WeightRing } from "../../src/store/import/weight-ring.ts";
import { layoutBlock } from "../../src/store/pack/block-layout.ts";
import { PartFile } from "../../src/store/pack/part-file.ts";
import { PlacedFile } from "../../src/store/pack/placed-file.ts";

test("a stamp differs where the file was changed or replaced, be its size and time the same", async () => {
  await inFolder(async (path) => {
    const at = new Date("2026-01-02T03:04:05Z");
    const stampNow = async () => {
      const file = await NODE_FS.open(path, "read");
      const open = await file.stat();
      await file.close();
      const named = await NODE_FS.stat(path);
      assert.deepEqual(open, named);
      return named!.stamp;
    };
    await writeFile(path, "123");
    await utimes(path, at, at);
    const first = await stampNow();
    assert.equal(await stampNow(), first);
    await utimes(path, at, new Date(at.getTime() + 1));
    const later = await stampNow();
    await writeFile(`${path}.other`, "456");
    await utimes(`${path}.other`, at, at);
    await rename(`${path}.other`, path);
    const replaced = await stampNow();
    await writeFile(path, "4567");
    await utimes(path, at, at);
    assert.equal(new Set([first, later, replaced, await stampNow()]).size, 4);
  });
});

test("what isn't there is nothing, but a folder whose names can't be made to last is an error", async () => {
  await inFolder(async (path) => {
    const gone = `${path}-gone`;
    assert.deepEqual([await NODE_FS.stat(gone), await NODE_FS.list(gone)], [undefined, []]);
    assert.equal(await NODE_FS.usedBytes(gone), 0);
    await NODE_FS.remove(gone);
    await NODE_FS.removeFolder(gone);
    const freeBytes = await NODE_FS.freeBytes(`${gone}/a/b`);
    assert.ok(freeBytes > 0 && Number.isFinite(freeBytes));
    if (process.platform !== "win32") await assert.rejects(NODE_FS.syncFolder(gone), { code: "ENOENT" });
    await assert.rejects(NODE_FS.open(gone, "edit"), { code: "ENOENT" });
    await assert.rejects(NODE_FS.rename(gone, path), { code: "ENOENT" });
    assert.equal(await readFile(path, "utf8"), "");
    // What can't be looked at isn't nothing.
    if (process.platform !== "win32") {
      const within = `${path}/x`;
      for (const call of [NODE_FS.stat, NODE_FS.list, NODE_FS.remove, NODE_FS.usedBytes]) {
        await assert.rejects(call(within), { code: "ENOTDIR" });
      }
    }
  });
});

test("a folder's bytes are those that its files take of the disk: holes take none", async () => {
  if (process.platform === "win32") return;
  await inFolder(async (path) => {
    const file = await NODE_FS.open(path, "edit");
    await file.truncate(64 * 2 ** 20);
    await file.write(new Uint8Array(2 ** 20).fill(1), 0);
    await file.sync();
    await file.close();
    const usedBytes = await NODE_FS.usedBytes(dirname(path));
    assert.ok(usedBytes > 0 && usedBytes < 2 ** 22, `${usedBytes}`);
  });
});

test("the place in memory where direct transfers begin: the first that the system takes, and a whole page of it", async () => {
  const memory = new Uint8Array(3 * PAGE_BYTES);
  const tried: number[] = [];
  const found = (answer: (offset: number) => number | string) =>
    pageOffset(memory, async (page) => {
      assert.equal(page.byteLength, PAGE_BYTES);
      tried.push(page.byteOffset);
      const bytes = answer(page.byteOffset);
      if (typeof bytes === "number") return bytes;
      throw Object.assign(new Error(bytes), { code: bytes });
    });
  assert.equal(await found((offset) => (offset < 48 ? "EINVAL" : PAGE_BYTES)), 48);
  assert.deepEqual(tried.splice(0), [0, 16, 32, 48]);
  assert.equal(await found((offset) => (offset < 16 ? "EINVAL" : PAGE_BYTES - 512)), undefined);
  assert.equal(await found(() => "EIO"), undefined);
  assert.deepEqual(tried.splice(0), [0, 16, 0]);
  assert.equal(await found(() => "EINVAL"), undefined);
  assert.equal(tried.at(-1), PAGE_BYTES - 16);
});

/** In an order of their own; sizes that begin and end within pages, and one that fills none. */
const SHAPES = [[3000], [5], [2048], [7001], [1, 31], [40_000]];

async function inFolder(work: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "solvay-direct-"));
  try {
    const path = join(folder, "part");
    await writeFile(path, "");
    await work(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function layoutOf() {
  const tensors = SHAPES.map((shape, i) => ({ name: `t${i}`, dtype: "f16" as const, shape }));
  return [layoutBlock({ graph: "g", label: "b", tensors })];
}

/** Writes all tensors, a mark in each of their weights, and returns the places where the marks are wrong. */
async function writeAndCompare(path: string, direct: DirectWriter | undefined): Promise<string[]> {
  const largestBytes = 80_000;
  const layouts = layoutOf();
  const file: StoreFile = await NODE_FS.open(path, "edit");
  await using opened = new AsyncDisposableStack();
  opened.defer(() => file.close());
  const ring = new WeightRing(largestBytes, direct?.memory ?? new Uint8Array(ringBytes(largestBytes)));
  const placed = new PlacedFile(new PartFile(file, direct), layouts);
  await file.truncate(placed.endByte);
  const inUse: Promise<void>[] = [];
  for (const name of ["t3", "t0", "t5", "t1", "t4", "t2"]) {
    while (!ring.hasRoom) await inUse.shift();
    const place = placed.places.get(name)!;
    const weights = ring.take(
      place.tensor.shape.reduce((a, b) => a * b),
      place.startByte,
    );
    weights.fill(1 + Number(name[1]));
    const bytes = new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength);
    inUse.push(placed.write(place.startByte, bytes).then(() => ring.give(weights.fill(0xdead))));
  }
  await placed.written();
  const expected = new Uint16Array(placed.endByte / 2);
  for (const [i, tensor] of layouts[0]!.tensors.entries()) {
    const start = (placed.starts[0]! + tensor.offsetBytes) / 2;
    expected.fill(i + 1, start, start + SHAPES[i]!.reduce((a, b) => a * b));
  }
  const found = await readFile(path);
  const wrong: string[] = [];
  for (let at = PAGE_BYTES / 2; at < expected.length; at++) {
    if (found.readUInt16LE(at * 2) !== expected[at]) wrong.push(`${at}: ${found.readUInt16LE(at * 2)}`);
  }
  return wrong.slice(0, 5);
}

test("tensors written directly stand in the file as those written through the cache", async (t) => {
  await inFolder(async (path) => {
    const direct = await openDirect(path, new Uint8Array(ringBytes(80_000) + PAGE_BYTES));
    if (!direct) return t.skip("this file system has no direct writes");
    assert.equal(direct.memory.byteLength, ringBytes(80_000));
    let pages = 0;
    const counted: DirectWriter = {
      ...direct,
      write(bytes, at) {
        assert.equal(at % PAGE_BYTES, 0);
        assert.equal(bytes.byteLength % PAGE_BYTES, 0);
        pages += bytes.byteLength / PAGE_BYTES;
        return direct.write(bytes, at);
      },
    };
    assert.deepEqual(await writeAndCompare(path, counted), []);
    await direct.close();
    // Of 26 pages, those that one tensor fills.
    assert.ok(pages >= 20, `${pages} pages`);
  });
});

test("where a direct write is refused, the cache takes it; another failure is one", async () => {
  const refusing = (code: string): DirectWriter => ({
    memory: new Uint8Array(ringBytes(80_000)),
    write: () => Promise.reject(Object.assign(new Error(code), { code })),
    close: async () => undefined,
  });
  await inFolder(async (path) => {
    assert.deepEqual(await writeAndCompare(path, refusing("EINVAL")), []);
    await assert.rejects(writeAndCompare(path, refusing("ENOSPC")), { code: "ENOSPC" });
  });
});
