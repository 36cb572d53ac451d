/**
 * @file Programs of bands against the whole graph: random graphs and sizes on the reference backend, whose sums are fp64, so
 * that what is left between both is the rounding of values between ops. Tolerance 1e-5 of the largest value: each of some ten
 * ops rounds by 6e-8, norms may enlarge that; a halo, an edge or a row that is wrong does 1e-2 and more.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { type BandProgram, bandProgram } from "../../src/bands/bands.ts";
import { GroupStatistics } from "../../src/bands/group-statistics.ts";
import { bandStorage } from "../../src/bands/run.ts";
import { GraphBuilder, type Tensor } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { vaeDecoderGraph } from "../../src/models/autoencoder.ts";
import { conv, groupNorm, linear, resnet, silu, upsample } from "../../src/models/layers.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { runInBands, runWhole, type Weights } from "../band-run.ts";
import { sameValues } from "../support/same.ts";

const TOLERANCE = 1e-5;

/** Seeded, in -1..1. */
function draw(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 23 - 1;
  });
}

function drawWeights(graph: Graph): Weights {
  const declared = graph.values.filter(({ kind }) => kind === "weight");
  return new Map(
    declared.map(({ name, shape }, i) => {
      const fan = Math.sqrt(elementCount(shape.slice(1)));
      const values = draw(elementCount(shape), 100 + i).map((value) => value / fan);
      return [name, { dtype: "f32", bytes: new Uint8Array(values.buffer) }];
    }),
  );
}

function drawInputs(graph: Graph) {
  return new Map(
    [...graph.inputs].map(([name, id], i) => [name, draw(elementCount(graph.values[id]!.shape), 7 + i)] as const),
  );
}

function requireClose(found: Float32Array, expected: Float32Array, what: string): void {
  assert.equal(found.length, expected.length);
  const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 1);
  expected.forEach((value, i) => {
    // Written so that NaN fails.
    assert.ok(
      Math.abs(found[i]! - value) <= TOLERANCE * largest,
      `${what}: element ${i} is ${found[i]}, not ${value} (of ${largest})`,
    );
  });
}

async function requireSame(graph: Graph, bandBytes: number): Promise<BandProgram> {
  const program = bandProgram(graph, { bandBytes });
  requireSound(program);
  const [inputs, weights] = [drawInputs(graph), drawWeights(graph)];
  const expected = await runWhole(createReferenceBackend(), graph, inputs, weights);
  const found = await runInBands(createReferenceBackend(), program, inputs, weights);
  assert.deepEqual([...found.keys()], [...expected.keys()]);
  for (const [name, values] of expected) requireClose(found.get(name)!, values, `${name} in bands of ${bandBytes}`);
  const turned = await runInBands(createReferenceBackend(), program, inputs, weights, { rowsFirst: true });
  for (const [name, values] of found) sameValues(turned.get(name)!, values, `${name} with its rows first on the way`);
  return program;
}

/** What must hold for every program. */
function requireSound(program: BandProgram): void {
  let bandRun = 0;
  const ids = program.layers.flatMap(({ bands }) => bands.map(({ passId }) => passId));
  for (const { id, graph, repeats } of program.passes) {
    assert.match(id, new RegExp(`^${program.source.name}:band\\d+$`));
    assert.equal(ids.filter((other) => other === id).length, repeats);
    assert.ok(
      program.layers.every(({ bands }) => bands.every((band) => (band.passId === id) === (band.graph === graph))),
    );
  }
  for (const layer of program.layers) {
    assert.equal(layer.firstBandRun, bandRun);
    for (const band of layer.bands) {
      for (const { value, rows, name } of band.reads) {
        assert.ok(rows.from >= 0 && rows.from < rows.to && rows.to <= program.rows.get(value)!.count, name);
        for (const part of program.tensors.get(value)?.parts ?? []) {
          if (part.rows.to <= rows.from || rows.to <= part.rows.from) continue;
          assert.ok(part.firstBandRun < layer.firstBandRun, `${name} is read in the layer that makes it`);
          assert.ok(part.lastBandRun >= bandRun, `${name} is read after its last run`);
        }
      }
      for (const { value, part } of band.results)
        assert.equal(program.tensors.get(value)!.parts[part]!.firstBandRun, bandRun);
      bandRun++;
    }
  }
  assert.equal(program.bandRuns, bandRun);
  const results = new Set(program.source.outputs.values());
  for (const { value, parts, lengthBytes } of program.tensors.values()) {
    let row = 0;
    let bytes = 0;
    for (const part of parts) {
      assert.equal(part.rows.from, row);
      assert.ok(part.rows.to > row);
      row = part.rows.to;
      bytes += part.lengthBytes;
      if (results.has(value)) assert.equal(part.lastBandRun, program.bandRuns - 1);
    }
    assert.equal(row, program.rows.get(value)!.count);
    assert.equal(bytes, lengthBytes);
  }
  assert.ok(bandStorage(program).spilledBytes >= program.peakSpilledBytes);
}

