/** @file Attention of long heads on the `webgpu` device: by blocks of queries, each with its own first row. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { chooseTile } from "../../src/backend/webgpu/kernels/gemm-tiles.ts";
import { softmaxKernel } from "../../src/backend/webgpu/kernels/softmax.ts";
import { addAttention } from "../../src/backend/webgpu/lower/attention.ts";
import { type Dispatch, DispatchBuilder, type DispatchList } from "../../src/backend/webgpu/lower/dispatches.ts";
import { BASELINE } from "../../src/backend/webgpu/lower/paths.ts";
import { openDawn } from "../../src/node/gpu/dawn.ts";
import { CANARY, LooseRunner } from "./loose-run.ts";
import { findTestAdapter } from "./software-vulkan.ts";

/** A parameter of a dispatch's first run, as the kernel reads it. */
function param({ records }: DispatchList, { kernel, parts }: Dispatch, name: string): number {
  const word = 1 + kernel.slots.length + Object.keys(kernel.params).indexOf(name);
  const view = new DataView(records.buffer, parts[0]!.runs[0]!.recordOffset + 4 * word);
  return kernel.params[name] === "f32" ? view.getFloat32(0, true) : view.getUint32(0, true);
}

test("blocks of queries cover each row once: softmax, scores and results all begin where their block does", () => {
  const [batch, heads, depth, queries, keys] = [2, 3, 144, 600, 65_534] as const;
  const channels = heads * depth;
  // 64 MiB of fp32 scores hold 256 rows of 65,536.
  const [stride, block] = [65_536, 256];
  const builder = new DispatchBuilder(2 ** 40);
  const storage = (kind: "input" | "output", index: number, rows: number) =>
    builder.storage({ kind, index, bytes: batch * rows * channels * 4 });
  const places = {
    q: storage("input", 0, queries),
    k: storage("input", 1, keys),
    v: storage("input", 2, keys),
    out: storage("output", 0, queries),
  };
  const shape = { batch, queries, keys, channels, heads, causal: true };
  addAttention(builder, "long", places, shape, { workgroupBytes: 16384, chooseTile, paths: BASELINE });
  const list = builder.build();
  const named = (name: string) => list.dispatches.filter(({ kernel }) => kernel.key.startsWith(`${name}/`));
  const valuesOf = (dispatches: readonly Dispatch[], ...names: readonly string[]) =>
    dispatches.map((dispatch) => names.map((name) => param(list, dispatch, name)));

  const firsts = [0, block, 2 * block];
  const rowsOf = (first: number) => Math.min(block, queries - first);
  const all = [0, 1].flatMap((image) => [0, 1, 2].flatMap((head) => firsts.map((first) => ({ image, head, first }))));
  const startQ = ({ image, head, first }: (typeof all)[number]) => (image * queries + first) * channels + head * depth;
  const startK = ({ image, head }: (typeof all)[number]) => image * keys * channels + head * depth;

  const softmax = named("softmax");
  const workgroups = softmax.map(({ parts }) =>
    parts.flatMap(({ runs }) => runs).reduce((n, run) => n + run.workgroups, 0),
  );
  assert.deepEqual(
    workgroups,
    all.map(({ first }) => rowsOf(first)),
  );
  assert.deepEqual(
    valuesOf(softmax, "firstRow", "causal", "columns", "stride"),
    all.map(({ first }) => [first, 1, keys, stride]),
  );
  const products = named("gemm");
  assert.equal(products.length, 2 * all.length);
  const factor = Math.fround(1 / 12);
  assert.deepEqual(
    valuesOf(products, "m", "n", "k", "aStart", "bStart", "cStart", "lda", "ldb", "ldc", "factor"),
    all.flatMap((at) => [
      [rowsOf(at.first), keys, depth, startQ(at), startK(at), 0, channels, channels, stride, factor],
      [rowsOf(at.first), depth, keys, 0, 0, startQ(at), stride, stride, channels, 1],
    ]),
  );
});

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: adapter.skip };
const opened = adapter.skip === undefined ? await openDawn(adapter.name) : undefined;
after(() => opened?.device.destroy());

test(
  "causal softmax from a row on: each row sees the keys up to its own, and nothing beside them changes",
  options,
  async () => {
    const [rows, columns, stride, firstRow] = [5, 300, 304, 257] as const;
    const builder = new DispatchBuilder(2 ** 20);
    const scores = builder.storage({ kind: "scratch", bytes: rows * stride * 4 });
    builder.add({
      label: "softmax",
      operands: [{ name: "x", storage: scores }],
      kernel: () => softmaxKernel(),
      workgroups: rows,
      params: { columns, stride, causal: 1, firstRow },
      costPerWorkgroup: 1,
    });
    const before = new Uint32Array(rows * stride).fill(CANARY);
    const x = new Float32Array(before.buffer);
    const score = (row: number, column: number) => ((row * 7 + column * 13) % 29) / 4;
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) x[row * stride + column] = score(row, column);
    const [found] = await new LooseRunner(opened!).compute(builder.build(), [{ before }]);
    const values = new Float32Array(found!.buffer);
    for (let row = 0; row < rows; row++) {
      const visible = firstRow + row + 1;
      const sum = Array.from({ length: visible }, (_, column) => Math.exp(score(row, column))).reduce((a, b) => a + b);
      for (let column = 0; column < stride; column++) {
        const at = row * stride + column;
        if (column >= columns) assert.equal(found![at], CANARY, `row ${row}, behind its end`);
        else if (column >= visible) assert.equal(values[at], 0, `row ${row} sees key ${column}`);
        else {
          const expected = Math.exp(score(row, column)) / sum;
          assert.ok(
            Math.abs(values[at]! - expected) < 1e-6,
            `row ${row}, key ${column}: ${values[at]}, expected ${expected}`,
          );
        }
      }
    }
  },
);
