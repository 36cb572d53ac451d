/** @file LoRAs and embeddings as A1111 lists them: by name, with what their training wrote in them. No folder of this machine is told. */
import { readdir } from "node:fs/promises";
import path from "node:path";
import { readSafetensorsHeader } from "../../../container/safetensors.ts";
import type { EmbeddingFiles } from "../../../engine/embedding-files.ts";
import { SolvayError } from "../../../errors.ts";
import { embeddingFiles } from "../../../node/embedding-files.ts";
import { openFileSource } from "../../../node/files/file.ts";
import { filesIn, stemOf } from "../../../node/named-files.ts";
import type { JsonObject } from "../../../source/json-fields.ts";

/** Of one file's entries together; kohya's tools write every tag of a training into them. */
const MAX_METADATA_CHARS = 2 ** 20;

/** `folder`: undefined: none was named. Rejects as the system does where it can't be read. */
export async function lorasIn(folder: string | undefined): Promise<readonly JsonObject[]> {
  if (folder === undefined) return [];
  const found: JsonObject[] = [];
  for (const file of (await Array.fromAsync(filesIn(folder, [".safetensors"]))).toSorted()) {
    const metadata = await metadataOf(file);
    const name = stemOf(file);
    const alias = typeof metadata.ss_output_name === "string" ? metadata.ss_output_name : name;
    found.push({ name, alias, path: path.basename(file), metadata });
  }
  return found;
}

/** Empty where the file can't be read, or says more than fits. */
async function metadataOf(file: string): Promise<JsonObject> {
  try {
    await using source = await openFileSource(file, path.basename(file), file);
    const { metadata } = await readSafetensorsHeader(source);
    const chars = [...metadata].reduce((sum, [name, text]) => sum + name.length + text.length, 0);
    return chars > MAX_METADATA_CHARS
      ? {}
      : Object.fromEntries([...metadata].map(([name, text]) => [name, readText(text)]));
  } catch (error) {
    if (error instanceof SolvayError) return {};
    throw error;
  }
}

/** Texts are all that such a file holds; A1111 gives objects where they are JSON of some. */
function readText(text: string): unknown {
  if (!/^[{[]/.test(text)) return text;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** Names by which units of ControlNet find them: files, and folders of diffusers. */
export async function controlNetsIn(folder: string | undefined): Promise<readonly string[]> {
  if (folder === undefined) return [];
  const entries = await readdir(folder, { withFileTypes: true });
  const fits = entries.filter((each) => each.isDirectory() || each.name.endsWith(".safetensors"));
  return fits.map(({ name }) => (name.endsWith(".safetensors") ? stemOf(name) : name)).toSorted();
}

/** By the word that stands for each in a prompt. Those that can't be read are left out. */
export async function embeddingsIn(folder: string | undefined): Promise<JsonObject> {
  const files = embeddingFiles(folder);
  const found: Record<string, JsonObject> = {};
  for (const name of (await files.names()).toSorted()) {
    const shapes = await shapesOf(files, name);
    if (shapes.length === 0) continue;
    const [vectors = 1] = shapes.map((shape) => (shape.length > 1 ? shape[0]! : 1));
    const shape = shapes.reduce((sum, each) => sum + (each.at(-1) ?? 0), 0);
    found[name] = { step: null, sd_checkpoint: null, sd_checkpoint_name: null, shape, vectors };
  }
  return found;
}

/** Of its tensors, one for each text encoder. */
async function shapesOf(files: EmbeddingFiles, name: string): Promise<readonly (readonly number[])[]> {
  try {
    const { source, tables } = await files.open(name);
    await using _ = source;
    return [...tables.values()].flatMap((table) => [...table.values()].map(({ shape }) => shape));
  } catch (error) {
    if (error instanceof SolvayError) return [];
    throw error;
  }
}
