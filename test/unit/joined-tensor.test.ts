/** @file Tensors read as one: one above the other, side by side, along a diagonal; the same in whatever pieces they are read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { adaptedLayer, joinedLayer, NOTHING, type OwnedChange } from "../../src/adapters/adapted-layer.ts";
import { AdapterSet, adapterPrefixOf, adapterTensor, ComponentAdapters } from "../../src/adapters/adapter-set.ts";
import { blockDiagonal } from "../../src/adapters/block-diagonal.ts";
import { joinedTensor } from "../../src/adapters/joined-tensor.ts";
import type { LayerChange } from "../../src/adapters/layer-change.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { tensorOf, valuesOf } from "../support/adapters.ts";

/** Small whole numbers, which every dtype has. They begin somewhere in their file. */
const counted = (shape: number[], from: number, dtype: "f32" | "f16" = "f16"): TensorEntry => {
  const count = shape.reduce((a, b) => a * b, 1);
  const before = 3;
  const whole = Array.from({ length: before + count }, (_, i) => from + i - before);
  const { endByte, ...entry } = tensorOf("t", shape, whole, dtype);
  return { ...entry, startByte: (before * endByte) / (before + count), endByte };
};

/** Fails where pieces of some size are not the whole. */
async function requirePieces({ source, endByte }: TensorEntry): Promise<void> {
  const whole = new Uint8Array(endByte);
  await source.read(0, whole);
  for (const size of [1, 7, 26, 101]) {
    const pieces = new Uint8Array(endByte).fill(255);
    for (let at = 0; at < endByte; at += size) await source.read(at, pieces.subarray(at, Math.min(endByte, at + size)));
    assert.deepEqual(pieces, whole, `${size}`);
  }
}

for (const dtype of ["f16", "f32"] as const) {
  test(`f16 beside ${dtype}: rows below one another, columns beside one another`, async () => {
    const rows = joinedTensor([counted([2, 3], 0), counted([1, 3], 100, dtype), counted([3, 3], 200)], "rows");
    assert.deepEqual([rows.dtype, rows.shape], [dtype, [6, 3]]);
    const expected = [0, 1, 2, 3, 4, 5, 100, 101, 102, 200, 201, 202, 203, 204, 205, 206, 207, 208];
    assert.deepEqual([...(await valuesOf(rows))], expected);
    await requirePieces(rows);
    const columns = joinedTensor([counted([3, 2], 0), counted([3, 1], 100, dtype), counted([3, 3], 200)], "columns");
    assert.deepEqual([columns.dtype, columns.shape], [dtype, [3, 6]]);
    const beside = [0, 1, 100, 200, 201, 202, 2, 3, 101, 203, 204, 205, 4, 5, 102, 206, 207, 208];
    assert.deepEqual([...(await valuesOf(columns))], beside);
    await requirePieces(columns);
  });
}

test("blocks of a diagonal, some of them, with zeros between", async () => {
  const diagonal = blockDiagonal(counted([4, 2, 2], 1, "f32"), 1, 2);
  assert.deepEqual([...(await valuesOf(diagonal))], [5, 6, 0, 0, 7, 8, 0, 0, 0, 0, 9, 10, 0, 0, 11, 12]);
  await requirePieces(diagonal);
});

test("a rotation of many small blocks is several narrow matrices, not one as wide as the layer", async () => {
  const rotation = {
    kind: "rotation",
    onInput: false,
    factors: [{ blocks: counted([64, 10, 10], 0, "f32"), stride: 1 }],
  } as const;
  const tensors = new Map<string, TensorEntry>();
  const { rotations } = adaptedLayer("layer", [{ adapter: 0, change: rotation }], undefined, tensors);
  // 8 blocks of 10 are at most 128 wide, and divide 64.
  const { parts } = rotations[0]!.factors[0]!;
  assert.equal(parts.length, 8);
  for (const [i, part] of parts.entries()) {
    const values = await valuesOf(tensors.get(part)!);
    assert.deepEqual([values[0], values.at(-1)], [800 * i, 800 * i + 799], part);
  }
});

const low = { kind: "low-rank", scale: 0.5, down: counted([2, 3], 0), up: counted([4, 2], 0) } as const;
/** One of each kind. */
const CHANGES: readonly LayerChange[] = [
  low,
  { kind: "input-low-rank", scale: 0.25, down: counted([2, 3], 0), up: counted([3, 2], 0) },
  { kind: "difference", weight: counted([4, 3], 0) },
  { kind: "bias", bias: counted([4], 0) },
  { kind: "scale", values: counted([3], 0), onInput: true },
  { kind: "scale", values: counted([4], 0), onInput: false },
  { kind: "rotation", factors: [{ blocks: counted([2, 2, 2], 0), stride: 1 }], onInput: false },
  { kind: "magnitude", change: low, magnitude: counted([4], 0), onInput: false },
];
const WEIGHT = counted([4, 3], 0);

