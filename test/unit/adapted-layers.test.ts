/** @file Each kind of change that adapters make, on a product, on convolutions and on norms, against the layer with it merged into its weights in fp64. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AdapterSet } from "../../src/adapters/adapter-set.ts";
import type { LayerChange } from "../../src/adapters/layer-change.ts";
import type { Device } from "../../src/backend/device.ts";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import type { TensorTable } from "../../src/container/table.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { LayerBuilder, withStrengths } from "../../src/models/layer-builder.ts";
import { conv, groupNorm, layerNorm, linear } from "../../src/models/layers.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { AdaptedBlocks, AdapterReaders } from "../../src/stream/adapted-blocks.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import { runGraph } from "../graph-run.ts";
import { drawer, mergedTable, tensorOf } from "../support/adapters.ts";

const draw = drawer(7);
const tensor = (name: string, shape: readonly number[], size = 0.5) => tensorOf(name, shape, draw(shape, size));

/** A layer of each sort: its weight, its graph. */
const LAYERS = {
  product: { shape: [8, 6], x: [2, 5, 6], build: (g: LayerBuilder, x: never) => linear(g, x, "layer", 8) },
  "product without bias": {
    shape: [8, 6],
    x: [3, 6],
    build: (g: LayerBuilder, x: never) => linear(g, x, "layer", 8, false),
  },
  // So many rows that what is low-rank is added to the weight first.
  "product of many rows": {
    shape: [8, 6],
    x: [2, 200, 6],
    build: (g: LayerBuilder, x: never) => linear(g, x, "layer", 8),
  },
  convolution: {
    shape: [8, 6, 3, 3],
    x: [2, 6, 5, 4],
    build: (g: LayerBuilder, x: never) => conv(g, x, "layer", 8, { kernel: 3, stride: 2, pad: [0, 0, 1, 1] }),
  },
  "convolution of a pixel": {
    shape: [8, 6, 1, 1],
    x: [1, 6, 3, 4],
    build: (g: LayerBuilder, x: never) => conv(g, x, "layer", 8, { kernel: 1 }),
  },
  "norm of groups": {
    shape: [6],
    x: [2, 6, 3, 4],
    build: (g: LayerBuilder, x: never) => groupNorm(g, x, "layer", 2, 1e-5),
  },
  "norm of a layer": { shape: [6], x: [2, 5, 6], build: (g: LayerBuilder, x: never) => layerNorm(g, x, "layer", 1e-5) },
} as const;
type LayerName = keyof typeof LAYERS;

const ones = (shape: readonly number[]) => shape.slice(2).map(() => 1);
const lowRank = (shape: readonly number[], rank = 3): Extract<LayerChange, { kind: "low-rank" }> => ({
  kind: "low-rank",
  down: tensor("down", [rank, ...shape.slice(1)]),
  up: tensor("up", [shape[0]!, rank, ...ones(shape)]),
  scale: 0.7,
});
const withMiddle = ([out, inputs, ...taps]: readonly number[]) => ({
  ...lowRank([out!, inputs!, 1, 1]),
  mid: tensor("mid", [3, 3, ...taps]),
});
const difference = (shape: readonly number[]) => ({ kind: "difference", weight: tensor("diff", shape) }) as const;
const blocks = (count: number, width: number) => tensor("blocks", [count, width, width]);

const WHOLE: readonly LayerName[] = [
  "product",
  "product without bias",
  "product of many rows",
  "convolution",
  "convolution of a pixel",
];
/** By name: the layers that it is tried on, and the change of one with such a weight. */
const KINDS: Readonly<Record<string, readonly [readonly LayerName[], (shape: readonly number[]) => LayerChange]>> = {
  "low rank": [WHOLE, (shape) => lowRank(shape)],
  "low rank with a middle": [["convolution"], (shape) => withMiddle(shape)],
  "a magnitude of a low rank with a middle": [
    ["convolution"],
    (shape) => ({ kind: "magnitude", change: withMiddle(shape), magnitude: tensor("m", [shape[0]!]), onInput: false }),
  ],
  "low rank before the layer": [
    WHOLE,
    ([, inputs, ...taps]) => ({
      kind: "input-low-rank",
      down: tensor("down", [2, inputs!, ...taps.map(() => 1)]),
      up: tensor("up", [inputs!, 2, ...taps.map(() => 1)]),
      scale: 0.4,
    }),
  ],
  "a difference": [Object.keys(LAYERS) as LayerName[], difference],
  "a difference of the bias": [
    Object.keys(LAYERS) as LayerName[],
    ([out]) => ({ kind: "bias", bias: tensor("bias", [out!]) }),
  ],
  "a factor an output": [WHOLE, ([out]) => ({ kind: "scale", values: tensor("values", [out!]), onInput: false })],
  "a factor an input": [WHOLE, ([, inputs]) => ({ kind: "scale", values: tensor("values", [inputs!]), onInput: true })],
  "a rotation": [
    WHOLE,
    ([out]) => ({
      kind: "rotation",
      factors: [{ blocks: blocks(4, 2), stride: 1 }],
      rescale: tensor("rescale", [out!]),
      onInput: false,
    }),
  ],
  "a rotation of the input": [
    WHOLE,
    () => ({ kind: "rotation", factors: [{ blocks: blocks(2, 3), stride: 1 }], onInput: true }),
  ],
  butterflies: [
    WHOLE,
    () => ({
      kind: "rotation",
      factors: [1, 2, 4].map((stride) => ({ blocks: blocks(4, 2), stride })),
      onInput: false,
    }),
  ],
  "a magnitude an output": [
    WHOLE,
    (shape) => ({ kind: "magnitude", change: lowRank(shape), magnitude: tensor("m", [shape[0]!]), onInput: false }),
  ],
  "a magnitude an input": [
    WHOLE,
    (shape) => ({ kind: "magnitude", change: difference(shape), magnitude: tensor("m", [shape[1]!]), onInput: true }),
  ],
};

