/**
 * @file Convolutions by Winograd's transforms against the reference backend's plain sums: sizes that fill no tile, bands with
 * halos, batches, missing bias; and where they are chosen.
 *
 * Tolerance: of the largest result, 2e-5. The transforms cost about 6 times a direct fp32 sum's rounding (root mean square
 * 8e-7 to 1.6e-6, largest 8e-6 of the spread); a wrong tile, halo or matrix element gives 1e-2 and more.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as ort from "onnxruntime-node";
import type { OnnxBackend } from "../../src/backend/onnx/backend.ts";
import { Emitter } from "../../src/backend/onnx/emitter.ts";
import { lowerSegment } from "../../src/backend/onnx/lowering.ts";
import { encodeOnnxModel } from "../../src/backend/onnx/protobuf.ts";
import { lowerWinograd, winogradMatrices, winogradPays } from "../../src/backend/onnx/winograd.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { computeGraph, drawData } from "./conformance.ts";

const TOLERANCE = 2e-5;

let backend: OnnxBackend;
// Before any tensor of this file: opening it sets how onnxruntime-node takes fp16.
before(async () => {
  backend = await openOnnxBackend();
});
after(() => backend[Symbol.asyncDispose]());

interface ConvCase {
  readonly batch: number;
  readonly channels: number;
  readonly outChannels: number;
  readonly height: number;
  readonly width: number;
  readonly bias?: boolean;
  readonly pad?: readonly [number, number, number, number];
}

const PAD = [1, 1, 1, 1] as const;

function convGraph({ batch, channels, outChannels, height, width, bias = true, pad = PAD }: ConvCase) {
  const g = new GraphBuilder("conv");
  const x = g.input("x", [batch, channels, height, width]);
  const result = g.segment("conv", () => {
    const w = g.weight("w", [outChannels, channels, 3, 3]);
    const inputs = bias ? [x, w, g.weight("b", [outChannels])] : [x, w];
    return g.node("conv2d", inputs, { stride: 1, pad });
  });
  g.output("y", result);
  return g.build();
}

function requireClose(found: Float32Array, expected: Float32Array): void {
  const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  const error = expected.reduce((max, value, i) => Math.max(max, Math.abs(value - found[i]!)), 0);
  assert.equal(found.length, expected.length);
  // Written so that NaN fails.
  assert.ok(error <= TOLERANCE * largest, `error ${error / largest} of the largest value`);
}

test("the transforms of one line give its three-tap correlation", () => {
  const { input, weight, output } = winogradMatrices();
  const line = [0.5, -1.25, 2, 0.75, -3, 1.5];
  const taps = [0.25, -2, 1.125];
  const dot = (row: readonly number[], values: readonly number[]) => row.reduce((sum, a, i) => sum + a * values[i]!, 0);
  const product = input.map((row, i) => dot(row, line) * dot(weight[i]!, taps));
  output.forEach((row, at) => {
    const direct = taps.reduce((sum, tap, i) => sum + tap * line[at + i]!, 0);
    assert.ok(Math.abs(dot(row, product) - direct) < 1e-12);
  });
});

const SMALL: readonly (ConvCase & { readonly bandRows?: number })[] = [
  { batch: 1, channels: 1, outChannels: 1, height: 4, width: 4 },
  { batch: 1, channels: 3, outChannels: 2, height: 1, width: 1 },
  { batch: 2, channels: 5, outChannels: 7, height: 9, width: 6 },
  { batch: 1, channels: 4, outChannels: 4, height: 5, width: 8, bias: false },
  { batch: 3, channels: 2, outChannels: 6, height: 3, width: 17 },
  { batch: 2, channels: 5, outChannels: 3, height: 21, width: 10, bandRows: 1 },
  { batch: 1, channels: 6, outChannels: 4, height: 20, width: 12, bandRows: 2 },
  { batch: 2, channels: 3, outChannels: 8, height: 27, width: 7, bandRows: 3, bias: false },
  // Bands of a picture, whose halo is given: no padding there.
  { batch: 2, channels: 3, outChannels: 4, height: 10, width: 8, pad: [0, 1, 0, 1] },
  { batch: 1, channels: 5, outChannels: 2, height: 13, width: 9, pad: [1, 1, 0, 1], bandRows: 1 },
  { batch: 2, channels: 2, outChannels: 3, height: 12, width: 7, pad: [0, 1, 1, 1], bandRows: 2 },
  { batch: 1, channels: 3, outChannels: 3, height: 11, width: 10, pad: [0, 0, 1, 0], bandRows: 1 },
  { batch: 1, channels: 3, outChannels: 3, height: 3, width: 3, pad: [0, 0, 0, 0] },
];

for (const item of SMALL) {
  const { batch, channels, outChannels, height, width, bandRows, pad = PAD } = item;
  const bands = bandRows === undefined ? "" : `, in bands of ${bandRows} tile rows`;
  test(`${batch}x${channels}x${height}x${width} to ${outChannels}${item.bias === false ? ", no bias" : ""}${bands}${item.pad ? `, padding ${pad}` : ""}`, async () => {
    const graph = convGraph(item);
    const data = drawData(graph, 11);
    const segment = graph.segments[0]!;
    const emitter = new Emitter(
      graph,
      segment,
      segment.weights.map(() => "f32" as const),
    );
    const shape = {
      x: [batch, channels, height, width],
      w: [outChannels, channels, 3, 3],
      stride: 1,
      pad,
    };
    const [x, w, b] = [segment.inputs[0]!, segment.weights[0]!, segment.weights[1]];
    const names = { x: emitter.value(x), w: emitter.weight(w), ...(b === undefined ? {} : { b: emitter.weight(b) }) };
    const bytesPerTileRow = batch * Math.ceil(width / 4) * (channels + outChannels) * 36 * 4;
    const output = segment.outputs[0]!;
    lowerWinograd(emitter, shape, names, output, bandRows && bandRows * bytesPerTileRow);
    const lowered = emitter.finish();
    const session = await ort.InferenceSession.create(encodeOnnxModel(lowered.graph), { logSeverityLevel: 3 });
    const tensor = (id: number, values: Float32Array) => new ort.Tensor("float32", values, graph.values[id]!.shape);
    const results = await session.run({
      [lowered.inputNames[0]!]: tensor(x, data.inputs.get(x) as Float32Array),
      ...Object.fromEntries(
        segment.weights.map((id, i) => [lowered.weightNames[i]!, tensor(id, data.weights.get(id)!)]),
      ),
    });
    await session.release();
    const expected = await computeGraph(createReferenceBackend(), graph, data, "f32");
    requireClose(results[lowered.outputNames[0]!]!.data as Float32Array, expected.get("y")!);
  });
}

test("the cpu backend takes them for wide, large convolutions and stays close to the plain sums", async () => {
  const graph = convGraph({ batch: 1, channels: 384, outChannels: 384, height: 48, width: 46 });
  const lowered = lowerSegment(graph, graph.segments[0]!, ["f16", "f16"]);
  assert.ok(lowered.graph.nodes.some(({ op }) => op === "MatMul"));
  const data = drawData(graph, 12);
  const found = await computeGraph(backend, graph, data, "f16");
  const expected = await computeGraph(createReferenceBackend(), graph, data, "f32");
  requireClose(found.get("y")!, expected.get("y")!);
});

test("chosen by shape alone: not for few pixels, narrow layers, strides or other kernels", () => {
  const shape = (channels: number, size: number) => ({
    x: [2, channels, size, size],
    w: [channels, channels, 3, 3],
    stride: 1,
    pad: PAD,
  });
  assert.equal(winogradPays(shape(640, 64)), true);
  assert.equal(winogradPays(shape(1280, 32)), true);
  assert.equal(winogradPays(shape(1280, 8)), false);
  assert.equal(winogradPays(shape(128, 512)), true);
  assert.equal(winogradPays(shape(64, 512)), false);
  assert.equal(winogradPays({ ...shape(640, 64), stride: 2 }), false);
  assert.equal(winogradPays({ ...shape(640, 64), pad: [0, 0, 2, 2] }), false);
  assert.equal(winogradPays({ ...shape(640, 64), w: [640, 640, 1, 1] }), false);
});
