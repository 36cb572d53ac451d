/** @file From graphs to a plan's input: blocks, lifetimes, links, against what is counted by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { type BlockCatalog, describePhase, layOutBlock, type PassDescription } from "../../src/plan/describe.ts";

const device = new HostDevice(createReferenceBackend());

/** keys = context + w, for each row. */
function textGraph(name = "text", rows = 1): Graph {
  const g = new GraphBuilder(name);
  const context = g.input("context", rows === 1 ? [16] : [rows, 16]);
  g.output(
    "keys",
    g.segment("keys", () => g.node("add", [context, g.weight("w", [16])], {})),
  );
  return g.build();
}

/** (x scaled) + keys, in two segments; the second reads no weights. */
function stepGraph(): Graph {
  const g = new GraphBuilder("step");
  const x = g.input("x", [4, 16]);
  const keys = g.input("keys", [16]);
  const scaled = g.segment("scale", () => g.node("add", [x, g.weight("v", [16])], {}));
  g.output(
    "y",
    g.segment("join", () => g.node("add", [scaled, keys], {})),
  );
  return g.build();
}

/** Each weight of 16 numbers in a block of its own, and one for an adapter beside it. */
const catalog: BlockCatalog = (segment, names) =>
  names.flatMap((name) =>
    ["unet", "lora"].map((component) => ({
      key: `${component}/${segment}`,
      storedBytes: 64,
      tensors: component === "unet" ? [{ name, stored: { dtype: "f32", shape: [16] }, offsetBytes: 0 }] : [],
    })),
  );

const pass = (graph: Graph, links: readonly string[]): PassDescription => ({
  ...{ id: `draw/${graph.name}`, graph, component: "unet", repeats: 3, cyclic: true, links },
});

const describe = (...passes: PassDescription[]) =>
  describePhase(device, { id: "draw", title: "Drawing", passes, hostBytes: 7, spilledBytes: 9 }, () => catalog);

test("a phase is described by what its graphs say: blocks of each segment, lifetimes of values, links by who makes them", () => {
  const phase = describe(pass(textGraph(), ["keys"]), pass(stepGraph(), ["keys"]));
  assert.deepEqual([phase.id, phase.title, phase.hostBytes, phase.spilledBytes], ["draw", "Drawing", 7, 9]);
  assert.deepEqual(phase.links, [{ name: "keys", lengthBytes: 64 }]);
  const [text, step] = phase.passes;
  assert.deepEqual([step!.id, step!.repeats, step!.cyclic], ["draw/step", 3, true]);
  assert.deepEqual(
    step!.segments.map(({ name, blocks }) => [name, blocks]),
    [
      [
        "scale",
        [
          { key: "unet/scale", deviceBytes: 64, storedBytes: 64 },
          { key: "lora/scale", deviceBytes: 0, storedBytes: 64 },
        ],
      ],
      ["join", []],
    ],
  );
  // x 256 and its sum 256 with 64 of weights; the sum, keys 64 and y 256.
  assert.deepEqual(
    step!.segments.map(({ trafficBytes }) => trafficBytes),
    [576, 576],
  );
  const lives = ({ values }: typeof step & {}) =>
    values.map(({ lengthBytes, firstUse, lastUse }) => [lengthBytes, firstUse, lastUse]);
  assert.deepEqual(lives(text!), [[64, 0, 0]]); // context; keys is a link
  assert.deepEqual(lives(step!), [
    [256, 0, 0], // x
    [256, 0, 1], // the sum
    [256, 1, 2], // y
  ]);
});

test("an input that a pass doesn't name as a link is its own, though another pass's link has the same name", () => {
  const phase = describe(pass(textGraph(), ["keys"]), pass(stepGraph(), []));
  assert.equal(phase.passes[1]!.values.length, 4);
});

test("a link is as long as what the pass makes that names it, whatever others call theirs", () => {
  const own = pass(textGraph("other", 3), []);
  const linked = [pass(textGraph(), ["keys"]), pass(stepGraph(), ["keys"])];
  assert.deepEqual(describe(own, ...linked).links, [{ name: "keys", lengthBytes: 64 }]);
});

test("links that nobody makes, or that a graph has not, are refused", () => {
  assert.throws(() => describe(pass(stepGraph(), ["keys"])), /phase draw: no pass makes the link keys/);
  assert.throws(() => describe(pass(textGraph(), ["kyes"])), /pass draw\/text: its graph has no input or output kyes/);
});

test("weights of a block lie side by side, each where the device can read it", () => {
  const tensors = [3, 20, 16].map((values, i) => ({
    ...{ name: `w${i}`, stored: { dtype: "f32", shape: [values] } as const },
    offsetBytes: 0,
  }));
  const laid = layOutBlock(device, { key: "k", storedBytes: 156, tensors });
  assert.deepEqual(laid, { offsets: [0, 64, 192], lengthBytes: 256 });
});
