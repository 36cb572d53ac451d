/** @file Which small network a file holds, by its tensors' names and shapes: decoders for previews, upscalers, image encoders; what is refused. */
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
import { type TinyDecoderConfig, tinyDecoderSchema } from "../../src/models/tiny-decoder.ts";
import { recogniseTinyDecoder } from "../../src/models/tiny-decoder-file.ts";
import { type UpscalerConfig, upscalerSchema } from "../../src/models/upscaler.ts";
import { recogniseUpscaler } from "../../src/models/upscaler-file.ts";
import { memorySource } from "../../src/source/memory.ts";

const NOWHERE = memorySource("file", new Uint8Array(0));
type Shapes = ReadonlyMap<string, readonly number[]>;

function tableOf(
  shapes: Shapes,
  change: (entry: TensorEntry) => TensorEntry | undefined = (entry) => entry,
): TensorTable {
  const entries = [...shapes].flatMap(([name, shape]) => {
    const changed = change({ name, dtype: "f16", shape, source: NOWHERE, startByte: 0, endByte: 0 });
    return changed ? [changed] : [];
  });
  return new Map(entries.map((entry) => [entry.name, entry]));
}

/** Files that are one tensor away from a sound one, each with what is said of it. `last`: a tensor that no table is told by. */
function* spoilt(shapes: Shapes, last: string): Generator<readonly [TensorTable, RegExp]> {
  const only = (change: (entry: TensorEntry) => TensorEntry | undefined) =>
    tableOf(shapes, (entry) => (entry.name === last ? change(entry) : entry));
  yield [only(() => undefined), /missing/];
  yield [only((entry) => ({ ...entry, shape: [...entry.shape, 1] })), /another shape/];
  yield [only((entry) => ({ ...entry, shape: entry.shape.with(0, entry.shape[0]! + 1) })), /another shape/];
  for (const dtype of ["f64", "i8", "u8", "bool"] as const)
    yield [only((entry) => ({ ...entry, dtype })), new RegExp(dtype)];
  yield [tableOf(new Map(shapes).set("more.weight", [1])), /more\.weight/];
}

const TINY: TinyDecoderConfig = { latentChannels: 4, channels: 8, blocks: [2, 1, 3, 1] };

