/** @file The UNet's structure by arithmetic: parameter counts published for SDXL, and shapes at odd sizes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Graph } from "../../src/ir/graph.ts";
import { SDXL_BASE_UNET } from "../../src/models/sdxl/base.ts";
import { unetSchema, unetStepGraph, unetTextGraph, unetTimeGraph } from "../../src/models/sdxl/unet.ts";
import { elementCount } from "../../src/tensor/dtype.ts";

const parameters = (graph: Graph) =>
  graph.values.filter((value) => value.kind === "weight").reduce((sum, value) => sum + elementCount(value.shape), 0);

test("SDXL base has 1,680 UNet tensors with 2,567,463,684 parameters", () => {
  const schema = unetSchema(SDXL_BASE_UNET);
  assert.equal(schema.size, 1680);
  assert.equal(
    [...schema.values()].reduce((sum, shape) => sum + elementCount(shape), 0),
    2_567_463_684,
  );
});

test("a step needs neither the 340.8 M parameters of the prompt nor those of the schedule", () => {
  const text = parameters(unetTextGraph(SDXL_BASE_UNET, 2, 77));
  const time = parameters(unetTimeGraph(SDXL_BASE_UNET, 2));
  const step = parameters(unetStepGraph(SDXL_BASE_UNET, { batch: 2, height: 128, width: 128 }, 77));
  assert.equal(text, 340_787_200);
  assert.equal(text + time + step, 2_567_463_684);
});

test("an odd latent comes back to its own size", () => {
  const graph = unetStepGraph(SDXL_BASE_UNET, { batch: 1, height: 13, width: 9 }, 77);
  assert.deepEqual(graph.values[graph.outputs.get("prediction")!]!.shape, [1, 4, 13, 9]);
});

test("every value a segment reads was computed before, or is an input", () => {
  const graph = unetStepGraph(SDXL_BASE_UNET, { batch: 2, height: 8, width: 8 }, 77);
  const known = new Set(graph.inputs.values());
  for (const segment of graph.segments) {
    for (const id of segment.inputs) assert.ok(known.has(id), `${segment.name} reads value ${id} too early`);
    for (const id of segment.outputs) known.add(id);
  }
});
