/**
 * @file Image encoders as single files, by transformers' names and by OpenCLIP's, against transformers in fp32 on the same weights
 * (scripts/golden/image_encoder_golden.py); which files are taken for them, and what others are refused with.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { clipVisionGraph, clipVisionSchema, type VisionOutput } from "../../src/models/clip-vision.ts";
import { visionConfigOf, visionTensors, visionWords } from "../../src/models/clip-vision-file.ts";
import { imageEncoderAt } from "../../src/models/sdxl/image-encoder.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { imagePromptNames, imagePromptsIn } from "../../src/node/image-prompt-files.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import { elementCount, numberToF16 } from "../../src/tensor/dtype.ts";
import { runGraph } from "../graph-run.ts";
import { encodeSafetensors, type SafetensorsTensor } from "../safetensors-writer.ts";
import { searched } from "../support/thorough.ts";

interface Golden {
  readonly name: string;
  readonly image_size: number;
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly embeds: readonly number[];
  /** [T, first channels] of the states before the last layer. */
  readonly hidden: readonly (readonly number[])[];
}

const FIXTURE = fileURLToPath(new URL("../../fixtures/image-encoders/golden.json", import.meta.url));
const goldens = JSON.parse(readFileSync(FIXTURE, "utf8")) as readonly Golden[];
const folder = mkdtempSync(path.join(tmpdir(), "solvay-encoders-"));

/** The script's: a prime, so that no row of a weight begins as another one. */
const PERIOD = 65_521;

/** Whole numbers from -1024 to 1023, as the script draws them again and again. */
function whole(name: string): Float32Array {
  const start = crc32(name);
  return Float32Array.from({ length: PERIOD }, (_, i) => {
    let h = (Math.imul(i, 2654435761) + start) | 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return ((h >>> 16) & 2047) - 1024;
  });
}

/** fp16. */
function drawn(name: string, shape: readonly number[]): Uint16Array<ArrayBuffer> {
  const isScale = name.includes("norm") && name.endsWith("weight");
  const isRow = name.includes("embedding") && !name.includes("patch");
  const numberOf = (n: number) => (isScale ? 1 + (n >> 5) / 128 : n / (isRow ? 1024 : 16384));
  const piece = Uint16Array.from(whole(name), (n) => numberToF16(numberOf(n)));
  const all = new Uint16Array(elementCount(shape));
  for (let at = 0; at < all.length; at += PERIOD) all.set(piece.subarray(0, all.length - at), at);
  return all;
}

function stored(name: string, shape: readonly number[], ...values: readonly Uint16Array[]): SafetensorsTensor {
  const bytes = Buffer.concat(values.map(({ buffer, byteLength }) => Buffer.from(buffer, 0, byteLength)));
  return { name, dtype: "f16", shape, bytes };
}

function zeros(name: string, shape: readonly number[]): SafetensorsTensor {
  return stored(name, shape, new Uint16Array(elementCount(shape)));
}

function plainLayout({ shapes }: Golden): SafetensorsTensor[] {
  return Object.entries(shapes).map(([name, shape]) => stored(name, shape, drawn(name, shape)));
}

