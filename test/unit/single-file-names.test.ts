/** @file Names of single files against diffusers' own reading of them: every tensor of SDXL, SSD-1B and Vega, and what it becomes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { JsonConfig } from "../../src/checkpoint/json-config.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { SDXL_BASE_UNET } from "../../src/models/sdxl/base.ts";
import { partsOf } from "../../src/models/sdxl/file-parts.ts";
import { inferredConfig } from "../../src/models/sdxl/inferred-config.ts";
import { unetConfig } from "../../src/models/sdxl/network-config.ts";
import { originalUnetModules } from "../../src/models/sdxl/original-unet.ts";
import { CANONICAL_NAME } from "../../src/models/sdxl/rules.ts";
import { unetSchema } from "../../src/models/sdxl/unet.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { type OriginalName, originalNames } from "../support/single-file.ts";

const NOWHERE = memorySource("file", new Uint8Array(0));

/** As the file's header lists them. */
function storedTable(names: readonly OriginalName[]): Map<string, TensorEntry> {
  const table = new Map<string, TensorEntry>();
  for (const { original, how, shape } of names) {
    const [first, ...rest] = shape as [number, ...number[]];
    const stored =
      how === "conv"
        ? [...shape, 1, 1]
        : how === "transposed"
          ? [...rest, first]
          : how === "same"
            ? shape
            : [3 * first, ...rest];
    const endByte = 100 + 2 * elementCount(stored);
    table.set(original, { name: original, dtype: "f16", shape: stored, source: NOWHERE, startByte: 100, endByte });
  }
  return table;
}

for (const model of ["sdxl", "ssd-1b", "vega", "refiner", "demo"] as const) {
  test(`${model}: each tensor becomes the parameters that diffusers reads from it`, () => {
    const names = originalNames(model);
    const { tables, leftAside, unknown } = partsOf(storedTable(names), "file");
    assert.deepEqual([leftAside, unknown], [[], []]);
    const got = [...tables].flatMap(([folder, table]) =>
      [...table].map(([parameter, { name, shape, startByte, endByte, source }]) => {
        const how =
          source !== NOWHERE
            ? "transposed"
            : startByte > 100
              ? `rows ${(startByte - 100) / (endByte - startByte)}`
              : "first";
        return [folder, name, parameter, how, shape.join("x")].join("\t");
      }),
    );
    const expected = names.map(({ folder, original, parameter, how, shape }) => {
      const place = how === "transposed" || /rows [12]/.test(how) ? how : "first";
      return [folder, original, parameter, place, [...shape, ...(how === "conv" ? [1, 1] : [])].join("x")].join("\t");
    });
    assert.deepEqual(got.sort(), expected.sort());
  });
}

test("a UNet's modules under their original names, as adapters name them: those of the tensors", () => {
  const moduleOf = (name: string) => name.replace(/\.(weight|bias)$/, "");
  for (const model of ["sdxl", "ssd-1b", "vega", "refiner", "demo"] as const) {
    const names = originalNames(model).filter(({ folder }) => folder === "unet");
    const found = originalUnetModules(names.map(({ parameter }) => moduleOf(parameter)));
    const prefix = "model.diffusion_model.";
    const expected = names.map(({ original, parameter }) => {
      assert.ok(original.startsWith(prefix), original);
      return [moduleOf(original.slice(prefix.length)), moduleOf(parameter)] as const;
    });
    assert.deepEqual(new Map([...found].sort()), new Map(expected.toSorted()), model);
  }
  // A level without attention, as SD 1.5's first: what enlarges is the second of its last block.
  const plain = originalUnetModules(["up_blocks.0.resnets.0.conv1", "up_blocks.0.upsamplers.0.conv"]);
  assert.equal(plain.get("output_blocks.0.1.conv"), "up_blocks.0.upsamplers.0.conv");
});

test("older exports' names: the VAE's attention before diffusers 0.18, text encoders of transformers 5", () => {
  const attention = "decoder.mid_block.attentions.0.";
  for (const [older, now] of [
    ["query", "to_q"],
    ["key", "to_k"],
    ["value", "to_v"],
    ["proj_attn", "to_out.0"],
  ] as const) {
    for (const end of ["weight", "bias"]) {
      for (const id of ["vae", "vaeEncoder"] as const)
        assert.equal(CANONICAL_NAME[id](`${attention}${older}.${end}`), `${attention}${now}.${end}`);
    }
  }
  for (const same of [`${attention}to_k.weight`, `${attention}group_norm.bias`, "decoder.conv_in.weight"])
    assert.equal(CANONICAL_NAME.vae(same), same);
  for (const id of ["textEncoder", "textEncoder2", "refiner.textEncoder2"] as const) {
    assert.equal(CANONICAL_NAME[id]("final_layer_norm.weight"), "text_model.final_layer_norm.weight");
    for (const same of ["text_model.embeddings.position_ids", "text_projection.weight"])
      assert.equal(CANONICAL_NAME[id](same), same);
  }
});

for (const model of ["sdxl", "ssd-1b", "vega", "refiner"] as const) {
  test(`${model}: its UNet's config follows from its tensors, and asks for just those`, () => {
    const names = originalNames(model).filter(({ folder }) => folder === "unet");
    const table = partsOf(storedTable(names), "file").tables.get("unet")!;
    const kind = model === "refiner" ? "refiner" : "base";
    const text = inferredConfig("unet", table, kind);
    assert.equal(inferredConfig("unet", table, kind === "base" ? "refiner" : "base"), undefined);
    const config = unetConfig(new JsonConfig("unet/config.json", text!));
    assert.deepEqual(
      [...unetSchema(config)].map(([name, shape]) => `${name} ${shape.join("x")}`).sort(),
      names.map(({ parameter, shape }) => `${parameter} ${shape.join("x")}`).sort(),
    );
    if (model === "sdxl") assert.deepEqual(config, SDXL_BASE_UNET);
  });
}

test("dimensions that shapes don't tell are not guessed", () => {
  const table = partsOf(storedTable(originalNames("demo")), "file").tables;
  for (const folder of ["unet", "vae", "text_encoder", "text_encoder_2"] as const) {
    assert.equal(inferredConfig(folder, table.get(folder)!), undefined);
  }
});

test("a middle that is deeper or flatter than the last level is not taken: diffusers' config has one number for both", () => {
  const names = originalNames("sdxl").filter(({ folder }) => folder === "unet");
  const table = partsOf(storedTable(names), "file").tables.get("unet")!;
  const without = (part: string) => new Map([...table].filter(([name]) => !name.startsWith(part)));
  // Ten transformer blocks each, of which the last is missing in the one or in the other.
  const middle = "mid_block.attentions.0.transformer_blocks.9.";
  assert.equal(inferredConfig("unet", without(middle)), undefined);
  assert.equal(inferredConfig("unet", without("down_blocks.2.attentions.0.transformer_blocks.9.")), undefined);
  // Without any it is a middle of its own kind.
  const { mid_block_type, transformer_layers_per_block } = JSON.parse(
    inferredConfig("unet", without("mid_block.attentions."))!,
  );
  assert.deepEqual([mid_block_type, transformer_layers_per_block], ["UNetMidBlock2D", [1, 2, 10]]);
});
