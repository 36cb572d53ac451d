/** @file The index of sharded safetensors: which tensor lies in which file of the same folder. */
import { HeaderSyntaxError, parseHeaderJson } from "../container/header-json.ts";
import { MAX_TENSORS } from "../container/safetensors.ts";
import { ArtifactError } from "../errors.ts";

export interface ShardIndex {
  /** File names in the order they first occur. */
  readonly shards: readonly string[];
  /** Tensor -> shard. */
  readonly weightMap: ReadonlyMap<string, string>;
}

/** A shard is a plain file name in the index's own folder. */
const SHARD_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors$/;
const MAX_SHARDS = 1024;
/** Far beyond what anybody nests by hand, and no danger to the stack. */
const METADATA_DEPTH = 100;

/** Free-form metadata is passed over. Throws ArtifactError `E_SHARD_INDEX`, or `E_DUP_KEY` for a key that stands twice; `next`: what helps then. */
export function parseShardIndex(text: string, file: string, next?: string): ShardIndex {
  const refuse = (problem: string) => {
    const other = next ?? "get these weights in one file, or with an index as diffusers writes it";
    return new ArtifactError({ code: "E_SHARD_INDEX", subject: file, problem, next: other });
  };
  const weightMap = new Map<string, string>();
  let map: unknown;
  try {
    const index = parseHeaderJson(text, MAX_TENSORS, METADATA_DEPTH);
    map = index instanceof Map ? index.get("weight_map") : undefined;
  } catch (error) {
    if (!(error instanceof HeaderSyntaxError)) throw error;
    throw new ArtifactError({
      code: error.code,
      subject: file,
      problem: `${error.message} at byte ${error.offset}`,
      next: next ?? "fetch the index again",
    });
  }
  if (!(map instanceof Map) || map.size === 0) throw refuse("no weight_map in it");
  for (const [name, shard] of map) {
    if (typeof shard !== "string" || !SHARD_NAME.test(shard)) {
      const shown = JSON.stringify(shard)?.slice(0, 80);
      throw refuse(`shard ${shown} is no plain .safetensors file name`);
    }
    weightMap.set(String(name), shard);
  }
  const shards = [...new Set(weightMap.values())];
  if (shards.length > MAX_SHARDS) throw refuse(`too many shards (found ${shards.length}, allowed ${MAX_SHARDS})`);
  return { shards, weightMap };
}
