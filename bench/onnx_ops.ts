/**
 * @file ONNX Runtime's CPU kernels at SDXL's shapes (512x512, guidance: batch 2): what the `cpu` backend lowers to beside what it
 * could have lowered to. The numbers of docs/decisions/onnx-lowering.md.
 * Usage: npx node bench/onnx_ops.ts [FILTER]
 */
import { availableParallelism, cpus } from "node:os";
import * as ort from "onnxruntime-node";
import { Emitter } from "../src/backend/onnx/emitter.ts";
import { encodeOnnxModel, type OnnxConstant, type OnnxNode, type OnnxValue } from "../src/backend/onnx/protobuf.ts";
import { lowerWinograd } from "../src/backend/onnx/winograd.ts";
import { GraphBuilder } from "../src/ir/builder.ts";
import { openOnnxBackend } from "../src/node/onnx.ts";

interface Variant {
  readonly group: string;
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly OnnxValue[];
  readonly output: OnnxValue;
  readonly constants?: readonly OnnxConstant[];
  /** Multiply-adds counted twice; 0: judged by its time alone. */
  readonly flops: number;
}

const ROUNDS = 5;
const f32 = (name: string, ...shape: number[]): OnnxValue => ({ name, type: "f32", shape });
const f16 = (name: string, ...shape: number[]): OnnxValue => ({ name, type: "f16", shape });
const node = (op: string, inputs: string, output: string, attributes?: OnnxNode["attributes"]): OnnxNode => ({
  op,
  inputs: inputs.split(" "),
  outputs: output.split(" "),
  ...(attributes ? { attributes } : {}),
});
const microsoft = (op: string, inputs: string, attributes?: OnnxNode["attributes"]): OnnxNode => ({
  ...node(op, inputs, "y", attributes),
  domain: "com.microsoft",
});
const shapeConstant = (name: string, ...values: number[]): OnnxConstant => ({
  name,
  type: "i64",
  shape: [values.length],
  values,
});
const floats = (name: string, shape: number[], ...values: number[]): OnnxConstant => ({
  name,
  type: "f32",
  shape,
  values,
});

function gemms(rows: number, from: number, to: number): Variant[] {
  const group = `linear [${rows}, ${from}] to ${to}`;
  const common = { group, output: f32("y", rows, to), flops: 2 * rows * from * to };
  const x = f32("x", rows, from);
  return [
    {
      ...common,
      name: "Cast + Gemm, fp16 weights [out, in] (chosen)",
      inputs: [x, f16("w", to, from)],
      nodes: [node("Cast", "w", "v", { to: 1 }), node("Gemm", "x v", "y", { transB: 1 })],
    },
    {
      ...common,
      name: "Gemm, fp32 weights [out, in]",
      inputs: [x, f32("w", to, from)],
      nodes: [node("Gemm", "x w", "y", { transB: 1 })],
    },
    {
      ...common,
      name: "Gemm, fp32 weights [in, out]",
      inputs: [x, f32("w", from, to)],
      nodes: [node("Gemm", "x w", "y")],
    },
    {
      ...common,
      name: "Gemm all in fp16",
      inputs: [f16("x", rows, from), f16("w", to, from)],
      output: f16("y", rows, to),
      nodes: [node("Gemm", "x w", "y", { transB: 1 })],
    },
  ];
}

function convolutions(batch: number, channels: number, side: number): Variant[] {
  const group = `conv 3x3 [${batch}, ${channels}, ${side}, ${side}] to ${channels}`;
  const shape = [batch, channels, side, side];
  const x = f32("x", ...shape);
  const common = { group, output: f32("y", ...shape), flops: 2 * batch * side * side * channels * channels * 9 };
  const g = new GraphBuilder("conv");
  const input = g.input("x", shape);
  const weight = [channels, channels, 3, 3];
  g.output(
    "y",
    g.segment("conv", () => g.node("conv2d", [input, g.weight("w", weight)], { stride: 1, pad: [1, 1, 1, 1] })),
  );
  const graph = g.build();
  const segment = graph.segments[0]!;
  const emitter = new Emitter(graph, segment, ["f16"]);
  const names = { x: emitter.value(segment.inputs[0]!), w: emitter.weight(segment.weights[0]!) };
  lowerWinograd(emitter, { x: shape, w: weight, stride: 1, pad: [1, 1, 1, 1] }, names, segment.outputs[0]!);
  const { nodes, constants, inputs, outputs } = emitter.finish().graph;
  const convAttributes = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
  return [
    {
      ...common,
      name: "Conv",
      inputs: [x, f16("w", ...weight)],
      nodes: [node("Cast", "w", "v", { to: 1 }), node("Conv", "x v", "y", convAttributes)],
    },
    { ...common, name: "Winograd F(4x4, 3x3)", nodes, constants, inputs, output: outputs[0]! },
  ];
}

