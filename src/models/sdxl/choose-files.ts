/**
 * @file Which files of a repository make up an SDXL diffusers folder, in the order in which checkpoint/sdxl-folder.ts looks for them:
 * fp16 weights before plain ones, a single file before shards. Pickles, ONNX and Flax weights are never wanted.
 */
import { ArtifactError } from "../errors.ts";

/** auto: fp16 where there is one, else plain; fp16, none: only that. */
export type Variant = "auto" | "fp16" | "none";

export interface SdxlFiles {
  /** Everything but shards. */
  readonly files: readonly string[];
  /** Those of `files` that name shards to come. */
  readonly shardIndexes: readonly string[];
}

export const MODEL_INDEX = "model_index.json";

const CONFIGS = [
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "text_encoder_2/config.json",
  "unet/config.json",
  "vae/config.json",
];
const TOKENIZER_FILES = [
  "vocab.json",
  "merges.txt",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
];
const WEIGHTS = [
  ["text_encoder", "model"],
  ["text_encoder_2", "model"],
  ["vae", "diffusion_pytorch_model"],
  ["unet", "diffusion_pytorch_model"],
] as const;

/** Small files first, so that a model that does not fit is found out early. Throws ArtifactError `E_NOT_DIFFUSERS` or `E_MISSING`. */
export function chooseSdxlFiles(has: (name: string) => boolean, model: string, variant: Variant): SdxlFiles {
  if (!has(MODEL_INDEX)) {
    throw new ArtifactError({
      code: "E_NOT_DIFFUSERS",
      subject: model,
      problem: `no ${MODEL_INDEX} in it, so it is no diffusers folder`,
      next: "name a repository with the model in diffusers layout (folders unet, vae, text_encoder, ...)",
    });
  }
  const files = [MODEL_INDEX, ...CONFIGS];
  for (const file of CONFIGS) if (!has(file)) throw missing(model, file);
  for (const folder of ["tokenizer", "tokenizer_2"]) {
    const there = TOKENIZER_FILES.filter((file) => has(`${folder}/${file}`));
    const pair = there.includes("vocab.json") && there.includes("merges.txt");
    if (!pair && !there.includes("tokenizer.json")) {
      throw missing(model, `${folder}/vocab.json and merges.txt (or tokenizer.json)`);
    }
    files.push(...there.map((file) => `${folder}/${file}`));
  }
  const chosen = WEIGHTS.map(([folder, stem]) => weightsOf(has, model, folder, stem, variant));
  const shardIndexes = chosen.filter((file) => file.endsWith(".json"));
  return { files: [...files, ...shardIndexes, ...chosen.filter((file) => !file.endsWith(".json"))], shardIndexes };
}

const INFIXES = { auto: [".fp16", ""], fp16: [".fp16"], none: [""] } as const;

function weightsOf(has: (name: string) => boolean, model: string, folder: string, stem: string, variant: Variant) {
  for (const infix of INFIXES[variant]) {
    for (const file of [`${stem}${infix}.safetensors`, `${stem}.safetensors.index${infix}.json`]) {
      if (has(`${folder}/${file}`)) return `${folder}/${file}`;
    }
  }
  const wanted = variant === "none" ? `${stem}.safetensors` : `${stem}.fp16.safetensors`;
  const other = variant === "auto" ? ` (or ${stem}.safetensors)` : "";
  throw missing(
    model,
    `${folder}/${wanted}${other}`,
    variant === "auto" ? undefined : "leave --variant away to take what there is",
  );
}

/** As in checkpoint/sharded.ts: a plain file name beside its index. */
const SHARD_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors$/;

/** The shards an index names, as paths in the repository. Throws ArtifactError `E_SHARD_INDEX` or `E_MISSING`. */
export function shardsOf(
  indexFile: string,
  text: string,
  has: (name: string) => boolean,
  model: string,
): readonly string[] {
  const refuse = (problem: string, cause?: unknown) =>
    new ArtifactError({
      code: "E_SHARD_INDEX",
      subject: `${model}/${indexFile}`,
      problem,
      next: "use another model or revision: this one is broken",
      cause,
    });
  let map: unknown;
  try {
    map = (JSON.parse(text) as { weight_map?: unknown } | null)?.weight_map;
  } catch (cause) {
    throw refuse("not JSON", cause);
  }
  if (typeof map !== "object" || map === null) throw refuse("no weight_map in it");
  const folder = indexFile.slice(0, indexFile.lastIndexOf("/") + 1);
  const shards = new Set<string>();
  for (const shard of Object.values(map) as unknown[]) {
    if (typeof shard !== "string" || !SHARD_NAME.test(shard)) {
      throw refuse(`shard ${JSON.stringify(shard)?.slice(0, 80)} is no plain .safetensors file name`);
    }
    if (!has(folder + shard)) throw missing(model, folder + shard);
    shards.add(folder + shard);
  }
  if (shards.size === 0) throw refuse("its weight_map is empty");
  return [...shards];
}

/** Throws ArtifactError `E_NOT_SDXL` unless this model_index.json is of an SDXL pipeline. */
export function requireSdxl(modelIndex: string, model: string): void {
  let name: unknown;
  try {
    name = (JSON.parse(modelIndex) as { _class_name?: unknown } | null)?._class_name;
  } catch {
    name = undefined;
  }
  if (typeof name === "string" && /^StableDiffusionXL.*Pipeline$/.test(name)) return;
  throw new ArtifactError({
    code: "E_NOT_SDXL",
    subject: `${model}/${MODEL_INDEX}`,
    problem: `this is ${typeof name === "string" ? `a ${name.slice(0, 80)}` : "no pipeline"}, not a StableDiffusionXLPipeline`,
    next: "pull an SDXL model",
  });
}

function missing(model: string, file: string, next = "use another model or revision: this one is not complete") {
  return new ArtifactError({ code: "E_MISSING", subject: `${model}/${file}`, problem: "not in the repository", next });
}
