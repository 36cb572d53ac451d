/** @file The safetensors of one network in a folder: one file, or shards with their index. */
import { readSafetensorsHeader } from "../container/safetensors.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import type { Folder } from "../source/folder.ts";
import type { ByteSource } from "../source/source.ts";
import { parseShardIndex } from "./sharded.ts";
import { weightTable } from "./weight-header.ts";

/** Longest text beside weights that is read: an index of shards, a tokenizer. */
export const MAX_TEXT_BYTES = 64 * 1024 ** 2;

export interface OpenWeightsOptions {
  /** Gets what is opened; the table reads from it. */
  readonly sources: AsyncDisposableStack;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The tensors of the first of `files` that is there, in the folder's `dir` ("": in itself), by stored name: a `.safetensors` file, or an `.index.json` that names shards beside
 * it. Reads headers only. Rejects with ArtifactError `E_MISSING`, `E_SHARD_INDEX`, `E_SCHEMA`, or what a damaged file is refused with.
 */
export async function openWeights(
  folder: Folder,
  dir: string,
  files: readonly string[],
  { sources, signal }: OpenWeightsOptions,
): Promise<TensorTable> {
  const inDir = (file: string) => (dir === "" ? file : `${dir}/${file}`);
  const open = async (file: string): Promise<ByteSource | undefined> => {
    const source = await folder.open(inDir(file));
    return source && sources.use(source);
  };
  const readTable = async (source: ByteSource) =>
    await weightTable(
      await readSafetensorsHeader(source, signal),
      `${folder.name}/${inDir("")}`.replace(/\/$/, ""),
      signal,
    );
  for (const file of files) {
    if (file.endsWith(".safetensors")) {
      const source = await open(file);
      if (source) return await readTable(source);
      continue;
    }
    const indexText = await folder.readText(inDir(file), MAX_TEXT_BYTES);
    if (indexText !== undefined) return await shardedTable(indexText, file);
  }
  const [first, ...others] = files.filter((file) => file.endsWith(".safetensors"));
  throw missing(folder, `${inDir(first!)} (or ${others.join(", ")})`, "fetch the model's safetensors weights");

  async function shardedTable(indexText: string, indexFile: string): Promise<TensorTable> {
    const { shards, weightMap } = parseShardIndex(indexText, `${folder.name}/${inDir(indexFile)}`);
    const stored = new Map<string, TensorEntry>();
    for (const shard of shards) {
      const source = await open(shard);
      if (!source) throw missing(folder, inDir(shard), "fetch the missing shard");
      for (const [name, entry] of await readTable(source)) {
        if (weightMap.get(name) === shard) stored.set(name, entry);
      }
    }
    for (const [name, shard] of weightMap) {
      if (stored.has(name)) continue;
      throw new ArtifactError({
        code: "E_SCHEMA",
        subject: `${folder.name}/${inDir(indexFile)}`,
        problem: `tensor ${JSON.stringify(name)} is not in its shard ${shard}`,
        next: "fetch the shards and their index again, from one revision",
      });
    }
    return stored;
  }
}

function missing(folder: Folder, file: string, next: string): ArtifactError {
  return new ArtifactError({ code: "E_MISSING", subject: `${folder.name}/${file}`, problem: "not there", next });
}