function attentions(batch: number, tokens: number, context: number, channels: number, heads: number): Variant[] {
  const width = channels / heads;
  const inputs = [
    f32("q", batch, tokens, channels),
    f32("k", batch, context, channels),
    f32("v", batch, context, channels),
  ];
  const common = {
    group: `attention [${batch}, ${tokens}, ${channels}] on ${context}, ${heads} heads`,
    inputs,
    output: f32("y", batch, tokens, channels),
    flops: 4 * batch * tokens * context * channels,
  };
  return [
    {
      ...common,
      name: "MultiHeadAttention (chosen)",
      nodes: [microsoft("MultiHeadAttention", "q k v", { num_heads: heads })],
    },
    {
      ...common,
      name: "MatMul, Softmax, MatMul",
      constants: [
        shapeConstant("sq", batch, tokens, heads, width),
        shapeConstant("sk", batch, context, heads, width),
        shapeConstant("sy", batch, tokens, channels),
        floats("scale", [], width ** -0.5),
      ],
      nodes: [
        node("Reshape", "q sq", "q4"),
        node("Transpose", "q4", "qt", { perm: [0, 2, 1, 3] }),
        node("Reshape", "k sk", "k4"),
        node("Transpose", "k4", "kt", { perm: [0, 2, 3, 1] }),
        node("Reshape", "v sk", "v4"),
        node("Transpose", "v4", "vt", { perm: [0, 2, 1, 3] }),
        node("Mul", "qt scale", "qs"),
        node("MatMul", "qs kt", "scores"),
        node("Softmax", "scores", "shares", { axis: -1 }),
        node("MatMul", "shares vt", "mixed"),
        node("Transpose", "mixed", "back", { perm: [0, 2, 1, 3] }),
        node("Reshape", "back sy", "y"),
      ],
    },
  ];
}

function pointwise(): Variant[] {
  const shape = [2, 640, 64, 64];
  const one = { inputs: [f32("x", ...shape)], output: f32("y", ...shape), flops: 0 };
  const wide = { inputs: [f32("x", 2, 1024, 5120)], output: f32("y", 2, 1024, 2560), flops: 0 };
  const half = floats("half", [], 0.5);
  const grouped = [shapeConstant("groups", 2, 32, -1), shapeConstant("back", ...shape)];
  const affine = [
    floats("w", [640, 1, 1], ...new Array<number>(640).fill(1.1)),
    floats("b", [640, 1, 1], ...new Array<number>(640).fill(0.1)),
  ];
  const ends = [node("Reshape", "n back", "m"), node("Mul", "m w", "s"), node("Add", "s b", "y")];
  const silu = { ...one, group: `silu [${shape}]` };
  const gelu = { ...one, group: `gelu [${shape}]` };
  const geglu = { ...wide, group: "geglu [2, 1024, 5120]" };
  const groupNorm = { ...one, group: `groupNorm [${shape}], 32 groups` };
  const split = node("Split", "x", "a g", { axis: -1, num_outputs: 2 });
  return [
    { ...silu, name: "QuickGelu, alpha 1 (chosen)", nodes: [microsoft("QuickGelu", "x", { alpha: { float: 1 } })] },
    { ...silu, name: "Sigmoid, Mul", nodes: [node("Sigmoid", "x", "s"), node("Mul", "x s", "y")] },
    { ...gelu, name: "Gelu (chosen)", nodes: [node("Gelu", "x", "y")] },
    {
      ...gelu,
      name: "Mul, Erf, Add, Mul, Mul",
      constants: [half, floats("root", [], Math.SQRT1_2), floats("one", [], 1)],
      nodes: [
        node("Mul", "x root", "r"),
        node("Erf", "r", "e"),
        node("Add", "e one", "p"),
        node("Mul", "x half", "h"),
        node("Mul", "h p", "y"),
      ],
    },
    { ...geglu, name: "Split, Gelu, Mul (chosen)", nodes: [split, node("Gelu", "g", "h"), node("Mul", "a h", "y")] },
    {
      ...groupNorm,
      name: "InstanceNormalization of [2, 32, -1], Mul, Add",
      constants: [
        ...grouped,
        ...affine,
        floats("ones", [32], ...new Array<number>(32).fill(1)),
        floats("zeros", [32], ...new Array<number>(32).fill(0)),
      ],
      nodes: [
        node("Reshape", "x groups", "g"),
        node("InstanceNormalization", "g ones zeros", "n", { epsilon: { float: 1e-5 } }),
        ...ends,
      ],
    },
    {
      ...groupNorm,
      name: "statistics by lines, Mul, Add (chosen)",
      constants: [
        ...affine,
        shapeConstant("lines", 2, 32, -1, 64),
        shapeConstant("axis2", 2),
        shapeConstant("axis3", 3),
        shapeConstant("one", 2, 32, 1, 1),
        shapeConstant("channels", 2, 32, 20),
        shapeConstant("planes", 2, 640, 1, 1),
        floats("eps", [], 1e-5),
        floats("line", [], 1 / 64),
      ],
      nodes: [
        node("Reshape", "x lines", "g"),
        node("ReduceMean", "g axis3", "m", { keepdims: 0 }),
        node("ReduceMean", "m axis2", "mean", { keepdims: 1 }),
        node("Reshape", "mean one", "mean4"),
        node("Sub", "g mean4", "d"),
        node("ReduceSumSquare", "d axis3", "q", { keepdims: 0 }),
        node("ReduceMean", "q axis2", "s", { keepdims: 1 }),
        node("Mul", "s line", "var"),
        node("Add", "var eps", "e"),
        node("Sqrt", "e", "r"),
        node("Expand", "r channels", "f"),
        node("Reshape", "f planes", "factor"),
        node("Mul", "x factor", "scaled"),
        node("Add", "scaled factor", "y"),
      ],
    },
    {
      ...groupNorm,
      name: "ReduceMean, Sub, Mul, ReduceMean, Sqrt, Div",
      constants: [...grouped, ...affine, shapeConstant("last", 2), floats("eps", [], 1e-5)],
      nodes: [
        node("Reshape", "x groups", "g"),
        node("ReduceMean", "g last", "mean"),
        node("Sub", "g mean", "d"),
        node("Mul", "d d", "q"),
        node("ReduceMean", "q last", "var"),
        node("Add", "var eps", "e"),
        node("Sqrt", "e", "r"),
        node("Div", "d r", "n"),
        ...ends,
      ],
    },
  ];
}

