/** @file The models that lie in a folder: diffusers' folders and single files, in it or deeper, by the names that pictures give them. */
import type { Dirent } from "node:fs";
import { readdir } from "node:fs/promises";
import path from "node:path";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import { modelNamed } from "../library/model-name.ts";
import { FAMILIES } from "../models/families.ts";
import { openFileSource } from "./files/file.ts";

/** Folders within folders are looked through so deep, and so many entries at most. */
const MAX_DEPTH = 4;
const MAX_ENTRIES = 10_000;
const MODEL_INDEX = "model_index.json";

/** Absolute paths by name; of two of one name the first. Files that are no models (LoRAs, VAEs) are passed over. Rejects as the system does. */
export async function modelsIn(folder: string, signal?: AbortSignal): Promise<ReadonlyMap<string, string>> {
  const models = new Map<string, string>();
  let entries = 0;
  const add = (file: string) => {
    const { model } = modelNamed(file);
    if (!models.has(model)) models.set(model, file);
  };
  const look = async (dir: string, depth: number): Promise<void> => {
    signal?.throwIfAborted();
    const inside: Dirent[] = await readdir(dir, { withFileTypes: true });
    if (inside.some(({ name }) => name === MODEL_INDEX)) {
      add(dir);
      return;
    }
    for (const entry of inside.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      if (++entries > MAX_ENTRIES) return;
      const file = path.join(dir, entry.name);
      if (entry.isDirectory() && depth < MAX_DEPTH) await look(file, depth + 1);
      else if (/\.safetensors$/i.test(entry.name) && (await isModel(file, signal))) add(file);
    }
  };
  await look(folder, 0);
  return models;
}

/** By its header alone; a file that can't be read is none. */
async function isModel(file: string, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await using source = await openFileSource(file);
    const { table } = await readSafetensorsHeader(source, signal);
    return FAMILIES.some((family) => family.networksIn(table, file).length > 1);
  } catch {
    signal?.throwIfAborted();
    return false;
  }
}
