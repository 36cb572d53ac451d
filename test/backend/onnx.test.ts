/** @file The `cpu` backend (ONNX Runtime) against the reference backend, and its sharing of sessions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultThreads } from "../../src/backend/onnx/backend.ts";
import { DeviceError } from "../../src/errors.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { linear } from "../../src/models/layers.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { computeGraph, conformanceTests } from "./conformance.ts";

const skip = await whyNot();
conformanceTests("cpu", () => openOnnxBackend(), skip);

/** Nothing where the backend opens; else the reason. Any other failure is a failure. */
async function whyNot(): Promise<string | undefined> {
  try {
    await using _ = await openOnnxBackend();
    return undefined;
  } catch (error) {
    if (error instanceof DeviceError && error.code === "E_NO_ONNXRUNTIME") return `skipped: ${error.problem}`;
    throw error;
  }
}

/** y = x wT, w [2, 3] named after the graph. */
function tinyGraph(name: string) {
  const builder = new GraphBuilder(name);
  const x = builder.input("x", [1, 3]);
  builder.output(
    "y",
    builder.segment(name, () => linear(builder, x, name, 2, false)),
  );
  return { graph: builder.build(), x: x.id };
}

test(
  "cpu: segments of one shape share a session, each with its own weights",
  skip === undefined ? {} : { skip },
  async () => {
    await using backend = await openOnnxBackend();
    const input = Float32Array.of(1, 10, 100);
    const results = [];
    for (const [name, values] of [
      ["a", [1, 2, 3, 0, 0, 1]],
      ["b", [3, 2, 1, 1, 0, 0]],
    ] as const) {
      const { graph, x } = tinyGraph(name);
      const weights = new Map([[graph.segments[0]!.weights[0]!, Float32Array.from(values)]]);
      results.push(await computeGraph(backend, graph, { inputs: new Map([[x, input]]), weights }, "f16"));
    }
    assert.deepEqual(
      results.map((result) => [...result.get("y")!]),
      [
        [321, 100],
        [123, 1],
      ],
    );
    assert.equal(backend.sessionCount, 1);
  },
);

test("threads: one a core, up to the number that the overhead has room for", () => {
  assert.deepEqual([1, 2, 32, 64, 256].map(defaultThreads), [1, 2, 32, 32, 32]);
});
