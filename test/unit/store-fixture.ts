/** @file A model of a few kilobytes, with an artifact over one part of it, and what must come out of the store. */
import assert from "node:assert/strict";
import type { TensorEntry } from "../../src/container/table.ts";
import { memorySource } from "../../src/source/memory.ts";
import { importModel } from "../../src/store/import/import.ts";
import type { ImportComponent, ImportRequest, PackedChoice } from "../../src/store/import/import-types.ts";
import type { BlockSpec } from "../../src/store/pack/block-layout.ts";
import type { Store } from "../../src/store/store.ts";
import { listModels } from "../../src/store/store.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { DTYPE_BYTES, type DType, elementCount } from "../../src/tensor/dtype.ts";
import { sameBytes } from "../support/same.ts";
import { artifactBytes, f16Bits, type RawRecord } from "./lzr2-fixture.ts";

/** Seeded bytes, 0..1. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export type Plan = Readonly<Record<string, Readonly<Record<string, readonly [DType, readonly number[]]>>>>;

/** Blocks by label, tensors by name. */
export function componentOf(
  name: string,
  plan: Plan,
  seed: number,
): ImportComponent & { bytes: Map<string, Uint8Array> } {
  const random = randomOf(seed);
  const table = new Map<string, TensorEntry>();
  const bytes = new Map<string, Uint8Array>();
  const blocks: BlockSpec[] = Object.entries(plan).map(([label, tensors]) => ({
    graph: name,
    label,
    tensors: Object.entries(tensors).map(([tensor, [dtype, shape]]) => {
      const data = new Uint8Array(elementCount(shape) * DTYPE_BYTES[dtype]);
      for (let i = 0; i < data.length; i++) data[i] = random() * 256;
      // fp16 like weights: high bytes of few kinds.
      if (DTYPE_BYTES[dtype] === 2) for (let i = 1; i < data.length; i += 2) data[i] = 0x28 + (data[i]! & 0x83);
      const padded = new Uint8Array(3 + data.length).fill(9);
      padded.set(data, 3);
      const source = memorySource(tensor, padded);
      table.set(tensor, { name: tensor, dtype, shape, source, startByte: 3, endByte: padded.length });
      bytes.set(tensor, data);
      return { name: tensor, dtype, shape };
    }),
  }));
  return { name, blocks, table, bytes, sources: [{ role: name, path: "", stamp: `${name} ${seed}` }] };
}

export interface Fixture {
  readonly request: ImportRequest;
  readonly expected: ReadonlyMap<string, Uint8Array>;
}

const RECORDS: readonly RawRecord[] = [
  // Not in the order of the blocks.
  {
    key: "u.b2.w",
    shape: [4, 6],
    dp: 3,
    scale: [1, 2, 3, 4],
    indices: [0, 26, 13, 5, 7, 8, 9, 10],
    overlay: [[1, 2, 0.5]],
  },
  { key: "u.b0.w", shape: [2, 40], overlay: Array.from({ length: 80 }, (_, i) => [i % 2, i >> 1, i / 16] as const) },
  { key: "u.b2.b", shape: [4], tf: 0 },
  {
    key: "u.b0.b",
    shape: [2],
    overlay: [
      [0, 0, 7],
      [1, 0, -7],
    ],
  },
];

/** Three components; the second has an artifact if `artifact`. Seeds change the content of parts. */
export function fixture({ artifact = true, packed = "off" as PackedChoice, textSeed = 1, unetSeed = 2 } = {}): Fixture {
  const text = componentOf(
    "text",
    { embed: { "t.w": ["f16", [30, 70]], "t.b": ["f32", [5]] }, last: { "t.l": ["f16", [7]] } },
    textSeed,
  );
  const unet = componentOf(
    "unet",
    {
      b0: { "u.b0.w": ["f16", [2, 40]], "u.b0.b": ["f16", [2]] },
      b1: { "u.b1.w": ["f16", [3000]] },
      b2: { "u.b2.w": ["f16", [4, 6]], "u.b2.b": ["f16", [4]], "u.b2.x": ["bf16", [3, 3]] },
    },
    unetSeed,
  );
  const vae = componentOf(
    "vae",
    { v0: { "v.w": ["f32", [3, 3]], "v.same": ["f16", [2]] }, v1: { "v.x": ["f16", [1]] } },
    3,
  );
  const expected = new Map([...text.bytes, ...unet.bytes, ...vae.bytes]);
  let over: Pick<ImportComponent, "artifact"> = {};
  let { sources } = unet;
  if (artifact) {
    over = { artifact: { source: memorySource("x.lzr2", artifactBytes(...RECORDS)), compat: false } };
    sources = [...sources, { role: "artifact", path: "", stamp: "x.lzr2" }];
    const code = (scale: number, digits: string) => [...digits].map((digit) => (Number(digit) - 1) * scale);
    // Indices in base 3, by hand: 0 = 000, 26 = 222, 13 = 111, 5 = 012, 7 = 021, 8 = 022, 9 = 100, 10 = 101.
    const w = [...code(1, "000222"), ...code(2, "111012"), ...code(3, "021022"), ...code(4, "100101")];
    w[6 + 2] = 0.5;
    const rows = [0, 1].flatMap((row) => Array.from({ length: 40 }, (_, i) => (2 * i + row) / 16));
    for (const [name, values] of [
      ["u.b2.w", w],
      ["u.b0.w", rows],
      ["u.b0.b", [7, -7]],
    ] as const) {
      expected.set(name, new Uint8Array(f16Bits(values).buffer));
    }
  }
  const components = [text, { ...unet, ...over, sources }, vae].map(({ name, blocks, table, sources, artifact }) => ({
    name,
    blocks,
    table,
    sources,
    ...(artifact ? { artifact } : {}),
  }));
  return { request: { name: "fixture", components, packed }, expected };
}

/** Imports and checks every tensor by name, and every block by offset. Returns the id. */
export async function importAndCheck(store: Store, { request, expected }: Fixture): Promise<string> {
  const { id } = await importModel(store, request);
  await checkModel(store, id, expected);
  return id;
}

export async function checkModel(store: Store, id: string, expected: ReadonlyMap<string, Uint8Array>): Promise<void> {
  await using model = await openStoredModel(store, id);
  const seen = new Set<string>();
  for (const { blocks, table } of model.components.values()) {
    for (const block of blocks) {
      const plain = new Uint8Array(block.plainBytes);
      await block.readPlain(0, plain);
      for (const { name, offsetBytes } of block.tensors) {
        const wanted = expected.get(name)!;
        sameBytes(plain.subarray(offsetBytes, offsetBytes + wanted.length), wanted, name);
        assert.equal(offsetBytes % 64, 0);
      }
    }
    for (const [name, { source, startByte, endByte }] of table) {
      const bytes = new Uint8Array(endByte - startByte);
      await source.read(startByte, bytes);
      sameBytes(bytes, expected.get(name)!, name);
      seen.add(name);
    }
  }
  assert.equal(seen.size, expected.size);
}

/** Every model that the store lists is whole: right to the last byte, or not listed. Returns how many there are. */
export async function checkAllModels(store: Store, expected: ReadonlyMap<string, Uint8Array>): Promise<number> {
  const models = await listModels(store);
  for (const { id, manifest, problem } of models) {
    assert.ok(manifest, problem);
    await checkModel(store, id, expected);
  }
  return models.length;
}
