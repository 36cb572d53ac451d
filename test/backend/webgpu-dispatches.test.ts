/** @file What becomes of ops on a card before any of it meets one, by numbers: runs of workgroups, scratch memory, parts of tables, matrices of an adapter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AdapterFacts } from "../../src/backend/webgpu/adapter/adapter.ts";
import { candidatePaths } from "../../src/backend/webgpu/adapter/candidates.ts";
import { unaryKernel } from "../../src/backend/webgpu/kernels/elementwise.ts";
import {
  chooseMatrixTile,
  MATRIX_TILES,
  type MatrixShape,
  matrixFits,
  matrixSharedBytes,
} from "../../src/backend/webgpu/kernels/gemm-matrix-tiles.ts";
import { DispatchBuilder } from "../../src/backend/webgpu/lower/dispatches.ts";
import { lowerSegment } from "../../src/backend/webgpu/lower/lowering.ts";
import { BASELINE, type KernelPaths } from "../../src/backend/webgpu/lower/paths.ts";
import { WebGpuSizes } from "../../src/backend/webgpu/lower/sizes.ts";
import { GraphBuilder, type Tensor } from "../../src/ir/builder.ts";

const MiB = 2 ** 20;
const LIMITS = { bindingBytes: 2 ** 27, workgroupBytes: 16384 };

function graphOf(build: (g: GraphBuilder) => Tensor, fp32 = false) {
  const g = new GraphBuilder("graph", { fp32 });
  g.segment("s", () => g.output("y", build(g)));
  return g.build();
}

function lowered(graph: ReturnType<typeof graphOf>, paths: KernelPaths = BASELINE, bindingBytes = LIMITS.bindingBytes) {
  const segment = graph.segments[0]!;
  const stored = segment.weights.map((id) => ({ dtype: "f16" as const, shape: graph.values[id]!.shape }));
  return lowerSegment(graph, segment, stored, { limits: { ...LIMITS, bindingBytes }, paths });
}

test("no run has more workgroups than WebGPU allows in a dispatch, nor more work than a submit of 4 GFLOP", () => {
  const runsOf = (workgroups: number, costPerWorkgroup: number) => {
    const builder = new DispatchBuilder(2 ** 40);
    const storage = (kind: "input" | "output") => builder.storage({ kind, index: 0, bytes: 4096 });
    builder.add({
      label: "many",
      operands: [
        { name: "x", storage: storage("input") },
        { name: "out", storage: storage("output") },
      ],
      kernel: () => unaryKernel("silu"),
      workgroups,
      params: { quads: 1 },
      costPerWorkgroup,
    });
    const { runs } = builder.build().dispatches[0]!.parts[0]!;
    return runs.map(({ first, workgroups: count, cost, recordOffset }) => [first, count, cost, recordOffset]);
  };
  assert.deepEqual(runsOf(200_000, 1), [
    [0, 65_535, 65_535, 0],
    [65_535, 65_535, 65_535, 256],
    [131_070, 65_535, 65_535, 512],
    [196_605, 3395, 3395, 768],
  ]);
  assert.deepEqual(runsOf(65_535, 1), [[0, 65_535, 65_535, 0]]);
  assert.deepEqual(runsOf(5, 2e9), [
    [0, 2, 4e9, 0],
    [2, 2, 4e9, 256],
    [4, 1, 2e9, 512],
  ]);
  // One workgroup always goes.
  assert.deepEqual(runsOf(2, 1e10).length, 2);
});

test("what uploads and the driver take beside arenas: three slots and where they land, records, 192 MiB; two pieces in RAM", () => {
  const sizes = new WebGpuSizes();
  const records = 32 * 256;
  assert.equal(sizes.overheadBytes, 4 * 16 * MiB + records + 192 * MiB);
  assert.equal(sizes.hostBytes, 2 * (16 * MiB - records));
});

test("scratch added up by hand: statistics of runs of pixels for each image, rows of scores with their stride, what is transposed", () => {
  const scratchOf = (build: (g: GraphBuilder) => Tensor) => lowered(graphOf(build)).scratchBytes;
  const padded = (bytes: number) => 256 * Math.ceil(bytes / 256);
  const norm = (shape: readonly number[]) =>
    scratchOf((g) => {
      const [w, b] = [g.weight("w", [shape[1]!]), g.weight("b", [shape[1]!])];
      return g.node("groupNorm", [g.input("x", shape), w, b], { groups: 2, eps: 1e-5 });
    });
  // Runs of 32 pixels, and of 128 from 4096 on: a mean and a deviation of each channel; then of each group.
  assert.equal(norm([3, 8, 16, 17]), padded(3 * Math.ceil((16 * 17) / 32) * 8 * 8) + padded(3 * 2 * 8));
  assert.equal(norm([1, 20, 64, 65]), padded(Math.ceil((64 * 65) / 128) * 20 * 8) + padded(2 * 8));
  // Tokens are transposed, and so is what becomes of them; the runs' statistics are gone by then.
  const image = padded(4 * 3 * 8 * 300);
  assert.equal(norm([3, 8, 300]), 2 * image + padded(3 * 2 * 8));
  const attention = (queries: number, keys: number, width: number) =>
    scratchOf((g) => {
      const [q, k, v] = [
        g.input("q", [2, queries, width]),
        g.input("k", [2, keys, width]),
        g.input("v", [2, keys, width]),
      ];
      return g.node("attention", [q, k, v], { heads: 1, causal: false });
    });
  assert.equal(attention(40, 65, 128), 0);
  // Rows of 65 scores begin at multiples of four; v is transposed with as long rows.
  assert.equal(attention(40, 65, 150), padded(4 * 40 * 68) + padded(4 * 150 * 68));
  // At most 64 MiB of scores at once, 128 queries at least.
  assert.equal(attention(5000, 4000, 150), padded(4 * 4096 * 4000) + padded(4 * 150 * 4000));
});

test("a table that is larger than a binding is looked up in parts that fit with what alignment adds, each row in one of them", () => {
  const graph = graphOf((g) => g.node("embedding", [g.weight("table", [1000, 33]), g.input("ids", [5], "i32")], {}));
  // A row is 66 bytes: 248 of them fit in 16 KiB, of which eight are left for what is aligned at both ends.
  const list = lowered(graph, BASELINE, 16384);
  const bounds = list.dispatches.map(({ kernel, parts }) => {
    const word = (name: string) => 1 + kernel.slots.length + Object.keys(kernel.params).indexOf(name);
    const view = new DataView(list.records.buffer, parts[0]!.runs[0]!.recordOffset);
    return ["firstRow", "endRow"].map((name) => view.getInt32(4 * word(name), true));
  });
  assert.deepEqual(bounds, [
    [0, 240],
    [240, 480],
    [480, 720],
    [720, 960],
    [960, 1000],
  ]);
  for (const { parts } of list.dispatches)
    for (const { windows } of parts) for (const [from, to] of windows) assert.ok(to - from <= 16384);
});

test("what is cut for small bindings: each part is bound to all that its workgroups read and write", () => {
  // 1024 values a workgroup, or quads of them where channels are whole quads; pixels of 6, 70 and 72 values are cut across.
  for (const [channels, height, perWorkgroup] of [
    [6, 91, 4 * 1024],
    [70, 21, 4 * 1024],
    [72, 21, 16 * 1024],
  ] as const) {
    const list = lowered(
      graphOf((g) => {
        const [w, b] = [g.weight("w", [channels]), g.weight("b", [channels])];
        return g.node("groupNorm", [g.input("x", [2, channels, height, 23]), w, b], { groups: 2, eps: 1e-5 });
      }),
      BASELINE,
      48 << 10,
    );
    const norm = list.dispatches.find(({ kernel }) => kernel.key.startsWith("normalize/"))!;
    assert.ok(norm.parts.length > 1);
    for (const { windows, runs } of norm.parts) {
      const first = runs[0]!.first * perWorkgroup;
      const last = (runs.at(-1)!.first + runs.at(-1)!.workgroups) * perWorkgroup;
      for (const [slot, storage] of norm.slots.entries()) {
        if (!["input", "output"].includes(list.storages[storage]!.kind)) continue;
        const [from, to] = windows[slot]!;
        const end = Math.min(last, 4 * 2 * channels * height * 23);
        assert.ok(from <= first && to >= end, `${channels}: ${first} to ${end} in ${from} to ${to}`);
      }
    }
  }
});

const MATRIX: MatrixShape = { m: 16, n: 16, k: 16, lanes: 32, tiles: ["64x64", "128x128"] };

test("an fp32 graph takes no kernel of less, whatever the device has; others take matrices before fp16", () => {
  const linear = (fp32: boolean) =>
    graphOf((g) => g.node("linear", [g.input("x", [40, 32]), g.weight("w", [24, 32])], {}), fp32);
  const keyOf = (fp32: boolean, paths: Partial<KernelPaths>) =>
    lowered(linear(fp32), { ...BASELINE, ...paths })
      .dispatches.map(({ kernel }) => kernel.key.split("/")[0])
      .join();
  assert.equal(keyOf(false, {}), "gemm");
  assert.equal(keyOf(false, { products: "f16" }), "gemm-f16");
  assert.equal(keyOf(false, { products: "f16", matrix: MATRIX }), "matrix16x16x16-32");
  for (const paths of [{ products: "f16" }, { matrix: MATRIX }] as const) assert.equal(keyOf(true, paths), "gemm");
});

test("weights that are stored otherwise have kernels of their own, of whichever weight that is", () => {
  const graph = graphOf((g) =>
    g.node("linear", [g.input("x", [4, 16]), g.weight("w", [8, 16]), g.weight("b", [8])], {}),
  );
  const sizes = new WebGpuSizes({ limits: LIMITS });
  const keyOf = (w: "f16" | "bf16" | "f32", b: "f16" | "bf16" | "f32") => {
    const stored = [
      { dtype: w, shape: [8, 16] },
      { dtype: b, shape: [8] },
    ];
    return sizes.list(graph, graph.segments[0]!, stored).list.dispatches[0]!.kernel.key;
  };
  const types = ["f16", "bf16", "f32"] as const;
  assert.equal(new Set(types.flatMap((w) => types.map((b) => keyOf(w, b)))).size, 9);
});

test("products by matrices cover all rows and columns, two halves of a gate side by side in a tile's width", () => {
  const workgroupsOf = (rows: number, columns: number, geglu: boolean, tiles: MatrixShape["tiles"]) => {
    const graph = graphOf((g) => {
      const y = g.node("linear", [g.input("x", [rows, 32]), g.weight("w", [columns, 32])], {});
      return geglu ? g.node("geglu", [y], {}) : y;
    });
    const { dispatches } = lowered(graph, { ...BASELINE, matrix: { ...MATRIX, tiles } });
    assert.equal(dispatches.length, 1);
    const [, variant] = dispatches[0]!.kernel.key.split("/");
    const workgroups = dispatches[0]!.parts.flatMap(({ runs }) => runs).reduce((sum, run) => sum + run.workgroups, 0);
    return [variant!.split("-")[1], workgroups];
  };
  assert.deepEqual(workgroupsOf(65, 130, false, MATRIX.tiles), ["64x64", 2 * 3]);
  assert.deepEqual(workgroupsOf(65, 130, true, MATRIX.tiles), ["64x64", 2 * 3]);
  assert.deepEqual(workgroupsOf(1025, 1024, false, MATRIX.tiles), ["128x128", 9 * 8]);
  // Sixty of the larger are wanted, and room for one.
  assert.deepEqual(workgroupsOf(960, 1000, false, MATRIX.tiles), ["128x128", 8 * 8]);
  assert.deepEqual(workgroupsOf(896, 1024, false, MATRIX.tiles), ["64x64", 14 * 16]);
  assert.deepEqual(workgroupsOf(1025, 1024, false, ["64x64"]), ["64x64", 17 * 16]);
  const shape = { rows: 1025, columns: 1024, depth: 32, geglu: false };
  assert.equal(chooseMatrixTile(shape, MATRIX), "128x128");
});

test("matrices fit where spans of 32 results, and half of them for a gate, are whole numbers of them", () => {
  for (const [m, n, k] of [
    [16, 16, 16],
    [16, 8, 8],
    [8, 8, 32],
    [32, 16, 4],
  ] as const) {
    assert.ok(matrixFits({ m, n, k }), `${m} ${n} ${k}`);
  }
  for (const [m, n, k] of [
    [64, 16, 16],
    [12, 16, 16],
    [16, 32, 16],
    [16, 2, 16],
    [16, 16, 64],
    [16, 16, 12],
  ] as const) {
    assert.ok(!matrixFits({ m, n, k }), `${m} ${n} ${k}`);
  }
  // Both operands of 32 K padded by 8, in fp16; a matrix of sums in fp32 for each subgroup.
  assert.equal(matrixSharedBytes("64x64", MATRIX), 2 * 64 * 40 * 2 + 4 * 16 * 16 * 4);
  assert.equal(matrixSharedBytes("128x128", { ...MATRIX, n: 8 }), 2 * 128 * 40 * 2 + 8 * 16 * 8 * 4);
  assert.deepEqual(Object.keys(MATRIX_TILES), ["128x128", "64x64"]);
});

test("what is tried on an adapter: reductions must give the same bits, halves may differ; one lane is no subgroup", () => {
  const limits = { maxComputeWorkgroupStorageSize: 49152 };
  const matrices = [{ component: "f16", result: "f32", m: 16, n: 16, k: 16 }];
  const facts = (min: number, max = min) =>
    ({ features: ["shader-f16", "subgroups"], subgroups: { min, max }, limits, matrices }) as unknown as AdapterFacts;
  assert.deepEqual(
    candidatePaths(facts(32), "fp16").candidates.map(({ name, exact, problem }) => [name, exact, problem]),
    [
      ["subgroups", true, "reductions"],
      ["subgroup matrices", false, "products"],
      ["fp16 products", false, "products"],
      ["fp16 attention", false, "attention"],
    ],
  );
  assert.deepEqual(candidatePaths(facts(1), "fp32").candidates, []);
  const [two] = candidatePaths(facts(2, 64), "fp32").candidates;
  assert.deepEqual(two!.paths, { lanes: 2 });
  // Subgroups of more lanes than a tile has threads for are no place for matrices.
  assert.ok(candidatePaths(facts(64), "fp16").candidates.every(({ paths }) => paths.matrix === undefined));
  assert.deepEqual(candidatePaths(facts(64), "fp16").candidates[0]!.paths, { lanes: 32 });
});
