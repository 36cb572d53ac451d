/** @file Byte sources: what they refuse to open, and reads that don't get what they ask for. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { SequentialReader } from "../../src/container/sequential.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { memorySource } from "../../src/source/memory.ts";

const folder = mkdtempSync(path.join(tmpdir(), "solvay-source-"));
after(() => rmSync(folder, { recursive: true }));

function makeFile(name: string, lengthBytes: number): string {
  const file = path.join(folder, name);
  writeFileSync(
    file,
    Uint8Array.from({ length: lengthBytes }, (_, i) => i),
  );
  return file;
}

test("a file's bytes, at any place", async () => {
  await using source = await openFileSource(makeFile("bytes", 200));
  assert.equal(source.name, "bytes");
  assert.equal(source.byteLength, 200);
  const into = new Uint8Array(3);
  await source.read(197, into);
  assert.deepEqual([...into], [197, 198, 199]);
});

test("B07 missing files, folders, empty files, devices and pipes are refused", async () => {
  await assert.rejects(openFileSource(path.join(folder, "none")), { name: "ArtifactError", code: "E_MISSING" });
  await assert.rejects(openFileSource(folder), { name: "ArtifactError", code: "E_NOT_A_FILE" });
  await assert.rejects(openFileSource(makeFile("empty", 0)), { name: "ArtifactError", code: "E_EMPTY" });
});

test("B07 devices and pipes are refused without waiting for them", {
  skip: process.platform === "win32" && "skipped: no such files on Windows",
}, async () => {
  const pipe = path.join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  await assert.rejects(openFileSource(pipe), { name: "ArtifactError", code: "E_NOT_A_FILE" });
  await assert.rejects(openFileSource("/dev/zero"), { name: "ArtifactError", code: "E_NOT_A_FILE" });
});

test("B02 a read beyond the end is E_TRUNCATED, from file and memory", async () => {
  await using source = await openFileSource(makeFile("short", 10));
  const expected = { name: "ArtifactError", code: "E_TRUNCATED" };
  await assert.rejects(source.read(8, new Uint8Array(3)), expected);
  await assert.rejects(memorySource("m", new Uint8Array(10)).read(8, new Uint8Array(3)), expected);
});

test("B07 a file that is cut or touched while it is read is told", async () => {
  const file = makeFile("changing", 100);
  await using cut = await openFileSource(file);
  truncateSync(file, 50);
  await assert.rejects(cut.read(40, new Uint8Array(20)), { code: "E_CHANGED_DURING_READ" });
  await using touched = await openFileSource(file);
  utimesSync(file, 1, 1);
  await assert.rejects(touched.read(0, new Uint8Array(1)), { code: "E_CHANGED_DURING_READ" });
});

test("an aborted read rejects with the signal's reason", async () => {
  await using source = await openFileSource(makeFile("aborted", 10));
  const reason = new Error("stop");
  await assert.rejects(source.read(0, new Uint8Array(1), AbortSignal.abort(reason)), reason);
  await assert.rejects(
    memorySource("m", new Uint8Array(1)).read(0, new Uint8Array(1), AbortSignal.abort(reason)),
    reason,
  );
});

test("memory is viewed in place where it is aligned", () => {
  const source = memorySource("m", new Uint8Array(32));
  assert.equal(source.view?.(8, 12)?.byteOffset, 8);
  assert.equal(source.view?.(4, 12), undefined);
});

test("the sequential reader keeps its place over chunks, skips and jumps", async () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, i) => i % 251);
  for (const chunkBytes of [1, 7, 64, 1000]) {
    const reader = new SequentialReader(memorySource("m", bytes), undefined, chunkBytes);
    assert.deepEqual([...(await reader.take(5))], [0, 1, 2, 3, 4]);
    reader.skip(3);
    assert.deepEqual([...(await reader.take(2))], [8, 9]);
    reader.skip(190);
    assert.equal(await reader.u32(), 200 + 201 * 256 + 202 * 65536 + 203 * 2 ** 24);
    assert.equal(reader.offset, 204);
    assert.deepEqual(await reader.take(96), bytes.slice(204));
    assert.equal(reader.remainingBytes, 0);
    await assert.rejects(reader.take(1), RangeError);
  }
});

test("the sequential reader reads each byte once, in order, so many chunks ahead, and none that is passed over", async () => {
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
  const asked: number[] = [];
  const source = {
    ...memorySource("m", bytes),
    async read(startByte: number, into: Uint8Array) {
      asked.push(startByte);
      into.set(bytes.subarray(startByte, startByte + into.byteLength));
    },
  };
  const reader = new SequentialReader(source, undefined, 10, 2);
  await reader.take(5);
  assert.deepEqual(asked, [0, 10, 20]);
  await reader.take(10);
  assert.deepEqual(asked, [0, 10, 20, 30]);
  reader.skip(50);
  assert.deepEqual([...(await reader.take(2))], [65, 66]);
  // What was on its way is of no use; from 65 on it is read anew.
  assert.deepEqual(asked, [0, 10, 20, 30, 65, 75, 85]);
  assert.deepEqual(await reader.take(33), bytes.slice(67));
  assert.deepEqual(asked, [0, 10, 20, 30, 65, 75, 85, 95]);
});

test("a chunk ahead that can't be read is told when its turn comes, and to nobody else", async () => {
  const gone = new Error("gone");
  const source = {
    ...memorySource("m", new Uint8Array(40)),
    async read(startByte: number) {
      if (startByte >= 10) throw gone;
    },
  };
  const reader = new SequentialReader(source, undefined, 10, 2);
  await reader.take(4);
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  await reader.take(6);
  await assert.rejects(reader.take(1), gone);
  const stop = new Error("stop");
  const stopped = new SequentialReader(memorySource("m", new Uint8Array(40)), AbortSignal.abort(stop), 10, 2);
  await assert.rejects(stopped.take(1), stop);
});