/** Choices of a random graph; numbers are taken modulo what is possible at that point. */
interface Step {
  readonly op: (typeof OPS)[number];
  readonly from: number;
  readonly other: number;
  readonly detail: number;
}
const OPS = ["conv", "conv", "norm", "norm", "silu", "up", "add", "scale", "concat", "time", "attention"] as const;
const CHANNELS = 4;

/** Several images of `CHANNELS` channels grow out of one; at the end all that nothing reads are results. */
function randomGraph(batch: number, height: number, width: number, steps: readonly Step[]): Graph {
  const g = new GraphBuilder("random");
  const images: Tensor[] = [g.input("x", [batch, CHANNELS, height, width])];
  const vector = g.input("time", [batch, CHANNELS]);
  const read = new Set<Tensor>();
  steps.forEach(({ op, from, other, detail }, index) => {
    const x = images[from % images.length]!;
    const like = images.filter(({ shape }) => shape[2] === x.shape[2] && shape[3] === x.shape[3]);
    const y = like[other % like.length]!;
    const name = `${op}${index}`;
    images.push(g.segment(name, () => grow(g, op, { x, y, vector, detail, name })));
    read.add(x);
    if (op === "add" || op === "concat") read.add(y);
  });
  const ends = images.filter((image) => !read.has(image));
  ends.forEach((image, i) => {
    g.output(`y${i}`, image);
  });
  // Results that are read on, too.
  const middle = images[1]!;
  if (images.length > 3 && read.has(middle)) g.output("middle", middle);
  return g.build();
}

interface Growth {
  readonly x: Tensor;
  readonly y: Tensor;
  readonly vector: Tensor;
  readonly detail: number;
  readonly name: string;
}

function grow(g: GraphBuilder, op: Step["op"], { x, y, vector, detail, name }: Growth): Tensor {
  const [, , height, width] = x.shape as [number, number, number, number];
  switch (op) {
    case "conv": {
      const kernel = [1, 2, 3, 3, 5][detail % 5]!;
      const stride = detail % 7 === 0 && Math.min(height, width) > 6 ? 2 : 1;
      const near = Math.min(kernel - 1, detail % 3);
      const far = kernel - 1 - near;
      return conv(g, x, name, CHANNELS, { kernel, stride, pad: [near, far, far, near] });
    }
    case "norm":
      return groupNorm(g, x, name, [1, 2, 4][detail % 3]!, 1e-5);
    case "silu":
      return silu(g, x);
    case "up": {
      if (height > 24) return silu(g, x);
      const target = { height: height * (1 + (detail % 3)) + (detail % 4 === 0 ? 1 : 0), width: width + (detail % 2) };
      return g.node("upsampleNearest", [x], target);
    }
    case "add":
      return g.node("add", [x, y], {});
    case "scale":
      return g.node("scale", [x], { factor: 0.75 });
    case "concat": {
      const both = g.node("concat", [x, y], { axis: 1 });
      return conv(g, both, name, CHANNELS, { kernel: 1 });
    }
    case "time":
      return g.node("addChannels", [x, vector], {});
    case "attention": {
      if (height * width > 300) return silu(g, x);
      const tokens = g.node("toTokens", [x], {});
      const [q, k, v] = ["q", "k", "v"].map((part) => linear(g, tokens, `${name}.${part}`, CHANNELS)) as Tensor[];
      const attended = g.node("attention", [q!, k!, detail % 2 ? v! : k!], { heads: 2, causal: false });
      return g.node("toImage", [attended], { height, width });
    }
  }
}

test("random graphs in bands of any size give the whole graph's results", async () => {
  const small = fc.nat(1000);
  const step: fc.Arbitrary<Step> = fc.record({
    op: fc.constantFrom(...OPS),
    from: small,
    other: small,
    detail: small,
  });
  const cases = fc.record({
    batch: fc.constantFrom(1, 1, 2),
    height: fc.integer({ min: 3, max: 19 }),
    width: fc.integer({ min: 3, max: 9 }),
    steps: fc.array(step, { minLength: 1, maxLength: 12 }),
    bandBytes: fc.constantFrom(1, 2000, 6000, 20000, 1e9),
  });
  await fc.assert(
    fc.asyncProperty(cases, async ({ batch, height, width, steps, bandBytes }) => {
      await requireSame(randomGraph(batch, height, width, steps), bandBytes);
    }),
    { numRuns: 250, seed: 20 },
  );
});

