/** @file The thread that hashes decoded tensors: its sums are those of this thread, and its end is said to whoever waits. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HashThread } from "../../src/node/disk/hashing.ts";
import { LOCAL_HASHER } from "../../src/store/pack/hasher.ts";

/** Begins within its buffer, as what begins at a page of the system does. */
const memory = new Uint8Array(new SharedArrayBuffer(64 * 1024 ** 2 + 4096), 1040, 64 * 1024 ** 2);
memory.forEach((_, i) => {
  memory[i] = i * 7;
});

test("sums of a stretch are those that this thread takes, also of other memory", async () => {
  await using thread = new HashThread(memory);
  const bytes = memory.subarray(1000, 9000);
  const pieces = [
    { from: 0, to: 100, digest: false },
    { from: 100, to: 8000, digest: true },
  ];
  const copy = Uint8Array.from(bytes);
  const expected = await LOCAL_HASHER.sums(copy, pieces);
  assert.deepEqual(await thread.sums(bytes, pieces), expected);
  assert.deepEqual(await thread.sums(copy, pieces), expected);
  for (const end of [memory.subarray(0, 8000), memory.subarray(-8000)])
    assert.deepEqual(await thread.sums(end, pieces), await LOCAL_HASHER.sums(Uint8Array.from(end), pieces));
});

test("who waits for a thread that ends is told, and so is who asks later", async () => {
  const thread = new HashThread(memory);
  const asked = thread.sums(memory, [{ from: 0, to: memory.length, digest: true }]);
  const refused = assert.rejects(asked, /the hash thread ended/);
  await thread[Symbol.asyncDispose]();
  await refused;
  await assert.rejects(thread.sums(memory, []), /the hash thread ended/);
});
