/**
 * @file Writes a diffusers folder with SDXL base 1.0's true shapes and seeded random fp16 weights (6.9 GB): real size
 * without anybody's weights. Usage: node scripts/synth-sdxl.ts OUT_DIR [--seed N]
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { vaeDecoderSchema, vaeEncoderSchema } from "../src/models/autoencoder.ts";
import { clipSchema } from "../src/models/clip.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_CLIP_L, SDXL_BASE_UNET, SDXL_BASE_VAE } from "../src/models/sdxl/base.ts";
import { SDXL_BASE_FILES } from "../src/models/sdxl/base-files.ts";
import { unetSchema } from "../src/models/sdxl/unet.ts";
import { outAndSeed } from "./synth-sdxl/arguments.ts";
import { RandomTensors, type Schema } from "./synth-sdxl/random-tensors.ts";
import { tokenizerFiles } from "./synth-sdxl/tokenizer.ts";

const { out, seed } = outAndSeed("synth-sdxl.ts");

const startedMs = performance.now();
for (const [file, content] of [...Object.entries(SDXL_BASE_FILES), ...tokenizerFiles()]) {
  const path = join(out, file);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, typeof content === "string" ? content : `${JSON.stringify(content, null, 2)}\n`);
}
const files: readonly (readonly [string, Schema])[] = [
  ["unet/diffusion_pytorch_model.fp16.safetensors", unetSchema(SDXL_BASE_UNET)],
  ["text_encoder/model.fp16.safetensors", clipSchema(SDXL_BASE_CLIP_L, false)],
  ["text_encoder_2/model.fp16.safetensors", clipSchema(SDXL_BASE_CLIP_BIG_G, true)],
  [
    "vae/diffusion_pytorch_model.fp16.safetensors",
    new Map([...vaeEncoderSchema(SDXL_BASE_VAE), ...vaeDecoderSchema(SDXL_BASE_VAE)]),
  ],
];
const tensors = new RandomTensors(seed);
let totalBytes = 0;
for (const [file, schema] of files) totalBytes += await tensors.write(join(out, file), schema);
console.error(`${(totalBytes / 1e9).toFixed(2)} GB in ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