const VAE = {
  latentChannels: 4,
  outChannels: 3,
  blockChannels: [4, 8, 16],
  layersPerBlock: 1,
  groups: 4,
  midAttention: true,
  quantConv: true,
  postQuantConv: true,
  scalingFactor: 1,
} as Parameters<typeof vaeDecoderGraph>[0];

for (const [height, width] of [
  [7, 5],
  [1, 3],
  [12, 4],
] as const) {
  test(`a VAE decodes ${height}x${width} latents alike in bands of one row, of some rows, of all rows`, async () => {
    const graph = vaeDecoderGraph(VAE, 1, height, width);
    const oneRow = await requireSame(graph, 1);
    const last = oneRow.layers.at(-1)!;
    assert.equal(last.bands.length, height * 4);
    const middle = await requireSame(graph, 8000);
    const all = await requireSame(graph, Number.POSITIVE_INFINITY);
    assert.ok(all.layers.every(({ bands }) => bands.length === 1));
    if (height > 1) assert.ok(middle.layers.at(-1)!.bands.length > 1);
  });
}

/** SDXL base's decoder. */
const SDXL = { ...VAE, blockChannels: [128, 256, 512, 512], layersPerBlock: 2, groups: 32 };
const MIB = 1024 ** 2;

test("SDXL at 512x512: few MiB a band, and hardly more spilled than the largest activation", () => {
  const program = bandProgram(vaeDecoderGraph(SDXL, 1, 64, 64), { bandBytes: 64 * MIB });
  requireSound(program);
  // [1, 256, 512, 512] fp32 after the last upsampling. Its readers, the convolution and the shortcut, pass over it together.
  const largest = 256 * 512 * 512 * 4;
  // On top come the bands being made and the halos not yet let go.
  assert.ok(program.peakSpilledBytes <= largest + 40 * MIB, `${program.peakSpilledBytes}`);
  assert.ok(bandStorage(program).spilledBytes <= program.peakSpilledBytes * 1.05);
  for (const { name, peakBytes, bands } of program.layers) {
    const whole = name.startsWith("decoder.mid_block.attentions") ? 2 * 512 * 64 * 64 * 4 : 0;
    assert.ok(peakBytes <= 64 * MIB + whole, `${name}: ${peakBytes}`);
    // First, middle and last.
    assert.ok(new Set(bands.map(({ graph }) => graph)).size <= 3, name);
    // Its values pass the largest fp16.
    assert.ok(
      bands.every(({ graph }) => graph.fp32),
      name,
    );
  }
  const weights = program.layers.flatMap((layer) => layer.weights.map(({ name }) => name));
  assert.equal(new Set(weights).size, weights.length, "a weight is used in one layer only");
});

test("bands begin at multiples of 4 rows, and convolutions are padded at the picture's edges only", () => {
  const program = bandProgram(vaeDecoderGraph(SDXL, 1, 64, 64), { bandBytes: 64 * MIB });
  const last = program.layers.at(-1)!;
  last.bands.forEach(({ graph }, i) => {
    const pads = graph.segments[0]!.nodes.flatMap(({ op, attrs }) => (op === "conv2d" ? [attrs.pad] : []));
    const [top, bottom] = [i === 0 ? 1 : 0, i === last.bands.length - 1 ? 1 : 0];
    assert.deepEqual(pads, [[top, 1, bottom, 1]]);
  });
  for (const { parts } of program.tensors.values()) for (const { rows } of parts) assert.equal(rows.from % 4, 0);
});

test("no row of a convolution is computed twice", () => {
  const g = new GraphBuilder("two convolutions");
  const x = g.input("x", [1, 4, 16, 8]);
  const first = g.segment("first", () => conv(g, x, "first", 4, { kernel: 3 }));
  g.output(
    "y",
    g.segment("second", () => upsample(g, silu(g, first), "second", 32, 16)),
  );
  const program = bandProgram(g.build(), { bandBytes: 1 });
  const rows = (label: string) =>
    program.layers.flatMap(({ bands }) =>
      bands.map(({ graph }) => graph.values.find(({ name }) => name === label)?.shape[2] ?? 0),
    );
  assert.equal(
    rows("first").reduce((sum, count) => sum + count, 0),
    16,
  );
});