/** OpenCLIP's names; q, k and v in one, the projection transposed. */
function openClip({ shapes }: Golden): SafetensorsTensor[] {
  const names: Readonly<Record<string, string>> = {
    ...{ class_embedding: "embeddings.class_embedding", positional_embedding: "embeddings.position_embedding.weight" },
    ...{ "conv1.weight": "embeddings.patch_embedding.weight", ln_pre: "pre_layrnorm", ln_post: "post_layernorm" },
    ...{ ln_1: "layer_norm1", ln_2: "layer_norm2", "attn.out_proj": "self_attn.out_proj" },
    ...{ "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2" },
  };
  const values = (name: string) => drawn(name, shapes[name]!);
  return Object.entries(shapes).flatMap(([name, shape]): SafetensorsTensor[] => {
    if (name === "visual_projection.weight") {
      const [rows, columns] = shape as [number, number];
      const own = values(name);
      const across = Uint16Array.from(own, (_, at) => own[(at % rows) * columns + Math.floor(at / rows)]!);
      return [stored("visual.proj", [columns, rows], across)];
    }
    const inner = name.replace("vision_model.", "").replace("encoder.layers", "transformer.resblocks");
    const [, at, parameter] = /^(.*)self_attn\.q_proj\.(.*)$/.exec(inner) ?? [];
    if (parameter !== undefined) {
      const all = ["q", "k", "v"].map((part) => values(name.replace("q_proj", `${part}_proj`)));
      return [stored(`visual.${at}attn.in_proj_${parameter}`, [3 * shape[0]!, ...shape.slice(1)], ...all)];
    }
    if (/self_attn\.[kv]_proj/.test(inner)) return [];
    const [open, ours] = Object.entries(names).find(([, each]) => inner.includes(each))!;
    return [stored(`visual.${inner.replace(ours, open)}`, shape, values(name))];
  });
}

/** As whole CLIPs have them. */
const BESIDE = [zeros("logit_scale", [1]), zeros("text_model.final_layer_norm.bias", [2])];
const BESIDE_OPEN = [zeros("token_embedding.weight", [2, 2]), zeros("transformer.resblocks.0.ln_1.bias", [2])];

/** Pictures of the difference are in fp32 on both sides; any one tensor in another's place does more. */
const TOLERANCE = 5e-5;

const LAYOUTS = {
  transformers: (golden: Golden) => [...BESIDE, ...plainLayout(golden)],
  OpenCLIP: (golden: Golden) => [...openClip(golden), ...BESIDE_OPEN],
};
const all = goldens.flatMap((golden) => (["transformers", "OpenCLIP"] as const).map((layout) => ({ golden, layout })));
/** Each width in one of them, unless all is searched. */
const tried = searched([all[0]!, all[3]!], all);

for (const { golden, layout } of tried) {
  test(`a single file of ${golden.name}'s width in the layout of ${layout} gives what transformers gives`, async () => {
    await using device = new HostDevice(createReferenceBackend());
    const { image_size: side } = golden;
    const pixels = whole("pixels")
      .slice(0, 3 * side * side)
      .map((value) => value / 512);
    const file = path.join(folder, `${golden.name}_${layout}.safetensors`);
    writeFileSync(file, encodeSafetensors(LAYOUTS[layout](golden)));
    await using source = await openFileSource(file);
    await using sources = new AsyncDisposableStack();
    const { vision, open } = await imageEncoderAt({ kind: "file", path: file, file: source }, { sources });
    const { table } = await open();
    const inputs = new Map<string, Float32Array | Int32Array>([
      ["pixels", pixels],
      ["whole", Int32Array.of(0)],
      ["positions", Int32Array.from({ length: golden.hidden.length }, (_, i) => i)],
    ]);
    const run = async (output: VisionOutput) => {
      const graph = clipVisionGraph(vision, output);
      return (await runGraph(device, new TableBlocks("any", table), graph, inputs as never)).get(output)!;
    };
    const embeds = await run("embeds");
    const hidden = await run("hidden");
    const width = hidden.length / golden.hidden.length;
    const kept = golden.hidden.flatMap((row, t) => row.map((_, c) => hidden[t * width + c]!));
    for (const [found, wanted, what] of [
      [[...embeds], golden.embeds, "embeds"],
      [kept, golden.hidden.flat(), "hidden"],
    ] as const) {
      const largest = Math.max(...wanted.map(Math.abs));
      const error = Math.max(...wanted.map((value, i) => Math.abs(value - found[i]!))) / largest;
      assert.ok(error <= TOLERANCE, `${what} of ${layout}: ${error} of the largest`);
    }
  });
}

