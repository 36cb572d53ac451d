/** @file LZR2 artifacts made and decoded by numpy (scripts/golden/lzr2_golden.py): every weight's bits, and the engine's count. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { readLzr2 } from "../../src/container/lzr2.ts";
import { ArtifactError } from "../../src/errors.ts";
import { type LoadEvent, openEngine } from "../../src/node.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount } from "../../src/tensor/dtype.ts";

interface DecodedRecord {
  readonly key: string;
  readonly shape: readonly number[];
  readonly tf: number;
  /** The rest only with payload. */
  readonly dp?: number;
  readonly blocks?: number;
  /** Overlay rows name row and column in u32. */
  readonly wide?: boolean;
  readonly skipped?: number;
  /** Of all fp16 bits, little-endian. */
  readonly sha256?: string;
  /** fp16 bits: up to eight of the first row's start and of the last row's end. */
  readonly first?: readonly number[];
  readonly last?: readonly number[];
}

const fixtures = new URL("../../fixtures/lzr2/", import.meta.url);
const decoded = JSON.parse(readFileSync(new URL("decoded.json", fixtures), "utf8")) as Record<string, DecodedRecord[]>;
const file = (name: string) => fileURLToPath(new URL(`${name}.lzr2`, fixtures));
const model = fileURLToPath(new URL("../golden/deep", fixtures));

for (const [name, expected] of Object.entries(decoded)) {
  test(`${name}.lzr2: every record as numpy decodes it`, async () => {
    const bytes = new Uint8Array(readFileSync(file(name)));
    let count = 0;
    for await (const record of readLzr2(memorySource(name, bytes), { compat: name.endsWith("-compat") })) {
      const { key, shape, tf, ...payload } = expected[count++]!;
      assert.deepEqual([record.key, record.shape, record.tf], [key, shape, tf]);
      assert.equal(record.weight !== undefined, tf === 1, key);
      if (!record.weight) continue;
      const columns = elementCount(shape) / shape[0]!;
      const found = {
        dp: record.dp,
        blocks: record.blocks,
        wide: Math.max(shape[0]!, record.blocks) * record.dp >= 65536,
        skipped: record.skippedOverlayRows,
        sha256: createHash("sha256").update(record.weight).digest("hex"),
        first: [...record.weight.subarray(0, Math.min(8, columns))],
        last: [...record.weight.subarray(record.weight.length - Math.min(8, columns))],
      };
      assert.deepEqual(found, payload, key);
    }
    assert.equal(count, expected.length);
  });
}

test("the fixtures cover what the format allows", () => {
  const all = Object.values(decoded).flat();
  const payloads = all.filter(({ tf }) => tf === 1);
  assert.deepEqual(
    [...new Set(payloads.map(({ dp }) => dp!))].sort((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
  const spare = ({ shape, dp, blocks }: DecodedRecord) => blocks! * dp! - elementCount(shape) / shape[0]!;
  const has = (what: string, fits: (record: DecodedRecord) => boolean) => assert.ok(payloads.some(fits), what);
  has("rows too short for their matrix", (record) => record.blocks! > 0 && spare(record) < 0);
  has("rows cut inside of a block", (record) => spare(record) > 0 && spare(record) < record.dp!);
  has("rows with a block too many", (record) => spare(record) >= record.dp!);
  has("no blocks", ({ blocks }) => blocks === 0);
  has("overlay rows out of range", ({ skipped }) => skipped! > 0);
  has("overlay of u32", ({ wide }) => wide!);
  has("vectors", ({ shape }) => shape.length === 1);
  assert.deepEqual(
    [...new Set(all.map(({ tf }) => tf))].sort((a, b) => a - b),
    [0, 1, 7, 255],
  );
});

/** Opens the golden model with an artifact and returns the summary that the engine reports. */
async function openWith(name: string, compat: boolean): Promise<Extract<LoadEvent, { type: "artifact" }>> {
  const events: LoadEvent[] = [];
  await using _ = await openEngine({
    model,
    artifact: file(name),
    compat,
    backend: "reference",
    onEvent: (event) => events.push(event),
  });
  const modules = events.filter((event) => event.type === "module");
  assert.deepEqual(
    modules.map(({ key }) => key),
    decoded[name]!.map(({ key }) => key),
  );
  return events.find((event) => event.type === "artifact")!;
}

for (const [name, compat] of [
  ["deep", false],
  ["deep-compat", true],
] as const) {
  test(`${name}.lzr2: the engine counts what was applied, left and skipped`, async () => {
    const { applied, untouched, skippedOverlayRows } = await openWith(name, compat);
    const records = decoded[name]!;
    assert.deepEqual(
      { applied, untouched, skippedOverlayRows },
      {
        applied: records.filter(({ tf }) => tf === 1).length,
        untouched: records.filter(({ tf }) => tf !== 1).length,
        skippedOverlayRows: records.reduce((sum, { skipped }) => sum + (skipped ?? 0), 0),
      },
    );
  });
}

test("what only the published loader takes is refused without compat", async () => {
  await assert.rejects(openWith("deep-compat", false), (error: unknown) => {
    assert.ok(error instanceof ArtifactError);
    assert.equal(error.code, "E_LZR_TYPE");
    return true;
  });
});

test("an artifact of another model is refused by its first key", async () => {
  await assert.rejects(openWith("odd", false), { code: "E_SCHEMA" });
});
