/**
 * @file Each network by itself against diffusers and transformers in fp32 (fixtures/module, scripts/golden/module_golden.py).
 *
 * Tolerance: both sides compute in fp32 through some hundred operations. The largest difference found is 3.3e-6 of the
 * result's largest magnitude; 5e-5 leaves room for other machines' sums, and any one tensor that is wrong does more
 * (the last tests).
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Device } from "../../src/backend/device.ts";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { bandProgram } from "../../src/bands/bands.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import { DECODE_BAND_BYTES, vaeDecoderGraph } from "../../src/models/autoencoder.ts";
import { timestepEmbedding } from "../../src/models/embedding.ts";
import type { SdxlCheckpoint } from "../../src/models/sdxl/checkpoint.ts";
import type { SdxlComponentId } from "../../src/models/sdxl/files.ts";
import { unetStepGraph, unetTextGraph, unetTimeGraph } from "../../src/models/sdxl/unet.ts";
import { timeEmbeddingDim } from "../../src/models/sdxl/unet-blocks.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import { memorySource } from "../../src/source/memory.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import { toFloat32 } from "../../src/tensor/dtype.ts";
import { runBandProgram, runGraph, TEST_MACHINE } from "../graph-run.ts";
import { openSdxlInMemory } from "../sdxl-folder.ts";
import { searched } from "../support/thorough.ts";

const TOLERANCE = 5e-5;
const MODELS = ["deep", "nested"] as const;
type ModelName = (typeof MODELS)[number];

interface Golden {
  readonly arrays: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;
  readonly prompt: string;
  readonly timestep: number;
  readonly timeIds: readonly (readonly number[])[];
}
interface Loaded {
  readonly golden: Golden;
  readonly checkpoint: SdxlCheckpoint;
}

const fixtures = new URL("../../fixtures/", import.meta.url);
const loaded = new Map<ModelName, Loaded>();
const backends = new Map<"cpu" | "reference", Device>();

before(async () => {
  for (const name of MODELS) {
    const folder = fileURLToPath(new URL(`golden/${name}`, fixtures));
    loaded.set(name, { golden: await readGolden(name), checkpoint: await openSdxlInMemory(folder) });
  }
  backends.set("cpu", new HostDevice(await openOnnxBackend()));
  backends.set("reference", new HostDevice(createReferenceBackend()));
});
after(async () => {
  for (const { checkpoint } of loaded.values()) await checkpoint[Symbol.asyncDispose]();
  for (const backend of backends.values()) await backend[Symbol.asyncDispose]();
});

for (const name of MODELS) {
  for (const backend of ["cpu", "reference"] as const) {
    for (const part of ["text", "unet", "vae"] as const) {
      test(`${part} of ${name} on ${backend} equals diffusers'`, async () => {
        const { golden, checkpoint } = loaded.get(name)!;
        const error = await relativeError(part, golden, checkpoint, backends.get(backend)!);
        assert.ok(error <= TOLERANCE, `largest error ${error} of the largest magnitude`);
      });
    }
  }
}

/** Tensors of one shape that a wrong key map could exchange. */
const SWAPS: readonly (readonly [SdxlComponentId, string, string])[] = [
  [
    "textEncoder",
    "text_model.encoder.layers.0.self_attn.q_proj.weight",
    "text_model.encoder.layers.0.self_attn.k_proj.weight",
  ],
  ["textEncoder", "text_model.encoder.layers.0.layer_norm1.bias", "text_model.encoder.layers.0.layer_norm2.bias"],
  ["textEncoder2", "text_model.encoder.layers.0.mlp.fc2.weight", "text_model.encoder.layers.1.mlp.fc2.weight"],
  ["textEncoder2", "text_model.final_layer_norm.weight", "text_model.encoder.layers.1.layer_norm1.weight"],
  ["unet", "mid_block.resnets.0.conv1.weight", "mid_block.resnets.0.conv2.weight"],
  ["unet", "mid_block.resnets.0.norm1.weight", "mid_block.resnets.1.norm1.weight"],
  [
    "unet",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_k.weight",
  ],
  [
    "unet",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight",
  ],
  [
    "unet",
    "mid_block.attentions.0.transformer_blocks.0.norm2.bias",
    "mid_block.attentions.0.transformer_blocks.1.norm2.bias",
  ],
  ["unet", "time_embedding.linear_2.weight", "add_embedding.linear_2.weight"],
  ["vae", "decoder.mid_block.resnets.0.conv1.weight", "decoder.mid_block.resnets.1.conv1.weight"],
  ["vae", "decoder.mid_block.resnets.0.conv1.bias", "decoder.mid_block.resnets.0.conv2.bias"],
];

