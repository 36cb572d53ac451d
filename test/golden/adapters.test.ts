/** @file Each kind of adapter against what LyCORIS and peft make of the same file: W' - W of every layer (scripts/golden/adapter_golden.py). */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openAdapter } from "../../src/adapters/adapter.ts";
import { readAdapterFile } from "../../src/adapters/adapter-file.ts";
import type { LayerChange } from "../../src/adapters/layer-change.ts";
import { LayerNames } from "../../src/adapters/layer-names.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { layerDelta, valuesOf } from "../support/layer-delta.ts";

const FOLDER = fileURLToPath(new URL("../../fixtures/adapters", import.meta.url));
const open = (name: string) =>
  memorySource(`${name}.safetensors`, new Uint8Array(readFileSync(join(FOLDER, `${name}.safetensors`))));
const { table: golden } = await readSafetensorsHeader(open("golden"));
const shapes = [...golden].flatMap(([name, { shape }]) =>
  name.startsWith("model/") ? [[name.slice("model/".length), shape] as const] : [],
);
const NAMES = new LayerNames([{ component: "unet", folder: "unet", schema: new Map(shapes), otherNames: new Map() }]);

/** Of the largest change. The reference computes in fp32; where it inverts matrices in it, its own rounding is as large. */
const toleranceOf = (name: string) => (name.includes("oft") ? 3e-6 : 1e-6);

const CASES = readdirSync(FOLDER)
  .map((file) => file.replace(".safetensors", ""))
  .filter((name) => name !== "golden");

for (const name of CASES) {
  test(`${name}: every layer's change is the reference's`, async () => {
    const { adapter, report } = await openAdapter(await readAdapterFile(open(name)), NAMES);
    assert.deepEqual([report.unmatched, report.twins], [[], []]);
    const expected = new Map([...golden].filter(([key]) => key.startsWith(`${name}/`)));
    assert.ok(expected.size > 0);
    for (const [module, changes] of adapter.layers.get("unet")!) {
      const stored = golden.get(`model/${module}.weight`)!;
      const delta = await layerDelta(changes, await valuesOf(stored), stored.shape);
      for (const part of ["weight", "bias"] as const) {
        const key = `${name}/${module}.${part}`;
        const reference = expected.get(key);
        assert.equal(delta[part]?.some((value) => value !== 0) ?? false, reference !== undefined, key);
        if (!reference) continue;
        expected.delete(key);
        const values = await valuesOf(reference);
        const largest = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
        const worst = values.reduce((a, b, i) => Math.max(a, Math.abs(b - delta[part]![i]!)), 0);
        assert.ok(worst <= toleranceOf(name) * largest, `${key}: ${worst} of ${largest}`);
      }
    }
    assert.deepEqual([...expected.keys()], []);
  });
}

test("a file of torch.save holds the same adapter", async () => {
  const bytes = new Uint8Array(readFileSync(join(FOLDER, "../torch-files/lora.pt")));
  const { adapter, report } = await openAdapter(await readAdapterFile(memorySource("lora.pt", bytes)), NAMES);
  const expected = await openAdapter(await readAdapterFile(open("lora")), NAMES);
  assert.deepEqual(report, expected.report);
  for (const [module, changes] of adapter.layers.get("unet")!) {
    const { shape } = golden.get(`model/${module}.weight`)!;
    const weight = new Float32Array(elementCount(shape));
    const delta = await layerDelta(changes, weight, shape);
    assert.deepEqual(delta, await layerDelta(expected.adapter.layers.get("unet")!.get(module)!, weight, shape), module);
  }
});

test("tensors that are made are the same in whatever pieces they are read", async () => {
  let made = 0;
  for (const name of [
    "loha",
    "loha-tucker",
    "lokr",
    "lokr-tucker",
    "lokr-dora",
    "oft-constrained",
    "boft",
    "peft-oft-shared",
    "peft-ia3",
  ]) {
    const { adapter } = await openAdapter(await readAdapterFile(open(name)), NAMES);
    for (const change of [...adapter.layers.get("unet")!.values()].flat()) {
      for (const { source, startByte, endByte } of tensorsOf(change)) {
        if (source.readingBytes === undefined) continue;
        made++;
        const whole = new Uint8Array(endByte - startByte);
        await source.read(startByte, whole);
        const pieces = new Uint8Array(whole.length);
        for (let at = 0; at < pieces.length; at += 101) {
          await source.read(startByte + at, pieces.subarray(at, Math.min(pieces.length, at + 101)));
        }
        assert.deepEqual(pieces, whole, name);
      }
    }
  }
  assert.ok(made > 20, `${made} made tensors`);
});

test("LoHa and LoKr whose factors are smaller than what they make stay two factors, and are never whole", async () => {
  for (const name of ["loha", "lokr", "peft-lokr"]) {
    const { adapter } = await openAdapter(await readAdapterFile(open(name)), NAMES);
    let factored = 0;
    for (const [module, changes] of adapter.layers.get("unet")!) {
      const { shape } = golden.get(`model/${module}.weight`)!;
      const [change] = changes;
      if (change?.kind !== "low-rank") continue;
      factored++;
      assert.ok(elementCount(change.down.shape) + elementCount(change.up.shape) <= elementCount(shape), module);
    }
    assert.ok(factored > 0, name);
  }
});

function tensorsOf(change: LayerChange): readonly TensorEntry[] {
  switch (change.kind) {
    case "low-rank":
      return [change.down, change.up];
    case "difference":
      return [change.weight];
    case "scale":
      return [change.values];
    case "rotation":
      return change.factors.map(({ blocks }) => blocks);
    case "magnitude":
      return tensorsOf(change.change);
    default:
      return [];
  }
}
