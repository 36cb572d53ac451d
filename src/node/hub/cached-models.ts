/** @file The models that lie in the Hugging Face cache, and whether their family is known here: by model_index.json alone. */
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { FAMILIES } from "../../models/families.ts";
import { type Environment, hubCacheDir, isHubId, resolveHubModel } from "./cache.ts";

export interface CachedModel {
  /** org/name */
  readonly id: string;
  /** Why it can't be opened. */
  readonly problem?: string;
}

/** Config files are a few KB. */
const MAX_INDEX_BYTES = 2 ** 20;

/** By id; empty where there is no cache. What has no model_index.json is no model, or not here. */
export async function cachedModels(env: Environment): Promise<readonly CachedModel[]> {
  const names = await readdir(hubCacheDir(env)).catch(() => []);
  const found: CachedModel[] = [];
  for (const name of names.sort()) {
    const id = /^models--(.+)$/.exec(name)?.[1]?.replace("--", "/");
    const snapshot = id !== undefined && isHubId(id) ? await resolveHubModel(id, { env }) : undefined;
    if (id === undefined || snapshot === undefined) continue;
    const index = path.join(snapshot, "model_index.json");
    const bytes = (await stat(index).catch(() => undefined))?.size ?? 0;
    const text = bytes <= MAX_INDEX_BYTES ? await readFile(index, "utf8").catch(() => "") : "";
    const isKnown = FAMILIES.some((family) => family.isModelIndex(text));
    const [, title] = /"_class_name"\s*:\s*"(\w{1,60})"/.exec(text) ?? [];
    found.push(isKnown ? { id } : { id, problem: `this is ${title ?? "a model of another family"}` });
  }
  return found;
}
