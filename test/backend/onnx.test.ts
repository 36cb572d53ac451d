/** @file The `cpu` backend (ONNX Runtime) against the reference backend, and its sharing of sessions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOnnxBackend, defaultThreads, type OnnxRuntime } from "../../src/backend/onnx/backend.ts";
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

test("the library is asked for what its memory is planned for: fp16 as it is, nothing kept between runs, no copy of results", async () => {
  const asked: Record<string, unknown>[] = [];
  const copies: Float32Array[] = [];
  let released = 0;
  class FakeTensor {
    readonly type: string;
    readonly data: unknown;
    constructor(type: string, data: unknown) {
      this.type = type;
      this.data = data;
    }
  }
  const fed: FakeTensor[] = [];
  const session = {
    async run(feeds: Record<string, FakeTensor>) {
      fed.push(...Object.values(feeds));
      copies.push(new Float32Array(2));
      return { y0: { data: copies.at(-1) } };
    },
    async release() {
      released++;
    },
  };
  const fake = {
    Tensor: FakeTensor,
    InferenceSession: {
      async create(_model: Uint8Array, options: Record<string, unknown>) {
        asked.push(options);
        return session;
      },
    },
  };
  const backend = createOnnxBackend(fake as unknown as OnnxRuntime, 3);
  assert.deepEqual([...backend.weightDTypes].sort(), ["f16", "f32"]);
  const { graph, x } = tinyGraph("a");
  const [segment] = graph.segments;
  const halves = new Uint8Array(12);
  for (let run = 0; run < 2; run++) {
    await backend.run({
      ...{ graph, segment: segment! },
      inputs: new Map([[x, new Float32Array(3)]]),
      weights: new Map([[segment!.weights[0]!, { dtype: "f16", bytes: halves }]]),
      outputs: new Map([[segment!.outputs[0]!, new Float32Array(2)]]),
    });
  }
  const [options] = asked;
  assert.equal(asked.length, 1);
  assert.deepEqual(
    [options!.enableCpuMemArena, options!.enableMemPattern, options!.intraOpNumThreads, options!.interOpNumThreads],
    [false, false, 3, 1],
  );
  assert.deepEqual(options!.extra, { session: { intra_op: { allow_spinning: "0" } } });
  const weight = fed.find(({ type }) => type === "float16");
  assert.equal((weight!.data as Uint16Array).buffer, halves.buffer, "the weight's own memory");
  assert.deepEqual(
    copies.map(({ buffer }) => buffer.byteLength),
    [0, 0],
  );
  await backend.release();
  assert.equal(released, 1);
});
