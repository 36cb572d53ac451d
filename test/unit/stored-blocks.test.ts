/** @file Blocks from the store: one read each; segments that the store cut otherwise are refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ArtifactError } from "../../src/errors.ts";
import { importModel } from "../../src/store/import/import.ts";
import { openStoredModel, type StoredComponent } from "../../src/store/stored-model.ts";
import { StoredBlocks } from "../../src/stream/stored-blocks.ts";
import { MemoryFs, memoryStore } from "./memory-store-fs.ts";
import { componentOf } from "./store-fixture.ts";

const PLAN = {
  a: { "a.w": ["f16", [700, 900]], "a.b": ["bf16", [5]] },
  b: { "b.w": ["f16", [33]], "b.b": ["f16", [3]] },
} as const;

const one = componentOf("c", PLAN, 11);

/** A clock that counts its readings. */
function counter(): () => number {
  let reads = 0;
  return () => reads++;
}

async function withStored(packed: "on" | "off", body: (component: StoredComponent) => Promise<void>): Promise<void> {
  const { bytes: _, ...component } = one;
  const store = memoryStore(new MemoryFs());
  const { id } = await importModel(store, { name: "n", components: [component], packed });
  await using model = await openStoredModel(store, id);
  await body(model.components.get("c")!);
}

async function tensorsOf(reader: StoredBlocks, segment: string, names: readonly string[]) {
  const [block] = reader.blocks(segment, names);
  assert.ok(block);
  const bytes = new Uint8Array(block.storedBytes);
  const report = await reader.read(block, 0, bytes);
  for (const { name, offsetBytes } of block.tensors) {
    const expected = one.bytes.get(name)!;
    assert.deepEqual(Buffer.compare(bytes.subarray(offsetBytes, offsetBytes + expected.length), expected), 0, name);
  }
  return { block, report };
}

for (const packed of ["on", "off"] as const) {
  test(`a segment's block comes whole, in whatever order its weights are asked for: packed ${packed}`, async () => {
    await withStored(packed, async (component) => {
      const reader = new StoredBlocks("p", component, counter());
      const { block, report } = await tensorsOf(reader, "s", ["a.b", "a.w"]);
      assert.equal(block.key, "p/s");
      assert.equal(block.storedBytes, Math.ceil((700 * 900 * 2) / 64) * 64 + 64);
      assert.equal(reader.readBytes, report.diskBytes);
      // Packed: a few parts of it are unpacked, and less is read than there is.
      assert.equal(report.decodeMs > 0, packed === "on");
      assert.equal(report.diskBytes < block.storedBytes, packed === "on");
      // From any byte on, as devices with staging read.
      const whole = new Uint8Array(block.storedBytes);
      await reader.read(block, 0, whole);
      for (const [from, length] of [
        [0, 10],
        [1001, 600_000],
        [block.storedBytes - 70, 70],
      ] as const) {
        const part = new Uint8Array(length);
        await reader.read(block, from, part);
        assert.equal(Buffer.compare(part, whole.subarray(from, from + length)), 0, `${from} + ${length}`);
      }
    });
  });
}

test("segments that the store cut otherwise are refused: they would be read piece by piece", async () => {
  await withStored("off", async (component) => {
    const reader = new StoredBlocks("p", component, counter());
    for (const names of [["a.b"], ["b.w", "a.b"], ["a.w", "a.b", "b.w"], ["nowhere"]]) {
      assert.throws(
        () => reader.blocks("odd", names),
        (error) =>
          error instanceof ArtifactError &&
          /E_STORE_LAYOUT p: the store's blocks don't fit this model's segments \(segment odd\)/.test(error.message),
        names.join(),
      );
    }
  });
});

test("NaN in a stored weight is refused, whole or in parts", async () => {
  const bad = componentOf("c", { a: { "a.w": ["f16", [64]] } }, 5);
  const entry = bad.table.get("a.w")!;
  const source = {
    ...entry.source,
    read: async (startByte: number, into: Uint8Array) => {
      await entry.source.read(startByte, into);
      // Infinity at the last element, if it is among these.
      const at = entry.endByte - 2 - startByte;
      if (at >= 0 && at + 2 <= into.length) into.set([0x00, 0x7c], at);
    },
  };
  const { bytes: _, ...component } = { ...bad, table: new Map([["a.w", { ...entry, source }]]) };
  const store = memoryStore(new MemoryFs());
  const { id } = await importModel(store, { name: "n", components: [component], packed: "off" });
  await using model = await openStoredModel(store, id);
  const reader = new StoredBlocks("p", model.components.get("c")!, counter());
  const block = reader.blocks("s", ["a.w"])[0]!;
  const nonFinite = (error: unknown) => error instanceof ArtifactError && error.code === "E_NONFINITE";
  await assert.rejects(reader.read(block, 0, new Uint8Array(128)), nonFinite);
  await reader.read(block, 0, new Uint8Array(64));
  await assert.rejects(reader.read(block, 64, new Uint8Array(64)), nonFinite);
});
