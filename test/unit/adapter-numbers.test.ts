/** @file What adapters' files hold beside factors: numbers in every dtype, each its own layer's; rotations that are stored as they are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openAdapter } from "../../src/adapters/adapter.ts";
import type { AdapterFile } from "../../src/adapters/adapter-file.ts";
import { LayerNames } from "../../src/adapters/layer-names.ts";
import { readNumbers } from "../../src/adapters/numbers.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { memorySource } from "../../src/source/memory.ts";
import type { DType } from "../../src/tensor/dtype.ts";
import { tensorOf } from "../support/adapters.ts";
import { valuesOf } from "../support/layer-delta.ts";

/** Behind three other bytes of its file. */
const stored = (dtype: DType, bytes: readonly number[]): TensorEntry => ({
  ...{ name: "layer.alpha", dtype, shape: [], startByte: 3, endByte: 3 + bytes.length },
  source: memorySource("style.safetensors", Uint8Array.of(9, 9, 9, ...bytes)),
});

test("an alpha is read in every dtype, little-endian and with its sign", async () => {
  const all = [255, 255, 255, 255, 255, 255, 255];
  const cases: readonly (readonly [DType, readonly number[], number])[] = [
    ["f64", [0, 0, 0, 0, 0, 0, 0xf8, 0x3f], 1.5],
    ["f32", [0, 0, 0xc0, 0x3f], 1.5],
    ["f16", [0, 0x3e], 1.5],
    ["bf16", [0xc0, 0x3f], 1.5],
    ["i64", [254, ...all], -2],
    ["u64", [2, 0, 0, 0, 1, 0, 0, 0], 2 ** 32 + 2],
    ["i32", [254, ...all.slice(0, 3)], -2],
    ["u32", [254, ...all.slice(0, 3)], 2 ** 32 - 2],
    ["i16", [254, 255], -2],
    ["u16", [254, 255], 65_534],
    ["i8", [254], -2],
    ["u8", [254], 254],
    ["bool", [1], 1],
  ];
  for (const [dtype, bytes, value] of cases) {
    const [numbers] = await readNumbers("x", [new Map([["alpha", stored(dtype, bytes)]])]);
    assert.deepEqual([...numbers!], [["alpha", value]], dtype);
  }
});

test("a hundred layers' numbers, read many at a time, are each their own layer's; one that fails is told", async () => {
  const layers = Array.from({ length: 100 }, (_, i) => {
    const numbers: [["alpha", TensorEntry], ["onInput", TensorEntry]] = [
      ["alpha", stored("u8", [i])],
      ["onInput", stored("bool", [i % 2])],
    ];
    return new Map<"alpha" | "onInput", TensorEntry>(i % 10 === 0 ? [] : numbers);
  });
  const found = await readNumbers("x", layers);
  const expected = layers.map((_, i) => (i % 10 === 0 ? [undefined, undefined] : [i, i % 2]));
  assert.deepEqual(
    found.map((numbers) => [numbers.get("alpha"), numbers.get("onInput")]),
    expected,
  );
  const broken = stored("u8", [1]);
  const read = () => Promise.reject(new Error("unplugged"));
  layers[77]!.set("alpha", { ...broken, source: { ...broken.source, read } });
  await assert.rejects(readNumbers("x", layers), /unplugged/);
});

test("rotations that are stored themselves turn the weight by their transposes, each block by itself", async () => {
  const schema = new Map([["layer.weight", [4, 3]]]);
  const names = new LayerNames([{ component: "unet", folder: "unet", schema, otherNames: new Map() }]);
  const name = "lora_unet_layer.oft_diag";
  const table = new Map([[name, tensorOf(name, [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8])]]);
  const file: AdapterFile = { name: "style.safetensors", table, metadata: new Map() };
  const { adapter } = await openAdapter(file, names);
  const [change] = adapter.layers.get("unet")!.get("layer")!;
  assert.ok(change?.kind === "rotation" && !change.onInput && change.factors.length === 1);
  const { blocks, stride } = change.factors[0]!;
  assert.deepEqual([blocks.shape, stride], [[2, 2, 2], 1]);
  assert.deepEqual([...(await valuesOf(blocks))], [1, 3, 2, 4, 5, 7, 6, 8]);
  // From within the first block to within the second.
  const some = new Float32Array(3);
  await blocks.source.read(blocks.startByte + 4 * 3, new Uint8Array(some.buffer));
  assert.deepEqual([...some], [4, 5, 7]);
});
