/** @file Tensors that a network needs, lacks, or doesn't know: what is left aside with a note, and what is refused. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { compareWithSchema } from "../../src/checkpoint/schema.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import type { TensorTable } from "../../src/container/table.ts";
import { openModelFolder } from "../../src/models/families.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_CLIP_L, SDXL_BASE_UNET, SDXL_BASE_VAE } from "../../src/models/sdxl/base.ts";
import { clipRules, unetRules, vaeDecoderRules } from "../../src/models/sdxl/rules.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import type { Folder } from "../../src/source/folder.ts";
import { memorySource } from "../../src/source/memory.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";

const RULES = {
  unet: unetRules(SDXL_BASE_UNET),
  text_encoder: clipRules("text_encoder", SDXL_BASE_CLIP_L),
  text_encoder_2: clipRules("text_encoder_2", SDXL_BASE_CLIP_BIG_G),
  vae: vaeDecoderRules(SDXL_BASE_VAE),
};

/** All that the network needs, and more tensors. */
function withMore(network: keyof typeof RULES, names: readonly string[]): TensorTable {
  const source = memorySource("x", new Uint8Array(8));
  const entry = (name: string, shape: readonly number[]) =>
    [name, { name, dtype: "f16", shape, source, startByte: 0, endByte: 0 }] as const;
  return new Map([
    ...[...RULES[network].schema].map(([name, shape]) => entry(name, shape)),
    ...names.map((name) => entry(name, [1])),
  ]);
}

for (const [network, name] of [
  ["text_encoder", "logit_scale"],
  ["text_encoder_2", "logit_scale"],
  ["text_encoder", "vision_model.embeddings.class_embedding"],
  ["text_encoder_2", "visual_projection.weight"],
  ["unet", "v_pred"],
  ["unet", "__unused.weight"],
  ["vae", "loss.logvar"],
  ["vae", "model_ema.decay"],
] as const) {
  test(`${network}: ${name} is left aside with a note`, () => {
    const { table, problems, notes } = compareWithSchema(withMore(network, [name]), RULES[network]);
    assert.deepEqual(problems, []);
    assert.deepEqual(notes, [`${network}: 1 tensor that nothing reads is left aside, first "${name}"`]);
    assert.equal(table.size, RULES[network].schema.size);
  });
}

for (const [network, name] of [
  ["text_encoder", "text_model.encoder.layers.12.mlp.fc1.weight"],
  ["text_encoder", "conv_in.weight"],
  ["unet", "text_model.final_layer_norm.bias"],
  ["unet", "down_blocks.2.attentions.2.proj_in.weight"],
  ["unet", "conv_in.weight_scale"],
  ["unet", "conv_in.scale_weight"],
  ["unet", "scaled_fp8"],
  ["unet", "mid_block.attentions.0.proj_in.comfy_quant"],
  ["unet", "mid_block.attentions.0.proj_in.weight.absmax"],
  ["unet", "mid_block.attentions.0.proj_in.weight.quant_state.bitsandbytes__nf4"],
  ["unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"],
  ["vae", "mid_block.attentions.0.to_q_lora.down.weight"],
] as const) {
  test(`${network}: ${name} is a mistake`, () => {
    const { problems } = compareWithSchema(withMore(network, [name]), RULES[network]);
    assert.deepEqual(problems, [`1 tensors are not SDXL's, first "${name}"`]);
  });
}

test("a tensor that is missing stays an error beside one too many", () => {
  const table = new Map(withMore("text_encoder", ["logit_scale"]));
  table.delete("text_model.final_layer_norm.bias");
  assert.deepEqual(compareWithSchema(table, RULES.text_encoder).problems, [
    '1 tensors are missing, first "text_model.final_layer_norm.bias"',
  ]);
});