test("exchanging two tensors is seen", async () => {
  const { golden, checkpoint } = loaded.get("deep")!;
  for (const [component, a, b] of SWAPS) {
    const { table } = checkpoint.components.get(component)!;
    assert.ok(table.has(a) && table.has(b), `${a}, ${b}`);
    const swapped = new Map(table).set(a, { ...table.get(b)!, name: a }).set(b, { ...table.get(a)!, name: b });
    const error = await relativeError(
      partOf(component),
      golden,
      withTable(checkpoint, component, swapped),
      backends.get("cpu")!,
    );
    assert.ok(error > TOLERANCE, `${a} <-> ${b}: error only ${error}`);
  }
});

/** A key's bias adds the same to all scores of a query, which softmax takes away again. */
const WITHOUT_EFFECT = /(k_proj|attentions\.\d+\.to_k)\.bias$/;

for (const component of ["textEncoder", "textEncoder2", "unet", "vae"] as const) {
  test(`half as much again in any kind of tensor of ${component} is seen`, async () => {
    const { golden, checkpoint } = loaded.get("nested")!;
    const { table } = checkpoint.components.get(component)!;
    const kinds = new Map([...table.keys()].map((key) => [key.replace(/\d+/g, "N"), key]));
    // What is tried here are the fixtures, not the networks: of the largest network a third.
    const every = component === "unet" ? searched(3, 1) : 1;
    for (const key of [...kinds.values()].filter((_, i) => i % every === 0)) {
      // Of the first encoder the states before the last layer are read; its final norm and last layer are not.
      const unread = component === "textEncoder" && /final_layer_norm|layers\.1\./.test(key);
      const mutated = new Map(table).set(key, await scaled(table.get(key)!, 1.5));
      const error = await relativeError(
        partOf(component),
        golden,
        withTable(checkpoint, component, mutated),
        backends.get("cpu")!,
      );
      if (unread) assert.ok(error <= TOLERANCE, `${key} should not be read`);
      else if (!WITHOUT_EFFECT.test(key)) assert.ok(error > TOLERANCE, `${key}: error only ${error}`);
    }
  });
}

type Part = "text" | "unet" | "vae";

function partOf(component: SdxlComponentId): Part {
  return component === "unet" || component === "vae" ? component : "text";
}

/** Largest absolute difference of any result of this part, over that result's largest magnitude. */
async function relativeError(part: Part, golden: Golden, checkpoint: SdxlCheckpoint, device: Device): Promise<number> {
  const results = await { text: textResults, unet: unetResults, vae: vaeResults }[part](golden, checkpoint, device);
  let worst = 0;
  for (const [name, found] of results) {
    const { data } = golden.arrays.get(name)!;
    assert.equal(found.length, data.length, name);
    const largest = data.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    data.forEach((value, i) => {
      const error = Math.abs(found[i]! - value) / largest;
      worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
    });
  }
  return worst;
}

type Results = readonly (readonly [string, Float32Array])[];

async function textResults(golden: Golden, checkpoint: SdxlCheckpoint, device: Device): Promise<Results> {
  await using runtime = new Runtime(checkpoint, device, componentReaders(checkpoint, performance.now), {
    budgets: { deviceBytes: TEST_MACHINE.deviceBytes, ramBytes: TEST_MACHINE.ramBytes },
    machine: TEST_MACHINE,
    rates: {},
    processBytes: 0,
    now: () => performance.now(),
    pause: async () => {},
  });
  const job = runtime.plan({ batch: 1, width: 128, height: 128, modelCalls: 1, historyLength: 0, fp32: false });
  await using phase = await runtime.openPhase(job, job.described.phaseOf.encode);
  const [prompt] = checkpoint.promptChunks({ text: golden.prompt, syntax: "plain", clipSkip: 0 });
  const { sequences, vectors } = await job.described.encode(phase, prompt!);
  const [context, pooled] = [sequences.get("context")!, vectors.get("pooled")!];
  const { textEncoder, textEncoder2 } = checkpoint.parts.configs;
  const [width1, width2] = [textEncoder.hiddenSize, textEncoder2.hiddenSize];
  const tokens = context.length / (width1 + width2);
  const columns = (start: number, count: number) =>
    Float32Array.from({ length: tokens * count }, (_, i) => {
      return context[Math.floor(i / count) * (width1 + width2) + start + (i % count)]!;
    });
  return [
    ["text_encoder.hidden", columns(0, width1)],
    ["text_encoder_2.hidden", columns(width1, width2)],
    ["text_encoder_2.pooled", pooled],
  ];
}

