/**
 * @file Writes a diffusers folder with SDXL base 1.0's true shapes and seeded random fp16 weights (6.9 GB): real size
 * without anybody's weights. Usage: node scripts/synth-sdxl.ts OUT_DIR [--seed N]
 */
import { type FileHandle, mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { vaeDecoderSchema, vaeEncoderSchema } from "../src/models/autoencoder.ts";
import { clipSchema } from "../src/models/clip.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_CLIP_L, SDXL_BASE_UNET, SDXL_BASE_VAE } from "../src/models/sdxl/base.ts";
import { SDXL_BASE_FILES } from "../src/models/sdxl/base-files.ts";
import { unetSchema } from "../src/models/sdxl/unet.ts";
import { elementCount, numberToF16 } from "../src/tensor/dtype.ts";
import { safetensorsFront } from "./synth-sdxl/safetensors-front.ts";
import { tokenizerFiles } from "./synth-sdxl/tokenizer.ts";
import { uniforms } from "./synth-sdxl/uniforms.ts";

type Schema = ReadonlyMap<string, readonly number[]>;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: "string", default: "0" } },
});
const out = positionals[0];
const seed = Number(values.seed);
if (out === undefined || !Number.isSafeInteger(seed)) {
  console.error("Usage: node scripts/synth-sdxl.ts OUT_DIR [--seed N]");
  process.exit(2);
}

/** Unit normals to cut tensors from: long enough that no two tensors start alike. */
const POOL_ELEMENTS = 2 ** 22;
const WRITE_ELEMENTS = 2 ** 20;

function normals(): Float32Array {
  const next = uniforms(seed);
  const pool = new Float32Array(POOL_ELEMENTS);
  for (let i = 0; i < pool.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    const angle = 2 * Math.PI * next();
    pool[i] = radius * Math.cos(angle);
    pool[i + 1] = radius * Math.sin(angle);
  }
  return pool;
}

const pool = normals();
const offsets = uniforms(seed + 1);

/** Mean and spread that keep activations finite through 70 transformer blocks: norms near 1, residual branches small. */
function statistics(name: string, shape: readonly number[]): { mean: number; spread: number } {
  if (shape.length === 1) return /norm.*\.weight$/.test(name) ? { mean: 1, spread: 0.05 } : { mean: 0, spread: 0.02 };
  if (/embedding\.weight$/.test(name)) return { mean: 0, spread: 0.02 };
  const fanIn = elementCount(shape) / shape[0]!;
  const residual = /(to_out\.0|net\.2|conv2|proj_out|out_proj|fc2)\.weight$/.test(name);
  return { mean: 0, spread: (residual ? 0.3 : 0.9) / Math.sqrt(fanIn) };
}

async function writeTensors(file: string, schema: Schema): Promise<number> {
  const tensors = Array.from(schema, ([name, shape]) => ({ name, dtype: "f16" as const, shape }));
  const { front, dataBytes } = safetensorsFront(tensors, { format: "pt" });
  await using handle = await open(file, "w");
  await handle.write(front);
  for (const [name, shape] of schema) await writeTensor(handle, name, shape);
  return front.length + dataBytes;
}

/** One pass over the pool a tensor: scaled and rounded once, then written from a random offset, again and again. */
async function writeTensor(handle: FileHandle, name: string, shape: readonly number[]): Promise<void> {
  const { mean, spread } = statistics(name, shape);
  const count = elementCount(shape);
  const first = Math.floor(offsets() * POOL_ELEMENTS);
  const block = new Uint16Array(Math.min(count, POOL_ELEMENTS));
  for (let i = 0; i < block.length; i++) block[i] = numberToF16(mean + spread * pool[(first + i) % POOL_ELEMENTS]!);
  for (let done = 0; done < count; ) {
    // Each round is shifted by a prime, so that rows of a matrix don't repeat.
    const from = (done * 7919) % block.length;
    const length = Math.min(count - done, block.length - from, WRITE_ELEMENTS);
    await handle.write(new Uint8Array(block.buffer, from * 2, length * 2));
    done += length;
  }
}

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
let totalBytes = 0;
for (const [file, schema] of files) totalBytes += await writeTensors(join(out, file), schema);
console.error(`${(totalBytes / 1e9).toFixed(2)} GB in ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