test("each change is at the strength of the adapter that brings it, and only a direction at none's", () => {
  const owned = [5, 2].flatMap((adapter) => CHANGES.map((change): OwnedChange => ({ adapter, change })));
  const layer = adaptedLayer("layer", owned, WEIGHT, new Map());
  const factors = (scale: number) => [5, 2].map((adapter) => ({ adapter, scale, count: 2 }));
  assert.deepEqual(layer.lowRank[0]!.strengths, factors(0.5));
  assert.deepEqual(layer.inputs[0]!.strengths, factors(0.25));
  for (const kind of ["differences", "biases", "inputScales", "outputScales", "rotations", "weighed"] as const) {
    const adapters = layer[kind].map(({ adapter }) => adapter);
    assert.deepEqual(adapters, [5, 2], kind);
  }
  const directions = layer.weighed.map(({ change }) => typeof change === "object" && change.strengths);
  assert.deepEqual(directions, Array(2).fill([{ adapter: -1, scale: 0.5, count: 2 }]));
});

test("two sets of changes of one layer: all of both, the first's before the second's", () => {
  const all = (name: string) =>
    adaptedLayer(
      name,
      CHANGES.map((change) => ({ adapter: 0, change })),
      WEIGHT,
      new Map(),
    );
  const [a, b] = [all("a"), all("b")];
  const joined = joinedLayer(a, b);
  for (const kind of Object.keys(NOTHING) as (keyof typeof NOTHING)[]) {
    assert.ok(a[kind].length > 0, kind);
    assert.deepEqual(joined[kind], [...a[kind], ...b[kind]], kind);
  }
});

test("a tensor's name says whose it is: the adapters', the layer, and what of it; a model's own has none", () => {
  const name = "up_blocks.0.attn1.to_out.0";
  const { table, layers } = new ComponentAdapters(
    "lora-1-unet",
    [new Map([[name, CHANGES]])],
    new Map([[`${name}.weight`, WEIGHT]]),
  );
  assert.deepEqual([...layers.keys()], [name]);
  const roles = [...table.keys()].map((key) => {
    assert.equal(adapterPrefixOf(key), "lora-1-unet");
    const found = adapterTensor(key);
    assert.equal(found?.layer, name, key);
    return found.role;
  });
  assert.deepEqual(
    roles.toSorted(),
    [
      ...["bias3", "diff2", "dora7.down", "dora7.gain", "dora7.up", "input.down", "input.up", "lora.down", "lora.up"],
      ...["scale4", "scale5", "turn6.0.0"],
    ].toSorted(),
  );
  for (const own of [`${name}.weight`, "lora.down"]) {
    assert.deepEqual([adapterPrefixOf(own), adapterTensor(own)], [undefined, undefined]);
  }
});

test("the same adapters in another order have tensors of other names: factors are joined in their order", () => {
  const setOf = (...ids: string[]) =>
    new AdapterSet(
      ids.map((id) => ({ id, layers: new Map([["unet", new Map([["layer", [low]]])]]) })),
      () => new Map(),
    );
  const prefixOf = (set: AdapterSet) => set.components.get("unet")!.prefix;
  assert.equal(prefixOf(setOf("a", "b")), prefixOf(setOf("a", "b")));
  for (const other of [setOf("b", "a"), setOf("a"), setOf("a", "b", "b"), setOf("a,b")]) {
    assert.notEqual(prefixOf(other), prefixOf(setOf("a", "b")));
    assert.notEqual(JSON.stringify(other), JSON.stringify(setOf("a", "b")));
  }
});

test("memory of a reading: that of what lies below, and the pieces read at once", () => {
  const below = (tensor: TensorEntry, readingBytes: number) => ({
    ...tensor,
    source: { ...tensor.source, readingBytes },
  });
  const blocks = below(counted([4, 2, 2], 1, "f32"), 1000);
  assert.equal(blockDiagonal(blocks, 1, 2).source.readingBytes, 1000 + 2 * 2 * 4);
  const parts = [below(counted([2, 3], 0), 5000), below(counted([1, 3], 0), 7000)];
  // 65536 elements as they are stored, and in fp32.
  for (const order of [parts, parts.toReversed()]) {
    assert.equal(joinedTensor(order, "rows").source.readingBytes, 7000 + 65536 * (2 + 4));
  }
});