test("a tiny autoencoder's decoder: by diffusers' names and the author's numbers, with as many blocks a level as there are", () => {
  const schema = tinyDecoderSchema(TINY);
  const renamed = (rename: (name: string) => string) =>
    new Map([...schema].map(([name, shape]) => [rename(name), shape]));
  const number = (name: string) => name.replace(/^layers\.(\d+)/, (_, layer) => String(Number(layer) + 1));
  const layouts = [
    renamed((name) => `decoder.${name}`),
    renamed(number),
    renamed((name) => `taesd_decoder.${number(name)}`),
    renamed((name) => `decoder.${number(name)}`),
  ];
  for (const shapes of layouts) {
    for (const dtype of ["f32", "f16", "bf16"] as const) {
      const { config, table } = recogniseTinyDecoder(
        tableOf(shapes, (entry) => ({ ...entry, dtype })),
        "f",
      );
      assert.deepEqual(config, TINY);
      assert.deepEqual([...table.keys()].toSorted(), [...schema.keys()].toSorted());
    }
  }
  // Its encoder is passed over, whatever it holds.
  const whole = new Map(layouts[0]).set("encoder.layers.0.weight", [1]);
  assert.equal(recogniseTinyDecoder(tableOf(whole), "f").table.size, schema.size);
  const refuses = (table: TensorTable, message: RegExp) =>
    assert.throws(() => recogniseTinyDecoder(table, "f"), { code: "E_PREVIEWER", message });
  const last = [...schema.keys()].findLast((name) => name.endsWith(".bias"))!;
  for (const [table, message] of spoilt(layouts[0]!, `decoder.${last}`))
    if (!/more/.test(message.source)) refuses(table, message);
  refuses(tableOf(new Map(layouts[0]).set("decoder.layers.99.bias", [1])), /layers\.99\.bias" too many/);
  const wide = (first: readonly number[]) => tableOf(new Map(layouts[0]).set("decoder.layers.0.weight", first));
  refuses(wide([513, 4, 3, 3]), /too wide \(found 513 and 4, allowed 512\)/);
  refuses(wide([8, 513, 3, 3]), /too wide/);
  refuses(wide([8, 4]), /./);
  refuses(tableOf(new Map([["x.lora_A.weight", [1]]])), /a LoRA/);
  const levels = [...layouts[0]!].filter(([name]) => Number(/layers\.(\d+)/.exec(name)?.[1]) < 6);
  refuses(tableOf(new Map(levels)), /levels \(expected 4\)/);
});

const UPSCALERS: readonly UpscalerConfig[] = [
  { kind: "RRDBNet", scale: 4, fold: 1, features: 8, growth: 4, blocks: 2, doublings: 2 },
  { kind: "RRDBNet", scale: 2, fold: 2, features: 8, growth: 4, blocks: 1, doublings: 2 },
  { kind: "RRDBNet", scale: 1, fold: 4, features: 6, growth: 3, blocks: 3, doublings: 2 },
  { kind: "RRDBNet", scale: 8, fold: 1, features: 8, growth: 4, blocks: 1, doublings: 3 },
  { kind: "SRVGGNetCompact", scale: 3, fold: 1, features: 8, layers: 4 },
  { kind: "SRVGGNetCompact", scale: 1, fold: 1, features: 5, layers: 1 },
];

test("an upscaler: each of its sizes from its shapes, and nothing that doesn't fit them", () => {
  for (const config of UPSCALERS) {
    const schema = upscalerSchema(config);
    assert.deepEqual(recogniseUpscaler(new Map([["", tableOf(schema)]]), "f").config, config);
    const module = (entry: TensorEntry) => ({ ...entry, name: `module.${entry.name}` });
    assert.deepEqual(recogniseUpscaler(new Map([["params", tableOf(schema, module)]]), "f").config, config);
    const last = config.kind === "RRDBNet" ? "body.0.rdb3.conv2.bias" : "body.1.weight";
    for (const [table, message] of spoilt(schema, last)) {
      // A compact network's activations tell what it is.
      const isTold = config.kind === "SRVGGNetCompact" && /missing|another/.test(message.source);
      const told = { code: "E_UPSCALER", message: isTold ? /./ : message };
      assert.throws(() => recogniseUpscaler(new Map([["", table]]), "f"), told);
    }
  }
});

test("of several tables BasicSR's choice is taken: averaged weights first", () => {
  const [first] = UPSCALERS;
  const named = (features: number) => tableOf(upscalerSchema({ ...first!, features } as UpscalerConfig));
  const order = ["params_ema", "params", "state_dict", "model", "model_state_dict", ""];
  const tables = new Map(order.toReversed().map((path) => [path, named(4 + order.indexOf(path))]));
  for (const [i, path] of order.entries()) {
    const { config } = recogniseUpscaler(tables, "f");
    assert.equal(config.features, 4 + i, path);
    tables.delete(path);
  }
  assert.throws(() => recogniseUpscaler(tables, "f"), { code: "E_UPSCALER", message: /holds no tensors/ });
  assert.equal(recogniseUpscaler(new Map([["another", named(7)]]), "f").config.features, 7);
});

test("an upscaler of sizes that no known one has is refused before anything is built for it", () => {
  const rrdb = (change: object, first?: readonly number[]) => {
    const shapes = new Map(upscalerSchema({ ...UPSCALERS[0]!, ...change } as UpscalerConfig));
    if (first) shapes.set("conv_first.weight", first);
    return () => recogniseUpscaler(new Map([["", tableOf(shapes)]]), "f");
  };
  assert.equal(rrdb({ blocks: 64, features: 2, growth: 1 })().config.kind, "RRDBNet");
  for (const wrong of [
    rrdb({ blocks: 65, features: 2, growth: 1 }),
    rrdb({}, [513, 3, 3, 3]),
    rrdb({ growth: 513 }),
    rrdb({ doublings: 4 }),
    rrdb({}, [8, 27, 3, 3]),
    rrdb({}, [8, 6, 3, 3]),
    // Half the size.
    rrdb({ doublings: 1 }, [8, 48, 3, 3]),
  ])
    assert.throws(wrong, { code: "E_UPSCALER", message: /sizes that no known one has/ });
  const compact = (change: object) => () =>
    recogniseUpscaler(new Map([["", tableOf(upscalerSchema({ ...UPSCALERS[4]!, ...change } as UpscalerConfig))]]), "f");
  for (const wrong of [compact({ scale: 5 }), compact({ features: 513 }), compact({ layers: 200, features: 1 })])
    assert.throws(wrong, { code: "E_UPSCALER", message: /neither RRDBNet \(ESRGAN\) nor SRVGGNetCompact/ });
});

/** An image encoder's shapes that tell its configuration. */
const vision = (changed: Readonly<Record<string, readonly number[] | undefined>> = {}): Shapes =>
  new Map(
    Object.entries({
      "vision_model.embeddings.class_embedding": [1280],
      "visual_projection.weight": [1024, 1280],
      "vision_model.embeddings.patch_embedding.weight": [1280, 3, 14, 14],
      "vision_model.embeddings.position_embedding.weight": [257, 1280],
      "vision_model.encoder.layers.0.mlp.fc1.weight": [5120, 1280],
      "vision_model.encoder.layers.31.mlp.fc1.weight": [5120, 1280],
      ...changed,
    }).filter((pair): pair is [string, readonly number[]] => pair[1] !== undefined),
  );

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