/** The demo model with more tensors in one file. */
async function demoWith(file: string, names: readonly string[]): Promise<Folder> {
  const path = fileURLToPath(new URL("../../models/demo", import.meta.url));
  const demo = await openFileFolder(path);
  const bytes = Uint8Array.from(readFileSync(`${path}/${file}`));
  const { table } = await readSafetensorsHeader(memorySource(file, bytes));
  const own = [...table.values()].map((entry) => ({ ...entry, bytes: bytes.subarray(entry.startByte, entry.endByte) }));
  const more = names.map((name) => ({ name, dtype: "i64", shape: [], bytes: new Uint8Array(8) }) as const);
  const changed = encodeSafetensors([...own, ...more]);
  return { ...demo, open: async (name) => (name === file ? memorySource(name, changed) : await demo.open(name)) };
}

test("a model with tensors that nothing reads opens, and says so", async () => {
  const folder = await demoWith("text_encoder_2/model.fp16.safetensors", ["logit_scale", "vision_model.x"]);
  await using checkpoint = await openModelFolder(folder);
  assert.deepEqual(checkpoint.notes, [
    'text_encoder_2: 2 tensors that nothing reads are left aside, first "logit_scale", "vision_model.x"',
  ]);
  assert.ok(!checkpoint.components.get("textEncoder2")!.table.has("logit_scale"));
});

test("what is stored otherwise than it is meant is a mistake by any of its parts, in any writing", () => {
  const layer = "mid_block.attentions.0.proj_in";
  const parts = [
    ...["scaled_fp8", "comfy_quant", "scale_weight", "scale_input", "weight_scale", "input_scale", "output_scale"],
    ...["weight_scale_2", "absmax", "quant_map", "quant_state", "qweight", "qzeros", "scales", "g_idx"],
    ...["weight_g", "weight_v", "lora", "dora"],
  ];
  for (const name of parts.flatMap((part) => [part, `${layer}.${part}`, `${layer}.weight_${part}`, `${part}.x`]))
    assert.deepEqual(compareWithSchema(withMore("unet", [name]), RULES.unet).problems, [
      `1 tensors are not SDXL's, first "${name}"`,
    ]);
});

test("two stored tensors that are one parameter are refused, and what is missing is told beside what is wrong", () => {
  const source = memorySource("x", new Uint8Array(8));
  const table = new Map(
    [
      ["a", [2]],
      ["old.a", [2]],
      ["b", [3]],
    ].map(([name, shape]) => {
      const entry = { dtype: "f16" as const, source, startByte: 0, endByte: 0 };
      return [name as string, { ...entry, name: name as string, shape: shape as number[] }];
    }),
  );
  const rules = {
    component: "c",
    schema: new Map(["a", "b", "c"].map((name) => [name, [2]])),
    canonical: (name: string) => name.replace(/^old\./, ""),
    ignored: () => false,
    familiar: () => false,
  };
  assert.deepEqual(compareWithSchema(table, rules).problems, [
    'tensor "old.a": there is another one that is "a" as well',
    'tensor "b": shape [3] expected [2]',
    '1 tensors are missing, first "c"',
  ]);
});

test("a weight of 1x1 is read as a matrix, one of any other width is not", () => {
  const name = "mid_block.attentions.0.to_q.weight";
  const rules = RULES.vae;
  const shape = [...rules.schema].find(([key]) => key.endsWith(name))![1];
  const stored = (ends: readonly number[]) => {
    const whole = new Map(withMore("vae", []));
    const key = [...whole.keys()].find((key) => key.endsWith(name))!;
    whole.set(key, { ...whole.get(key)!, shape: [...shape, ...ends] });
    return compareWithSchema(whole, rules).problems;
  };
  assert.deepEqual(stored([]), []);
  assert.deepEqual(stored([1, 1]), []);
  for (const ends of [[1], [1, 3], [3, 1], [3, 3], [1, 1, 1]])
    assert.deepEqual(
      stored(ends).map((problem) => problem.replace(/^.*: /, "")),
      [`shape [${[...shape, ...ends]}] expected [${shape}]`],
    );
});
