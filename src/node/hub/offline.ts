/** @file A pull without the network: is the model whole in the cache? */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join, sep } from "node:path";
import { DeviceError, SolvayError } from "../../errors.ts";
import type { FileListing, ModelChooser, Variant } from "../../source/listing.ts";
import { type Environment, hubRepoDir, resolveHubModel } from "./cache.ts";

export interface CachedModel {
  /** The snapshot folder. */
  readonly path: string;
  readonly commit: string;
  readonly files: number;
  readonly totalBytes: number;
}

export interface OfflineOptions {
  readonly env: Environment;
  readonly revision: string;
  readonly variant: Variant;
  readonly choose: ModelChooser;
  /** The variable that forbids the network, to name it. */
  readonly offlineBy: string;
}

/** Throws DeviceError `E_OFFLINE` that names the folder and what is missing in it. */
export async function findCached(id: string, options: OfflineOptions): Promise<CachedModel> {
  const { env, revision, variant, choose, offlineBy } = options;
  const refuse = (problem: string, cause?: unknown) =>
    new DeviceError({
      code: "E_OFFLINE",
      subject: id,
      problem: `${offlineBy} is set, and ${problem}`,
      next: `unset ${offlineBy}, and pull again`,
      cause,
    });
  const path = await resolveHubModel(id, { env, revision });
  if (path === undefined) throw refuse(`the model is not in ${hubRepoDir(id, env)}`);
  const sizes = await fileSizes(path);
  const listing: FileListing = {
    name: path,
    has: (name) => sizes.has(name),
    readText: async (name) => (sizes.has(name) ? await readFile(join(path, name), "utf8") : undefined),
  };
  try {
    const { files } = await choose(listing, { variant });
    const totalBytes = files.reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
    return { path, commit: basename(path), files: files.length, totalBytes };
  } catch (error) {
    if (!(error instanceof SolvayError)) throw error;
    const what = error.code === "E_MISSING" ? "is not complete" : "can't be used";
    throw refuse(`the model in the cache ${what} (${error.subject}: ${error.problem})`, error);
  }
}

/** By path with "/"; links that lead nowhere are left out. */
async function fileSizes(folder: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for (const name of await readdir(folder, { recursive: true })) {
    const info = await stat(join(folder, name)).catch(() => undefined);
    if (info?.isFile()) sizes.set(name.split(sep).join("/"), info.size);
  }
  return sizes;
}
