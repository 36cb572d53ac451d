/** @file Chooses an SDXL's files, or a refiner's, from a listing, by the lists of files.ts. Pickles, ONNX and Flax weights are never wanted. */

import { parseShardIndex } from "../../checkpoint/sharded.ts";
import { ArtifactError } from "../../errors.ts";
import type { FileChoice, FileListing, ModelChooser, Variant } from "../../source/listing.ts";
import {
  MODEL_INDEX,
  REFINER_COMPONENTS,
  SCHEDULER_CONFIG,
  TOKENIZER_FILES,
  TOKENIZER_FOLDERS,
  WEIGHT_FOLDERS,
  type WeightFolder,
  weightFiles,
} from "./files.ts";
import { isRefinerIndex, parseModelIndex } from "./model-index.ts";

/**
 * The files of an SDXL diffusers folder, or of a refiner's, shards last. Rejects with ArtifactError `E_NOT_DIFFUSERS`, `E_NOT_SDXL`, `E_SHARD_INDEX` or
 * `E_MISSING`; what is missing is said before anything is fetched.
 */
export const chooseSdxlFiles: ModelChooser = async (listing, { variant }) => {
  if (!(await listing.has(MODEL_INDEX))) {
    throw new ArtifactError({
      code: "E_NOT_DIFFUSERS",
      subject: listing.name,
      problem: `no ${MODEL_INDEX} in it, so it is no diffusers folder`,
      next: "name a repository with the model in diffusers layout (folders unet, vae, text_encoder, ...)",
    });
  }
  try {
    return await filesOf(listing, variant, MODEL);
  } catch (error) {
    if (!(error instanceof ArtifactError) || error.code !== "E_MISSING") throw error;
    // What a refiner or another pipeline lacks is not missing.
    if (isRefinerIndex(await textOf(listing, MODEL_INDEX))) return await filesOf(listing, variant, REFINER);
    await requireSdxl(listing);
    throw error;
  }
};

/** The folders that must be there. */
interface Wanted {
  readonly weights: readonly WeightFolder[];
  readonly tokenizers: readonly string[];
}

const MODEL: Wanted = { weights: WEIGHT_FOLDERS.map(({ folder }) => folder), tokenizers: TOKENIZER_FOLDERS };
const REFINER: Wanted = { weights: REFINER_COMPONENTS.map(({ folder }) => folder), tokenizers: ["tokenizer_2"] };

async function filesOf(listing: FileListing, variant: Variant, wanted: Wanted): Promise<FileChoice> {
  const configs = [SCHEDULER_CONFIG, ...wanted.weights.map((folder) => `${folder}/config.json`)];
  for (const file of configs) if (!(await listing.has(file))) throw missing(listing.name, file);
  const files = [MODEL_INDEX, ...configs];
  for (const folder of wanted.tokenizers) files.push(...(await tokenizerFiles(listing, folder)));
  const weights: string[] = [];
  const shardIndexes: string[] = [];
  for (const folder of wanted.weights) {
    const { stem } = WEIGHT_FOLDERS.find((entry) => entry.folder === folder)!;
    const file = await weightsOf(listing, folder, stem, variant);
    (file.endsWith(".json") ? shardIndexes : weights).push(file);
  }
  // These few small files tell whether it is the right model, and what else it needs.
  if (wanted === MODEL) await requireSdxl(listing);
  const shards: string[] = [];
  for (const index of shardIndexes) shards.push(...(await shardsOf(listing, index)));
  return { files: [...new Set([...files, ...shardIndexes, ...weights, ...shards])] };
}

async function requireSdxl(listing: FileListing): Promise<void> {
  parseModelIndex(`${listing.name}/${MODEL_INDEX}`, await textOf(listing, MODEL_INDEX));
}

async function tokenizerFiles(listing: FileListing, folder: string): Promise<string[]> {
  const there: string[] = [];
  for (const file of TOKENIZER_FILES) if (await listing.has(`${folder}/${file}`)) there.push(file);
  const pair = there.includes("vocab.json") && there.includes("merges.txt");
  if (!pair && !there.includes("tokenizer.json")) {
    throw missing(listing.name, `${folder}/vocab.json and merges.txt (or tokenizer.json)`);
  }
  return there.map((file) => `${folder}/${file}`);
}

async function textOf(listing: FileListing, file: string): Promise<string> {
  const text = await listing.readText(file);
  if (text === undefined) throw missing(listing.name, file);
  return text;
}

const VARIANTS = { auto: ["fp16", "none"], fp16: ["fp16"], none: ["none"] } as const;

async function weightsOf(listing: FileListing, folder: string, stem: string, variant: Variant): Promise<string> {
  for (const file of weightFiles(stem, VARIANTS[variant])) {
    if (await listing.has(`${folder}/${file}`)) return `${folder}/${file}`;
  }
  const wanted = variant === "none" ? `${stem}.safetensors` : `${stem}.fp16.safetensors`;
  const other = variant === "auto" ? ` (or ${stem}.safetensors)` : "";
  throw missing(
    listing.name,
    `${folder}/${wanted}${other}`,
    variant === "auto" ? undefined : "leave --variant away to take what there is",
  );
}

/** The shards an index names, as paths in the repository. */
async function shardsOf(listing: FileListing, indexFile: string): Promise<readonly string[]> {
  const next = "use another model or revision: this one is broken";
  const { shards } = parseShardIndex(await textOf(listing, indexFile), `${listing.name}/${indexFile}`, next);
  const folder = indexFile.slice(0, indexFile.lastIndexOf("/") + 1);
  for (const shard of shards) if (!(await listing.has(folder + shard))) throw missing(listing.name, folder + shard);
  return shards.map((shard) => folder + shard);
}

function missing(model: string, file: string, next = "use another model or revision: this one is not complete") {
  return new ArtifactError({ code: "E_MISSING", subject: `${model}/${file}`, problem: "not in the repository", next });
}
