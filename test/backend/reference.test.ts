/** @file Every op of the reference backend against PyTorch in fp64 (fixtures/ops), and the backend's own manners. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { WeightData } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { erf } from "../../src/backend/reference/pointwise.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { INFER_SHAPE, type OpAttrs, type OpName } from "../../src/ir/ops.ts";
import { numberToF16 } from "../../src/tensor/dtype.ts";

interface Packed {
  readonly shape: number[];
  readonly data: number[];
}
interface Case {
  readonly name: string;
  readonly op: OpName;
  readonly attrs: OpAttrs[OpName];
  readonly inputs: (Packed & { readonly dtype: "f32" | "i32" })[];
  readonly output: Packed;
}
const fixture = JSON.parse(readFileSync(new URL("../../fixtures/ops/ops.json", import.meta.url), "utf8")) as {
  erf: { x: number; erf: number }[];
  cases: Case[];
};

/** Runs one op as a segment of its own; all inputs are fed by the caller. */
async function runOp({ op, attrs, inputs, output }: Case): Promise<Float32Array> {
  const builder = new GraphBuilder(op);
  const fed = inputs.map((input, i) => builder.input(`input ${i}`, input.shape, input.dtype));
  const result = builder.segment("one op", () => builder.node(op, fed, attrs));
  assert.deepEqual(result.shape, output.shape);
  builder.output("result", result);
  const graph = builder.build();
  const out = new Float32Array(output.data.length);
  await createReferenceBackend().run({
    graph,
    segment: graph.segments[0]!,
    inputs: new Map(
      inputs.map(({ dtype, data }, i) => [
        fed[i]!.id,
        dtype === "i32" ? Int32Array.from(data) : Float32Array.from(data),
      ]),
    ),
    weights: new Map(),
    outputs: new Map([[result.id, out]]),
  });
  return out;
}

for (const item of fixture.cases) {
  test(`${item.op}: ${item.name}`, async () => {
    const found = await runOp(item);
    const largest = item.output.data.reduce((max, value) => Math.max(max, Math.abs(value)), 1);
    item.output.data.forEach((expected, i) => {
      const error = Math.abs(found[i]! - expected);
      assert.ok(error <= 1e-6 * largest, `element ${i}: found ${found[i]}, expected ${expected}`);
    });
  });
}

test("the fixture has a case for every op", () => {
  const covered = new Set(fixture.cases.map((item) => item.op));
  assert.deepEqual(
    Object.keys(INFER_SHAPE).filter((op) => !covered.has(op as OpName)),
    [],
  );
});

test("erf equals the C library's to 1e-14", () => {
  for (const { x, erf: expected } of fixture.erf) assert.ok(Math.abs(erf(x) - expected) < 1e-14, `erf(${x})`);
});

/** y = x + w (weight), z = 2y; both are results. */
function tinyGraph() {
  const builder = new GraphBuilder("tiny");
  const x = builder.input("x", [2]);
  const w = builder.weight("w", [2]);
  const { y, z } = builder.segment("s", () => {
    const sum = builder.node("add", [x, w], {});
    return { y: sum, z: builder.node("scale", [sum], { factor: 2 }) };
  });
  builder.output("y", y);
  builder.output("z", z);
  return { graph: builder.build(), ids: { x: x.id, w: w.id, y: y.id, z: z.id } };
}

test("fp16 weights, several outputs, and release", async () => {
  const backend = createReferenceBackend();
  const { graph, ids } = tinyGraph();
  const halves = Uint16Array.from([0.5, -3].map(numberToF16));
  const weight: WeightData = { dtype: "f16", bytes: new Uint8Array(halves.buffer) };
  for (let round = 0; round < 2; round++) {
    const y = new Float32Array(2);
    const z = new Float32Array(2);
    await backend.run({
      graph,
      segment: graph.segments[0]!,
      inputs: new Map([[ids.x, Float32Array.of(1, 10)]]),
      weights: new Map([[ids.w, weight]]),
      outputs: new Map([
        [ids.y, y],
        [ids.z, z],
      ]),
    });
    assert.deepEqual([...y, ...z], [1.5, 7, 3, 14]);
    await backend.release();
  }
});

test("an aborted signal stops the run with its reason", async () => {
  const { graph, ids } = tinyGraph();
  const weight: WeightData = { dtype: "f32", bytes: new Uint8Array(8) };
  const run = createReferenceBackend().run(
    {
      graph,
      segment: graph.segments[0]!,
      inputs: new Map([[ids.x, new Float32Array(2)]]),
      weights: new Map([[ids.w, weight]]),
      outputs: new Map(),
    },
    AbortSignal.abort(new Error("enough")),
  );
  await assert.rejects(run, /enough/);
});

test("an embedding id outside of the table is refused", async () => {
  const item = fixture.cases.find((candidate) => candidate.op === "embedding")!;
  const ids = { ...item.inputs[1]!, data: [0, 1, 5, 0] };
  await assert.rejects(runOp({ ...item, inputs: [item.inputs[0]!, ids] }), /id 5 in a table of 5 rows/);
});
