/** @file CLIP vision encoders by themselves: what their shapes tell, by their width what they don't, and what is read beside a text encoder. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import {
  fileTensors,
  isVisionFile,
  visionConfigOf,
  visionTensors,
  visionTitle,
} from "../../src/models/clip-vision-file.ts";
import { memorySource } from "../../src/source/memory.ts";

const NOWHERE = memorySource("file", new Uint8Array(0));
type Shapes = ReadonlyMap<string, readonly number[]>;

function tableOf(shapes: Shapes): TensorTable {
  const entry = (name: string, shape: readonly number[]): TensorEntry => {
    return { name, dtype: "f16", shape, source: NOWHERE, startByte: 0, endByte: 0 };
  };
  return new Map([...shapes].map(([name, shape]) => [name, entry(name, shape)]));
}

/** An image encoder's shapes that tell its configuration. */
const vision = (changed: Readonly<Record<string, readonly number[] | undefined>> = {}): Shapes => {
  const shapes: Readonly<Record<string, readonly number[] | undefined>> = {
    "vision_model.embeddings.class_embedding": [1280],
    "visual_projection.weight": [1024, 1280],
    "vision_model.embeddings.patch_embedding.weight": [1280, 3, 14, 14],
    "vision_model.embeddings.position_embedding.weight": [257, 1280],
    "vision_model.encoder.layers.0.mlp.fc1.weight": [5120, 1280],
    "vision_model.encoder.layers.31.mlp.fc1.weight": [5120, 1280],
    ...changed,
  };
  return new Map(Object.entries(shapes).flatMap(([name, shape]) => (shape ? [[name, shape] as const] : [])));
};

test("an image encoder: what its shapes tell, and by its width what they don't", () => {
  const own = { hiddenSize: 1280, intermediateSize: 5120, layers: 32, imageSize: 224, patchSize: 14 };
  const told = { ...own, projectionDim: 1024, heads: 16, activation: "gelu", eps: 1e-5 };
  assert.deepEqual(visionConfigOf(tableOf(vision())), told);
  const of = (width: number) => visionConfigOf(tableOf(vision({ "vision_model.embeddings.class_embedding": [width] })));
  for (const [width, title, heads, activation] of [
    [768, "ViT-B", 12, "quickGelu"],
    [1024, "ViT-L", 16, "quickGelu"],
    [1280, "ViT-H", 16, "gelu"],
    [1408, "ViT-g", 16, "gelu"],
    [1664, "ViT-bigG", 16, "gelu"],
  ] as const) {
    assert.deepEqual(of(width), { ...told, hiddenSize: width, heads, activation });
    assert.equal(visionTitle({ hiddenSize: width }), title);
  }
  assert.match(of(1281) as string, /1281 wide/);
  for (const changed of [
    { "visual_projection.weight": undefined },
    { "vision_model.embeddings.patch_embedding.weight": undefined },
    { "vision_model.embeddings.position_embedding.weight": [256, 1280] },
    { "vision_model.embeddings.position_embedding.weight": [1, 1280] },
    { "vision_model.embeddings.position_embedding.weight": [2 ** 20 + 1, 1280] },
    { "vision_model.encoder.layers.31.mlp.fc1.weight": undefined },
  ])
    assert.equal(typeof visionConfigOf(tableOf(vision(changed))), "string", Object.keys(changed)[0]);
});

test("an image encoder's tensors: without a text encoder's beside them, from a bare file or a state dict", () => {
  const beside = tableOf(new Map([...vision(), ["text_model.final_layer_norm.weight", [1]], ["logit_scale", []]]));
  assert.deepEqual([...visionTensors(beside)!.keys()], [...vision().keys()]);
  assert.equal(visionTensors(tableOf(vision({ "vision_model.embeddings.class_embedding": undefined }))), undefined);
  const table = tableOf(vision());
  for (const path of ["", "state_dict"]) {
    assert.equal(
      fileTensors(
        new Map([
          ["else", beside],
          [path, table],
        ]),
      ),
      table,
    );
    assert.ok(isVisionFile(new Map([[path, table]])));
  }
  assert.equal(fileTensors(new Map([["else", table]])).size, 0);
  assert.equal(isVisionFile(new Map([["", tableOf(vision({ "visual_projection.weight": undefined }))]])), false);
  // OpenCLIP's projection is stored transposed; what nobody knows keeps its name.
  const open = new Map([
    ["visual.class_embedding", [1280]],
    ["visual.proj", [1280, 1024]],
    ["visual.nobody", [3]],
  ]);
  assert.deepEqual(
    [...visionTensors(tableOf(open))!].map(([name, { shape }]) => [name, shape]),
    [
      ["vision_model.embeddings.class_embedding", [1280]],
      ["visual_projection.weight", [1024, 1280]],
      ["visual.nobody", [3]],
    ],
  );
});
