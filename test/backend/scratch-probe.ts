/**
 * @file A process of its own that runs one segment on the `cpu` backend, and prints what was planned as its scratch and what the
 * kernel says it took (Linux). Argument: a case's name.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { GraphBuilder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { linear } from "../../src/models/layers.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { elementCount } from "../../src/tensor/dtype.ts";

function statusBytes(field: "VmHWM" | "VmRSS"): number {
  return 1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
}

function oneSegment(build: (g: GraphBuilder) => void): Graph {
  const g = new GraphBuilder("probe");
  build(g);
  return g.build();
}

const conv = (channels: number, size: number) =>
  oneSegment((g) => {
    const x = g.input("x", [1, channels, size, size]);
    const result = g.segment("s", () =>
      g.node("conv2d", [x, g.weight("w", [channels, channels, 3, 3])], { stride: 1, pad: [1, 1, 1, 1] }),
    );
    g.output("y", result);
  });

const CASES: Readonly<Record<string, Graph>> = {
  winograd: conv(512, 48),
  direct: conv(64, 192),
  casts: oneSegment((g) => {
    const x = g.input("x", [2, 2048]);
    const result = g.segment("s", () => linear(g, linear(g, linear(g, x, "a", 2048), "b", 2048), "c", 2048));
    g.output("y", result);
  }),
  attention: oneSegment((g) => {
    const [q, k, v] = ["q", "k", "v"].map((name) => g.input(name, [1, 3072, 640]));
    g.output(
      "y",
      g.segment("s", () => g.node("attention", [q!, k!, v!], { heads: 10, causal: false })),
    );
  }),
};

await using backend = await openOnnxBackend(1);
{
  const graph = CASES[process.argv[2]!]!;
  const segment = graph.segments[0]!;
  const shape = (id: number) => graph.values[id]!.shape;
  const weights = segment.weights.map((id) => ({ dtype: "f16" as const, shape: shape(id) }));
  const floats = (id: number) => new Float32Array(elementCount(shape(id))).fill(0.01);
  const run = {
    graph,
    segment,
    inputs: new Map(segment.inputs.map((id) => [id, floats(id)])),
    outputs: new Map(segment.outputs.map((id) => [id, floats(id)])),
    weights: new Map(
      segment.weights.map((id) => [
        id,
        { dtype: "f16" as const, bytes: new Uint8Array(2 * elementCount(shape(id))).fill(0x11) },
      ]),
    ),
  };
  await backend.prepare(
    graph,
    segment,
    weights.map(({ dtype }) => dtype),
  );
  let takenBytes = 0;
  for (let i = 0; i < 2; i++) {
    writeFileSync("/proc/self/clear_refs", "5");
    const before = statusBytes("VmRSS");
    await backend.run(run);
    takenBytes = Math.max(takenBytes, statusBytes("VmHWM") - before);
  }
  console.log(JSON.stringify({ plannedBytes: backend.scratchBytes(graph, segment, weights), takenBytes }));
}