/** A published encoder's tensors, by shapes alone. */
function published([hiddenSize, layers, intermediateSize, projectionDim]: readonly [number, number, number, number]) {
  const own = { hiddenSize, layers, intermediateSize, projectionDim, imageSize: 224, patchSize: 14 };
  const heads = { heads: 16, activation: "gelu", eps: 1e-5 } as const;
  const shapes = clipVisionSchema({ ...own, ...heads });
  const entries = [...shapes].map(([name, shape]) => [name, { name, shape } as unknown as TensorEntry] as const);
  return { own: { ...own, ...heads }, table: new Map(entries) };
}

test("published encoders are known by their shapes, and told to who inspects them", () => {
  // laion's ViT-H/14 and ViT-bigG/14, OpenAI's ViT-L/14: their config.json.
  for (const [title, activation, ...shape] of [
    ["ViT-H", "gelu", 1280, 32, 5120, 1024],
    ["ViT-bigG", "gelu", 1664, 48, 8192, 1280],
    ["ViT-L", "quickGelu", 1024, 24, 4096, 768],
  ] as const) {
    const { own, table } = published(shape);
    assert.deepEqual(visionConfigOf(visionTensors(table)!), { ...own, activation });
    const words = `a CLIP vision encoder, ${title} of ${shape[1]} layers (it gives ${shape[3]} channels of a picture of 224x224, or`;
    assert.ok(visionWords(table.values())!.startsWith(words), visionWords(table.values()));
  }
});

test("files of a folder are adapters or encoders by what they hold; others are refused by what they are", async () => {
  const dir = path.join(folder, "dir");
  mkdirSync(dir);
  const write = (name: string, tensors: readonly SafetensorsTensor[]) => {
    const file = path.join(dir, `${name}.safetensors`);
    writeFileSync(file, encodeSafetensors(tensors));
    return file;
  };
  const start = [zeros("vision_model.embeddings.class_embedding", [768]), zeros("visual_projection.weight", [8, 768])];
  const more = [
    zeros("vision_model.embeddings.position_embedding.weight", [5, 768]),
    zeros("vision_model.embeddings.patch_embedding.weight", [768, 3, 2, 2]),
    zeros("vision_model.encoder.layers.1.mlp.fc1.bias", [4]),
  ];
  write("an_adapter", [zeros("image_proj.proj.weight", [2, 2])]);
  const part = write("clip_vision_b", [...start, ...more]);
  const cases: readonly (readonly [file: string, words: RegExp])[] = [
    [part, /E_SCHEMA .*mlp\.fc1\.bias": shape \[4\] expected/],
    [
      write("text", [zeros("text_model.final_layer_norm.bias", [2])]),
      /E_IP_ADAPTER .*it is a text encoder by itself\. Next/,
    ],
    [
      write("siglip", [zeros("vision_model.head.probe", [1, 1, 2])]),
      /it is a SigLIP encoder, and IP-Adapters for SDXL/,
    ],
    [write("narrow", [zeros("visual.class_embedding", [24])]), /it is 24 wide, as none of the encoders whose heads/],
    [write("coca", [...start, ...more, zeros("visual.attn_pool.query", [2])]), /E_SCHEMA/],
    [write("headless", [start[0]!, ...more]), /it has no visual_projection\.weight/],
    [write("crooked", [...start, zeros("vision_model.embeddings.position_embedding.weight", [7, 768])]), /7 positions/],
    [write("lora", [zeros("lora_unet_a.lora_up.weight", [2, 2])]), /it is a LoRA or another adapter\. Next/],
  ];
  for (const [file, words] of cases) {
    await using source = await openFileSource(file);
    await using sources = new AsyncDisposableStack();
    const opened = async () =>
      await (await imageEncoderAt({ kind: "file", path: file, file: source }, { sources })).open();
    await assert.rejects(opened(), words, file);
  }
  const { adapters, encoders } = imagePromptNames(await imagePromptsIn(dir));
  assert.deepEqual(encoders, ["clip_vision_b", "coca"]);
  assert.deepEqual(adapters, ["an_adapter", "lora", "text"]);
});