test("no keys or values of attention are computed twice", () => {
  const g = new GraphBuilder("attention");
  const tokens = g.segment("tokens", () => g.node("toTokens", [g.input("x", [1, 4, 8, 3])], {}));
  const image = g.segment("attention", () => {
    const [q, k, v] = ["q", "k", "v"].map((part) => linear(g, tokens, part, 4)) as [Tensor, Tensor, Tensor];
    return g.node("toImage", [g.node("attention", [q, k, v], { heads: 1, causal: false })], { height: 8, width: 3 });
  });
  g.output("y", image);
  const program = bandProgram(g.build(), { bandBytes: 1 });
  for (const part of ["q", "k", "v"]) {
    const tokensOf = (graph: Graph) =>
      graph.values.find(({ kind, name }) => kind === "node" && name === part)?.shape[1];
    const counts = program.layers.flatMap(({ bands }) => bands.map(({ graph }) => tokensOf(graph) ?? 0));
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      8 * 3,
    );
  }
});

test("a projected shortcut is computed beside the convolution that reads the same tensor", () => {
  const g = new GraphBuilder("block");
  const x = g.input("x", [1, 8, 16, 8]);
  const wide = g.segment("in", () => conv(g, x, "in", 16, { kernel: 3 }));
  g.output(
    "y",
    g.segment("block", () => resnet(g, wide, "block", { outChannels: 8, groups: 4, eps: 1e-6 })),
  );
  const names = bandProgram(g.build(), { bandBytes: 1 }).layers.map(({ weights }) =>
    weights.map(({ name }) => name).filter((name) => name.endsWith(".weight")),
  );
  assert.deepEqual(names, [
    ["in.weight"],
    ["block.norm1.weight", "block.conv1.weight", "block.conv_shortcut.weight"],
    ["block.norm2.weight", "block.conv2.weight"],
  ]);
});

test("a graph that can't be cut by rows is refused with the reason", () => {
  const refuse = (build: (g: GraphBuilder, x: Tensor) => Tensor, reason: RegExp) => {
    const g = new GraphBuilder("net");
    const x = g.input("x", [1, 4, 6, 5]);
    g.output(
      "y",
      g.segment("s", () => build(g, x)),
    );
    assert.throws(() => bandProgram(g.build(), { bandBytes: 1 }), reason);
  };
  refuse((g, x) => g.node("reshape", [x], { shape: [1, 4, 5, 6] }), /reshape .* no rule says which rows/);
  refuse((g, x) => g.node("concat", [x, x], { axis: 2 }), /concat .* joins rows to rows/);
  refuse(
    (g, x) => linear(g, x, "l", 3) && g.node("toImage", [g.node("toTokens", [x], {})], { height: 5, width: 6 }),
    /lays the tokens out anew/,
  );
  refuse((g, x) => {
    const t = g.node("toTokens", [x], {});
    return g.node("attention", [t, t, t], { heads: 1, causal: true });
  }, /causal/);
  refuse((g, x) => g.node("add", [x, g.weight("w", [4, 6, 5])], {}), /adds what has no rows/);
});

test("an aborted decode stops between bands with the signal's reason", async () => {
  const graph = vaeDecoderGraph(VAE, 1, 4, 4);
  const program = bandProgram(graph, { bandBytes: 1 });
  const abort = new AbortController();
  const layers: number[] = [];
  const onLayer = (layer: number, of: number) => {
    assert.equal(of, program.layers.length);
    layers.push(layer);
    if (layer === 3) abort.abort(new Error("enough"));
  };
  const options = { signal: abort.signal, onLayer };
  await assert.rejects(
    runInBands(createReferenceBackend(), program, drawInputs(graph), drawWeights(graph), options),
    /^Error: enough$/,
  );
  assert.deepEqual(layers, [0, 1, 2, 3]);
});

test("statistics of parts of unequal size are those of the whole, far from zero too", () => {
  const values = Float64Array.from(draw(1000, 3), (value) => value + 1000);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  const all = new GroupStatistics(1);
  for (const [from, to] of [
    [0, 7],
    [7, 500],
    [500, 501],
    [501, 1000],
  ] as const) {
    const part = values.subarray(from, to);
    const partMean = part.reduce((sum, value) => sum + value, 0) / part.length;
    const partVariance = part.reduce((sum, value) => sum + (value - partMean) ** 2, 0) / part.length;
    all.include(Float32Array.of(partMean, partVariance), part.length);
  }
  const [foundMean, foundVariance] = all.meanAndVariance();
  // Parts come in fp32: 1000 to 3e-5.
  assert.ok(Math.abs(foundMean! - mean) < 1e-4, `${foundMean} ${mean}`);
  assert.ok(Math.abs(foundVariance! - variance) < 1e-4, `${foundVariance} ${variance}`);
});
