/** @file The executor and the weight stream with a backend and a source that only count. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend, SegmentRun } from "../../src/backend/backend.ts";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import { ArtifactError } from "../../src/errors.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import type { ByteSource } from "../../src/source/source.ts";
import { ActivationPool } from "../../src/stream/activations.ts";
import { runGraph } from "../../src/stream/executor.ts";
import { WeightStream } from "../../src/stream/weights.ts";

/** y = ((x + w0) + w1) + w2, one segment each. */
function sumGraph() {
  const g = new GraphBuilder("sum");
  const x = g.input("x", [4]);
  const y = [0, 1, 2].reduce(
    (value, i) => g.segment(`s${i}`, () => g.node("add", [value, g.weight(`w${i}`, [4])], {})),
    x,
  );
  g.output("y", y);
  return g.build();
}

class AddBackend implements Backend {
  readonly name = "null";
  readonly ran: string[] = [];

  async run({ segment, inputs, weights, outputs }: SegmentRun): Promise<void> {
    this.ran.push(segment.name);
    const x = inputs.get(segment.inputs[0]!)!;
    const { bytes } = weights.get(segment.weights[0]!)!;
    const w = new Float32Array(bytes.buffer, bytes.byteOffset, 4);
    outputs.get(segment.outputs[0]!)!.forEach((_, i, y) => {
      y[i] = x[i]! + w[i]!;
    });
  }

  async release(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}
}

function table(values: readonly number[], failOnce = new Set<string>()): { table: TensorTable; reads: string[] } {
  const reads: string[] = [];
  const entries = values.map((value, i): [string, TensorEntry] => {
    const name = `w${i}`;
    const source: ByteSource = {
      name: "test.safetensors",
      byteLength: 16,
      async read(startByte, into) {
        assert.equal(startByte, 0);
        reads.push(name);
        if (failOnce.delete(name)) throw new Error("disk hiccup");
        into.set(new Uint8Array(new Float32Array(4).fill(value).buffer));
      },
      async [Symbol.asyncDispose]() {},
    };
    return [name, { name, dtype: "f32", shape: [4], source, startByte: 0, endByte: 16 }];
  });
  return { table: new Map(entries), reads };
}

const pause = async () => {};
const inputs = new Map([["x", Float32Array.of(1, 2, 3, 4)]]);

test("segments run in order, weights are read once for two runs, results don't share memory", async () => {
  const { table: weights, reads } = table([10, 100, 1000]);
  const backend = new AddBackend();
  const context = { backend, weights: new WeightStream(weights), pool: new ActivationPool(), pause };
  const first = await runGraph(sumGraph(), inputs, context);
  const second = await runGraph(sumGraph(), new Map([["x", Float32Array.of(0, 0, 0, 0)]]), context);
  assert.deepEqual([...first.get("y")!], [1111, 1112, 1113, 1114]);
  assert.deepEqual([...second.get("y")!], [1110, 1110, 1110, 1110]);
  assert.deepEqual(backend.ran, ["s0", "s1", "s2", "s0", "s1", "s2"]);
  assert.deepEqual(reads.toSorted(), ["w0", "w1", "w2"]);
});

test("a released stream reads again", async () => {
  const { table: weights, reads } = table([1, 1, 1]);
  const stream = new WeightStream(weights);
  const context = { backend: new AddBackend(), weights: stream, pool: new ActivationPool(), pause };
  await runGraph(sumGraph(), inputs, context);
  stream.release();
  await runGraph(sumGraph(), inputs, context);
  assert.equal(reads.length, 6);
  assert.equal(stream.readBytes, 6 * 16);
});

test("a failed read is reported, and doesn't stand for the weights of the next run", async () => {
  const { table: weights } = table([1, 1, 1], new Set(["w1"]));
  const context = { backend: new AddBackend(), weights: new WeightStream(weights), pool: new ActivationPool(), pause };
  await assert.rejects(runGraph(sumGraph(), inputs, context), /disk hiccup/);
  assert.deepEqual([...(await runGraph(sumGraph(), inputs, context)).get("y")!], [4, 5, 6, 7]);
});

test("a NaN weight is refused by name", async () => {
  const { table: weights } = table([1, Number.NaN, 1]);
  const context = { backend: new AddBackend(), weights: new WeightStream(weights), pool: new ActivationPool(), pause };
  await assert.rejects(runGraph(sumGraph(), inputs, context), (error: unknown) => {
    assert.ok(error instanceof ArtifactError);
    assert.match(error.message, /^E_NONFINITE test\.safetensors: tensor "w1" holds 4 values .* first at index 0/);
    return true;
  });
});

test("an abort stops between segments", async () => {
  const abort = new AbortController();
  const backend = new AddBackend();
  const stopAfterFirst = async () => {
    if (backend.ran.length === 1) abort.abort();
  };
  const { table: weights } = table([1, 1, 1]);
  const stream = new WeightStream(weights);
  const context = { backend, weights: stream, pool: new ActivationPool(), pause: stopAfterFirst, signal: abort.signal };
  await assert.rejects(runGraph(sumGraph(), inputs, context), { name: "AbortError" });
  assert.deepEqual(backend.ran, ["s0"]);
});
