/** @file The families there are, and the opening of a folder whose family isn't known yet. */
import { MAX_CONFIG_BYTES } from "../checkpoint/json-config.ts";
import type { Folder } from "../source/folder.ts";
import type { ModelChooser } from "../source/listing.ts";
import type { Checkpoint, Family, ModelFiles, OpenedFiles, OpenOptions } from "./family.ts";
import { SDXL } from "./sdxl/family.ts";

/** Names the pipeline that a diffusers folder is for. */
const MODEL_INDEX = "model_index.json";

/** The first says what is wrong with a folder that is none's, and is meant where nothing names a family. */
export const FAMILIES: readonly [Family, ...Family[]] = [SDXL];

/** The model that lends a single file what it lacks, where the user names no other. */
export const BASE_MODEL = "stabilityai/stable-diffusion-xl-base-1.0";

/** Opens a folder by the first family that knows it. Rejects with ArtifactError or UsageError. */
export async function openModelFolder(folder: Folder, options?: OpenOptions): Promise<Checkpoint> {
  return await (await familyOf(folder)).open(folder, options);
}

/** Opens a model from whatever files it is in, as Family.openFiles does. */
export async function openModelFiles(files: ModelFiles, options?: OpenOptions): Promise<OpenedFiles> {
  const { model } = files;
  const family = model.kind === "folder" ? await familyOf(model.folder) : FAMILIES[0];
  return await family.openFiles(files, options);
}

async function familyOf(folder: Folder): Promise<Family> {
  const index = await folder.readText(MODEL_INDEX, MAX_CONFIG_BYTES);
  return FAMILIES.find((candidate) => index !== undefined && candidate.isModelIndex(index)) ?? FAMILIES[0];
}

/** What a hub's repository, or a cache of it, must give for the model that it names. */
export const chooseModelFiles: ModelChooser = async (listing, options) => {
  const index = (await listing.has(MODEL_INDEX)) ? await listing.readText(MODEL_INDEX) : undefined;
  const family = FAMILIES.find((candidate) => index !== undefined && candidate.isModelIndex(index)) ?? FAMILIES[0];
  return await family.chooseFiles(listing, options);
};
