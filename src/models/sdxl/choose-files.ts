/** @file Chooses an SDXL's files from a listing, by the lists of files.ts. Pickles, ONNX and Flax weights are never wanted. */

import { parseShardIndex } from "../../checkpoint/sharded.ts";
import { ArtifactError } from "../../errors.ts";
import type { FileChoice, FileListing, ModelChooser, Variant } from "../../source/listing.ts";
import { CONFIG_FILES, MODEL_INDEX, TOKENIZER_FILES, TOKENIZER_FOLDERS, WEIGHT_FOLDERS, weightFiles } from "./files.ts";
import { parseModelIndex } from "./model-index.ts";

/**
 * The files of an SDXL diffusers folder, shards last. Rejects with ArtifactError `E_NOT_DIFFUSERS`, `E_NOT_SDXL`, `E_SHARD_INDEX` or
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
    return await filesOf(listing, variant);
  } catch (error) {
    // What another pipeline lacks is not missing.
    if (error instanceof ArtifactError && error.code === "E_MISSING") await requireSdxl(listing);
    throw error;
  }
};

async function filesOf(listing: FileListing, variant: Variant): Promise<FileChoice> {
  for (const file of CONFIG_FILES) if (!(await listing.has(file))) throw missing(listing.name, file);
  const files = [MODEL_INDEX, ...CONFIG_FILES];
  for (const folder of TOKENIZER_FOLDERS) files.push(...(await tokenizerFiles(listing, folder)));
  const weights: string[] = [];
  const shardIndexes: string[] = [];
  for (const { folder, stem } of WEIGHT_FOLDERS) {
    const file = await weightsOf(listing, folder, stem, variant);
    (file.endsWith(".json") ? shardIndexes : weights).push(file);
  }
  // These few small files tell whether it is the right model, and what else it needs.
  await requireSdxl(listing);
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