const devices: Readonly<Record<string, Device>> = {
  reference: new HostDevice(createReferenceBackend()),
  cpu: new HostDevice(await openOnnxBackend()),
};
after(async () => {
  for (const device of Object.values(devices)) await device[Symbol.asyncDispose]();
});

function graphOf(layer: LayerName, set?: AdapterSet): Graph {
  const { x, build } = LAYERS[layer];
  const g = new LayerBuilder("graph", { adapters: set?.components.get("unet") });
  const input = g.input("x", x);
  g.output(
    "y",
    g.segment("segment", () => build(g, input as never)),
  );
  return g.build();
}

/** Largest difference between the layer with side paths and the merged one, of the largest magnitude. */
async function errorOf(
  device: Device,
  layer: LayerName,
  changes: readonly LayerChange[],
  strengths: readonly number[],
) {
  const { shape, x } = LAYERS[layer];
  const table: TensorTable = new Map(
    [tensor("layer.weight", shape), tensor("layer.bias", [shape[0]])].map((entry) => [entry.name, entry] as const),
  );
  const adapters = changes.map((change, i) => ({
    id: `${i}`,
    layers: new Map([["unet", new Map([["layer", [change]]])]]),
  }));
  const set = new AdapterSet(adapters, () => table);
  const readers = new AdapterReaders();
  readers.provide(set);
  const input = new Map([["x", Float32Array.from(draw(x, 1))]]);
  const adapted = graphOf(layer, set);
  const found = await runGraph(
    device,
    new AdaptedBlocks(new TableBlocks("unet", table), readers),
    adapted,
    withStrengths(adapted, input, strengths),
  );
  const merged = new TableBlocks("unet", await mergedTable(table, "unet", adapters, strengths));
  const expected = (await runGraph(device, merged, graphOf(layer), input)).get("y")!;
  const plain = (await runGraph(device, new TableBlocks("unet", table), graphOf(layer), input)).get("y")!;
  const largest = Math.max(...expected.map(Math.abs));
  const distance = (from: Float32Array) =>
    Math.max(...expected.map((value, i) => Math.abs(value - from[i]!))) / largest;
  return { error: distance(found.get("y")!), effect: distance(plain) };
}

// fp32 sums in another order; 6e-7 was found.
const TOLERANCE = 1e-5;

for (const [kind, [layers, changeOf]] of Object.entries(KINDS)) {
  test(`${kind}, once and twice with other strengths, is what it is merged`, async () => {
    for (const layer of layers) {
      if (kind.includes("bias") && layer === "product without bias") continue;
      const change = () => changeOf(LAYERS[layer].shape);
      for (const [name, device] of Object.entries(devices)) {
        const what = `${kind} of ${layer} on ${name}`;
        const { error, effect } = await errorOf(device, layer, [change()], [0.6]);
        assert.ok(error < TOLERANCE, `${what}: ${error}`);
        assert.ok(effect > 0.01, `${what}: it changes nothing`);
        if (name === "cpu") continue;
        const two = await errorOf(device, layer, [change(), change()], [0.6, -0.3]);
        assert.ok(two.error < TOLERANCE, `${what}, twice: ${two.error}`);
      }
    }
  });
}

test("kinds side by side on one layer add up, each made from the unchanged weight", async () => {
  const { shape } = LAYERS.convolution;
  const names = Object.keys(KINDS).filter((name) => KINDS[name]![0].includes("convolution"));
  const changes = names.map((name) => KINDS[name]![1](shape));
  const strengths = changes.map((_, i) => 0.3 - 0.05 * i);
  const { error } = await errorOf(devices.reference!, "convolution", changes, strengths);
  assert.ok(error < TOLERANCE, `${error}`);
});

test("factors beside each other kind, on few rows and on so many that they are summed into the weight", async () => {
  for (const layer of ["product", "product of many rows"] as const) {
    const { shape } = LAYERS[layer];
    for (const [name, [layers, changeOf]] of Object.entries(KINDS)) {
      if (!layers.includes(layer)) continue;
      const { error } = await errorOf(devices.reference!, layer, [lowRank(shape), changeOf(shape)], [0.6, 0.4]);
      assert.ok(error < TOLERANCE, `${name} on ${layer}: ${error}`);
    }
  }
});