const VARIANTS: readonly Variant[] = [
  ...gemms(2048, 640, 5120),
  ...gemms(512, 1280, 10240),
  ...convolutions(2, 320, 64),
  ...convolutions(2, 640, 32),
  ...convolutions(2, 1280, 16),
  ...convolutions(1, 512, 128),
  ...convolutions(1, 128, 256),
  ...attentions(2, 1024, 1024, 640, 10),
  ...attentions(2, 1024, 77, 640, 10),
  ...attentions(1, 4096, 4096, 512, 1),
  ...pointwise(),
];

function data(value: OnnxValue): ort.Tensor {
  const count = value.shape.reduce((product, dim) => product * dim, 1);
  if (value.type === "f16") return new ort.Tensor("float16", new Uint16Array(count).fill(0x2e66), value.shape);
  return new ort.Tensor(
    "float32",
    Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 201) / 100 - 1),
    value.shape,
  );
}

/** Seconds of the fastest of some runs, the first of which is not counted. */
async function measure({ nodes, constants = [], inputs, output }: Variant): Promise<number> {
  const session = await ort.InferenceSession.create(encodeOnnxModel({ nodes, constants, inputs, outputs: [output] }), {
    intraOpNumThreads: availableParallelism(),
    enableCpuMemArena: false,
    enableMemPattern: false,
    extra: { session: { intra_op: { allow_spinning: "0" } } },
    logSeverityLevel: 3,
  });
  const feeds = Object.fromEntries(inputs.map((value) => [value.name, data(value)]));
  const fetches = { [output.name]: data(output) };
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round <= ROUNDS; round++) {
    const startedMs = performance.now();
    await session.run(feeds, fetches);
    if (round > 0) best = Math.min(best, (performance.now() - startedMs) / 1000);
  }
  await session.release();
  return best;
}

// The backend decides how onnxruntime-node takes fp16, before any tensor is made.
await (await openOnnxBackend())[Symbol.asyncDispose]();
const filter = process.argv[2] ?? "";
console.log(`${availableParallelism()} x ${cpus()[0]?.model.trim()}, onnxruntime-node, fastest of ${ROUNDS}`);
let group = "";
for (const variant of VARIANTS.filter((candidate) => candidate.group.includes(filter))) {
  if (variant.group !== group) console.log(`\n${variant.group}`);
  group = variant.group;
  const seconds = await measure(variant).catch((error: unknown) =>
    error instanceof Error ? error : new Error(String(error)),
  );
  if (seconds instanceof Error) {
    console.log(`  ${variant.name.padEnd(56)}not available: ${seconds.message.split("\n")[0]!.slice(0, 100)}`);
    continue;
  }
  const speed = variant.flops > 0 ? `${(variant.flops / seconds / 1e9).toFixed(0).padStart(6)} GFLOP/s` : "";
  console.log(`  ${variant.name.padEnd(56)}${(seconds * 1000).toFixed(2).padStart(9)} ms ${speed}`);
}
