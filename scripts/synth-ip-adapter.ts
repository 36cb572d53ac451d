/**
 * @file Writes h94/IP-Adapter's layout for SDXL with its true shapes and seeded random fp16 weights (7.4 GB): both image encoders (ViT-H, ViT-bigG), base
 * and Plus adapters. Usage: node scripts/synth-ip-adapter.ts OUT_DIR [--seed N]
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { JsonConfig } from "../src/checkpoint/json-config.ts";
import { CLASS_EMBEDDING, clipVisionConfig, clipVisionSchema } from "../src/models/clip-vision.ts";
import { SDXL_BASE_UNET } from "../src/models/sdxl/base.ts";
import { ipAdapterSchema, type ResamplerConfig } from "../src/models/sdxl/ip-adapter.ts";
import { outAndSeed } from "./synth-sdxl/arguments.ts";
import { RandomTensors, type Schema } from "./synth-sdxl/random-tensors.ts";

const { out, seed } = outAndSeed("synth-ip-adapter.ts");

// The published config.json of both, as far as they say anything.
const COMMON = {
  ...{ architectures: ["CLIPVisionModelWithProjection"], model_type: "clip_vision_model", hidden_act: "gelu" },
  ...{ image_size: 224, patch_size: 14, num_channels: 3, num_attention_heads: 16, layer_norm_eps: 1e-5 },
};
const VIT_H = { ...COMMON, hidden_size: 1280, intermediate_size: 5120, num_hidden_layers: 32, projection_dim: 1024 };
const BIG_G = { ...COMMON, hidden_size: 1664, intermediate_size: 8192, num_hidden_layers: 48, projection_dim: 1280 };
const ENCODERS = { "models/image_encoder": VIT_H, "sdxl_models/image_encoder": BIG_G };
/** Of tencent-ailab/IP-Adapter's Resampler for SDXL. */
const RESAMPLER: ResamplerConfig = { width: 1280, heads: 20, depth: 4, inner: 5120 };
const ADAPTERS = {
  "ip-adapter_sdxl_vit-h": { encoder: VIT_H, tokens: 4 },
  "ip-adapter-plus_sdxl_vit-h": { encoder: VIT_H, tokens: 16, plus: RESAMPLER },
  "ip-adapter_sdxl": { encoder: BIG_G, tokens: 4 },
} as const;

const visionOf = (config: object) => clipVisionConfig(new JsonConfig("config.json", JSON.stringify(config)));

/** As the files have them: the class embedding without an axis of one, the first latents with one. */
function stored(schema: Schema): Schema {
  const shapes = [...schema].map(([name, shape]) => {
    if (name === CLASS_EMBEDDING) return [name, shape.slice(1)] as const;
    return [name, name === "image_proj.latents" ? [1, ...shape] : shape] as const;
  });
  return new Map(shapes);
}

const startedMs = performance.now();
const tensors = new RandomTensors(seed);
let totalBytes = 0;
for (const [folder, config] of Object.entries(ENCODERS)) {
  await mkdir(join(out, folder), { recursive: true });
  await writeFile(join(out, folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  totalBytes += await tensors.write(join(out, folder, "model.safetensors"), stored(clipVisionSchema(visionOf(config))));
}
for (const [name, { encoder, ...adapter }] of Object.entries(ADAPTERS)) {
  const vision = visionOf(encoder);
  const network = { kind: "ip-adapter", side: vision.imageSize, mean: [], deviation: [], vision, ...adapter } as const;
  const schema = stored(ipAdapterSchema(network, SDXL_BASE_UNET));
  totalBytes += await tensors.write(join(out, "sdxl_models", `${name}.safetensors`), schema);
}
console.error(`${(totalBytes / 1e9).toFixed(2)} GB in ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
