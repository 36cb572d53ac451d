/** @file What reading adapters' tensors takes of host memory is in the plan, and a reading that failed is made again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AdapterSet } from "../../src/adapters/adapter-set.ts";
import { gainTensor } from "../../src/adapters/gain.ts";
import type { LowRankChange, MagnitudeChange } from "../../src/adapters/layer-change.ts";
import { madeTensor } from "../../src/adapters/made/made-tensor.ts";
import { WORKSPACE_BYTES } from "../../src/adapters/made/product-kernel.ts";
import {
  elementwise,
  kronecker,
  pairedRows,
  product,
  type Rows,
  rowProducts,
  storedRows,
  tucker,
} from "../../src/adapters/made/rows.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { drawer, tensorOf, valuesOf } from "../support/adapters.ts";

const [OUT, IN, RANK] = [48, 32, 8];
const draw = drawer(3);
const drawn = (name: string, ...shape: number[]) => tensorOf(name, shape, draw(shape, 1), "f16");
const change: LowRankChange = {
  ...{ kind: "low-rank", scale: 1 },
  ...{ down: drawn("down", RANK, IN), up: drawn("up", OUT, RANK) },
};
const magnitude: MagnitudeChange = { kind: "magnitude", change, magnitude: drawn("magnitude", OUT), onInput: false };
const weight = drawn("layer.weight", OUT, IN);
/** As if reading took memory of its own. */
const reading = (tensor: TensorEntry, readingBytes: number) => ({
  ...tensor,
  source: { ...tensor.source, readingBytes },
});
const gainOf = (of: TensorEntry) => gainTensor(magnitude.magnitude, of, change, false);

test("a gain whose first reading failed is made by the next one", async () => {
  let fails = true;
  const source: TensorEntry["source"] = {
    ...weight.source,
    async read(at, into) {
      if (fails) throw new Error("unplugged");
      await weight.source.read(at, into);
    },
  };
  const gain = gainOf({ ...weight, source });
  await assert.rejects(valuesOf(gain), /unplugged/);
  fails = false;
  assert.deepEqual(await valuesOf(gain), await valuesOf(gainOf(weight)));
});

test("where the changed weight is nothing, so is the gain: by outputs, and by inputs", async () => {
  const halves = (name: string, shape: number[], values: number[]) => tensorOf(name, shape, values, "f32");
  const own = halves("layer.weight", [2, 3], [3, 4, 0, 1, 2, 0]);
  // Taken away from the weight: its second row and its third column are zero then.
  const less = { kind: "difference", weight: halves("diff", [2, 3], [0, 0, 0, -1, -2, 0]) } as const;
  const byRow = gainTensor(halves("m", [2], [10, 7]), own, less, false);
  assert.deepEqual([...(await valuesOf(byRow))], [2, 0]);
  const byColumn = gainTensor(halves("m", [3], [6, 2, 9]), own, less, true);
  assert.deepEqual([...(await valuesOf(byColumn))], [2, 0.5, 0]);
});

test("a weight of several strips: each row with its own part of the change", async () => {
  // A strip has 1 MiB: 1024 of these rows, of which each is 1 to 7 everywhere, and so 16 to 112 long.
  const [rows, width] = [1100, 256];
  const own = Array.from({ length: rows }, (_, row) => (row % 7) + 1);
  const f32 = (name: string, shape: number[], values: number[]) => tensorOf(name, shape, values);
  const zeros = f32("w", [rows, width], new Array(rows * width).fill(0));
  const weight = f32(
    "diff",
    [rows, width],
    own.flatMap((value) => new Array<number>(width).fill(value)),
  );
  const lengths = f32(
    "m",
    [rows],
    own.map((value) => 16 * value),
  );
  const ones = f32("down", [1, width], new Array(width).fill(1));
  const factors = { kind: "low-rank", down: ones, up: f32("up", [rows, 1], own), scale: 0.5 } as const;
  const gains = [
    gainTensor(lengths, zeros, { kind: "difference", weight }, false),
    gainTensor(lengths, zeros, factors, false),
  ];
  assert.deepEqual(new Set(await valuesOf(gains[0]!)), new Set([1]));
  assert.deepEqual(new Set(await valuesOf(gains[1]!)), new Set([2]));
});