async function unetResults(golden: Golden, checkpoint: SdxlCheckpoint, device: Device): Promise<Results> {
  const config = checkpoint.parts.configs.unet;
  const [latent, context, pooled] = ["latent", "context", "pooled"].map((name) => golden.arrays.get(`unet.${name}`)!);
  const [batch, , height, width] = latent!.shape as [number, number, number, number];
  const tokens = context!.shape[1]!;
  const addition = golden.timeIds.flatMap((ids, row) => [
    ...pooled!.data.subarray(row * pooled!.shape[1]!, (row + 1) * pooled!.shape[1]!),
    ...timestepEmbedding(ids, config.additionTimeEmbedDim, config),
  ]);
  const reader = new TableBlocks("unet", checkpoint.components.get("unet")!.table);
  const time = await runGraph(
    device,
    reader,
    unetTimeGraph(config, batch),
    new Map([
      ["sinusoid", timestepEmbedding(new Array<number>(batch).fill(golden.timestep), timeEmbeddingDim(config), config)],
      ["addition", Float32Array.from(addition)],
    ]),
  );
  const text = await runGraph(
    device,
    reader,
    unetTextGraph(config, batch, tokens),
    new Map([["context", context!.data]]),
  );
  const inputs = new Map<string, Float32Array>([["latent", latent!.data], ...time, ...text]);
  const outputs = await runGraph(device, reader, unetStepGraph(config, { batch, height, width }, tokens), inputs);
  return [["unet.prediction", outputs.get("prediction")!]];
}

async function vaeResults(golden: Golden, { parts, components }: SdxlCheckpoint, device: Device): Promise<Results> {
  const { shape, data } = golden.arrays.get("vae.latent")!;
  const graph = vaeDecoderGraph(parts.configs.vae, shape[0]!, shape[2]!, shape[3]!);
  const program = bandProgram(graph, { bandBytes: DECODE_BAND_BYTES });
  const reader = new TableBlocks("vae", components.get("vae")!.table);
  const results = await runBandProgram(device, reader, program, new Map([["latent", data]]));
  return [["vae.image", results.get("image")!]];
}

async function readGolden(name: ModelName): Promise<Golden> {
  await using source = await openFileSource(fileURLToPath(new URL(`module/${name}.safetensors`, fixtures)));
  const { table, metadata } = await readSafetensorsHeader(source);
  const arrays = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [key, entry] of table) arrays.set(key, { shape: entry.shape, data: await floats(entry) });
  return {
    arrays,
    prompt: metadata.get("prompt")!,
    timestep: Number(metadata.get("timestep")),
    timeIds: JSON.parse(metadata.get("time_ids")!) as number[][],
  };
}

async function floats(entry: TensorEntry): Promise<Float32Array> {
  const bytes = new Uint8Array(entry.endByte - entry.startByte);
  await entry.source.read(entry.startByte, bytes);
  return toFloat32(entry.dtype, bytes);
}

async function scaled(entry: TensorEntry, factor: number): Promise<TensorEntry> {
  const values = Float32Array.from(await floats(entry), (value) => value * factor);
  const source = memorySource(`changed ${entry.name}`, new Uint8Array(values.buffer));
  return { ...entry, dtype: "f32", source, startByte: 0, endByte: source.byteLength };
}

function withTable(checkpoint: SdxlCheckpoint, component: SdxlComponentId, table: TensorTable): SdxlCheckpoint {
  return checkpoint.withWeights(new Map([[component, { table }]]));
}
