/** @file A disk that fails while weights are read from it is said to have failed, and is no error inside Solvay. */
import assert from "node:assert/strict";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { DeviceError } from "../../src/errors.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { importModel } from "../../src/store/import/import.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { MemoryFs, memoryStore } from "../unit/memory-store-fs.ts";
import { fixture } from "../unit/store-fixture.ts";

const EIO = Object.assign(new Error("EIO: i/o error, read"), { code: "EIO", errno: -5, syscall: "read" });

function isDiskFailure(error: unknown): true {
  assert.ok(error instanceof DeviceError, String(error));
  assert.match(error.message, /^E_DISK .*\(EIO\b/);
  assert.equal(error.message.match(/EIO/g)!.length, 1);
  return true;
}

test("a model's file", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "solvay-read-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "weights");
  await writeFile(path, new Uint8Array(100));
  const handle = await open(path);
  const read = t.mock.method(Object.getPrototypeOf(handle), "read", () => Promise.reject(EIO));
  await using source = await openFileSource(path);
  await assert.rejects(source.read(0, new Uint8Array(10)), isDiskFailure);
  read.mock.restore();
  await source.read(0, new Uint8Array(10));
  await handle.close();
});

test("the block store", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const { id } = await importModel(store, fixture().request);
  await using model = await openStoredModel(store, id);
  const block = [...model.components.values()].flatMap(({ blocks }) => blocks)[0]!;
  fs.hook = (op) => {
    if (op === "read") throw EIO;
    return undefined;
  };
  const bytes = new Uint8Array(block.plainBytes);
  await assert.rejects(block.readPlain(0, bytes), isDiskFailure);
  await assert.rejects(openStoredModel(store, id), isDiskFailure);
  fs.hook = () => undefined;
  await block.readPlain(0, bytes);
});