test("factors in fp32 and what is kept of a gain are counted: by the tensor, and eight readings of them by the set", () => {
  const gain = gainOf(weight);
  const factorBytes = 4 * RANK * (IN + OUT);
  assert.ok(gain.source.readingBytes! >= 3 * factorBytes + 4 * 2 ** 20);
  const layers = new Map([["unet", new Map(["layer", "other"].map((name) => [name, [magnitude]]))]]);
  const set = new AdapterSet(
    [{ id: "a", layers }],
    () => new Map(["layer", "other"].map((name) => [`${name}.weight`, weight])),
  );
  const made = Math.max(
    ...[...set.components.get("unet")!.table.values()].map(({ source }) => source.readingBytes ?? 0),
  );
  assert.equal(set.hostBytes, 8 * made + 2 * 4 * OUT + WORKSPACE_BYTES);
  const plain = new AdapterSet(
    [{ id: "b", layers: new Map([["unet", new Map([["layer", [change]]])]]) }],
    () => new Map(),
  );
  assert.equal(plain.hostBytes, 0);
});

test("a convolution's gain counts factors with all taps, and the most that lies below", () => {
  const wide = drawn("layer.weight", OUT, IN, 3, 3);
  const factors = { ...change, down: drawn("down", RANK, IN, 3, 3), up: drawn("up", OUT, RANK, 1, 1) };
  const bytesOf = (m: TensorEntry, of: LowRankChange) => gainTensor(m, wide, of, false).source.readingBytes!;
  const alone = bytesOf(magnitude.magnitude, factors);
  assert.ok(alone >= 3 * 4 * RANK * (9 * IN + OUT) + 4 * 2 ** 20);
  assert.equal(bytesOf(reading(magnitude.magnitude, 300), { ...factors, up: reading(factors.up, 900) }), alone + 900);
  assert.equal(
    bytesOf(reading(magnitude.magnitude, 700), { ...factors, down: reading(factors.down, 500) }),
    alone + 700,
  );
  const difference = { kind: "difference", weight: reading(wide, 400) } as const;
  const of = (weight: TensorEntry) => gainTensor(magnitude.magnitude, weight, difference, true).source.readingBytes!;
  assert.equal(of(reading(wide, 600)) - of(wide), 200);
});

test("what is held while rows are made: factors, rows of them as long as a strip, and the right side packed in fours", () => {
  const rows = (...shape: number[]) => storedRows(drawn("rows", ...shape));
  const cases: readonly (readonly [string, Rows, stripRows: number, bytes: number])[] = [
    ["stored", rows(6, 5), 3, 0],
    ["stored, of a source that takes some", storedRows(reading(drawn("rows", 6, 5), 700)), 3, 700],
    // 3 rows of 2; one of 5; [2, 5] as two panels of 4.
    ["product", product(rows(6, 2), rows(2, 5)), 3, 4 * (3 * 2 + 5 + 2 * 4 * 2)],
    ["products of rows", rowProducts(rows(6, 2), rows(6, 3)), 3, 4 * 3 * (2 + 3)],
    ["pairs of rows", pairedRows(rows(2, 5), rows(3, 5)), 3, 4 * 5],
    ["value by value", elementwise(rows(6, 5), rows(6, 5), 2), 3, 4 * 3 * 5],
    // A row of the first; of the second as many as a strip has, or all of its 4.
    ["Kronecker's", kronecker(rows(2, 3), rows(4, 5), 1), 3, 4 * (3 + 3 * 5)],
    ["Kronecker's of a long strip", kronecker(rows(2, 3), rows(4, 5), 1), 7, 4 * (3 + 4 * 5)],
    // All three, and a row mixed: 3 of 9 places.
    ["Tucker's", tucker(drawn("g", 2, 3, 3, 3), drawn("a", 2, 6), drawn("b", 3, 5)), 3, 4 * (54 + 12 + 15 + 27)],
  ];
  for (const [name, made, strip, bytes] of cases) assert.equal(made.memoryBytes(strip), bytes, name);
  // A whole strip of all 8 rows is made at once here.
  const whole = madeTensor("made", [8, 15], kronecker(rows(2, 3), rows(4, 5), 1), weight.source);
  assert.equal(whole.source.readingBytes, 4 * 8 * 15 + 4 * (3 + 4 * 5));
});
