/** @file Folders of image encoders: of two files the fp16 one, what pictures' colours are measured by, what of the configs is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clipVisionSchema } from "../../src/models/clip-vision.ts";
import { imageEncoderAt } from "../../src/models/sdxl/image-encoder.ts";
import type { Folder } from "../../src/source/folder.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";

const CONFIG = {
  ...{ hidden_act: "gelu", hidden_size: 8, num_attention_heads: 2, intermediate_size: 16, num_hidden_layers: 2 },
  ...{ image_size: 6, patch_size: 3, projection_dim: 5 },
};
const VISION = {
  ...{ hiddenSize: 8, heads: 2, intermediateSize: 16, layers: 2, imageSize: 6, patchSize: 3, projectionDim: 5 },
  ...({ activation: "gelu", eps: 1e-5 } as const),
};

async function encoderWith({ config = {}, colours }: { readonly config?: object; readonly colours?: object } = {}) {
  const texts = new Map([["config.json", JSON.stringify({ ...CONFIG, ...config })]]);
  if (colours) texts.set("preprocessor_config.json", JSON.stringify(colours));
  const tensors = [...clipVisionSchema(VISION)].map(([name, shape]) => {
    // Stored as a vector, read as a table of one row.
    const stored = name.endsWith("class_embedding") ? shape.slice(1) : shape;
    return { name, dtype: "f16", shape: stored, bytes: new Uint8Array(2 * elementCount(shape)) } as const;
  });
  const files = new Map([
    ["model.safetensors", memorySource("model", encodeSafetensors(tensors.slice(1)))],
    ["model.fp16.safetensors", memorySource("half", encodeSafetensors(tensors))],
  ]);
  const folder: Folder = {
    name: "image_encoder",
    readText: async (path) => texts.get(path),
    open: async (path) => files.get(path),
  };
  await using sources = new AsyncDisposableStack();
  const found = await imageEncoderAt({ kind: "folder", folder }, { sources, signal: undefined });
  return { vision: found.vision, ...(await found.open()) };
}

test("each field goes to its place, silence stands for transformers' defaults, the fp16 file is the one that is read", async () => {
  const { vision, table } = await encoderWith();
  assert.deepEqual(vision, VISION);
  const names = [...table.values()].map(({ shape, source }) => [shape.join(), source.name]);
  assert.deepEqual(new Set(names.map(([, name]) => name)), new Set(["half"]));
  assert.deepEqual(
    [...table].map(([name, { shape }]) => [name, shape.join()]).sort(),
    [...clipVisionSchema(VISION)].map(([name, shape]) => [name, shape.join()]).sort(),
  );
});

test("colours are measured as the folder's preprocessor says, each by itself; where it says nothing, as OpenAI's CLIP", async () => {
  const [mean, deviation] = [
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
  ];
  const of = async (colours?: object) => {
    const found = await encoderWith({ ...(colours && { colours }) });
    return [found.mean, found.deviation];
  };
  assert.deepEqual(await of(), [mean, deviation]);
  assert.deepEqual(await of({}), [mean, deviation]);
  assert.deepEqual(await of({ image_mean: [0, 0.5, 1] }), [[0, 0.5, 1], deviation]);
  assert.deepEqual(await of({ image_std: [0.5, 0.25, 1] }), [mean, [0.5, 0.25, 1]]);
  for (const bad of [[], [1, 1], [1, 1, 1, 1]]) {
    for (const field of ["image_mean", "image_std"])
      await assert.rejects(of({ [field]: bad }), new RegExp(`E_CONFIG .*field "${field}"`));
  }
  for (const bad of [0, -1]) await assert.rejects(of({ image_std: [1, bad, 1] }), /E_CONFIG .*field "image_std"/);
});

test("E_CONFIG: encoders that would be computed wrongly", async () => {
  for (const [field, value] of Object.entries({
    ...{ hidden_act: "relu", num_channels: 4, num_attention_heads: 3, num_hidden_layers: 1, image_size: 2049 },
    ...{ hidden_size: 0, patch_size: 0, projection_dim: 0, intermediate_size: undefined },
  })) {
    await assert.rejects(encoderWith({ config: { [field]: value } }), new RegExp(`E_CONFIG .*field "${field}"`));
  }
});
