/** @file The files that a picture's model and networks are opened from, as it records them: what stands in for the model's parts, and hashes. */
import type { TensorTable } from "../container/table.ts";
import type { GenerateEvent } from "../job/events.ts";
import type { ModelSource } from "../library/open.ts";
import type { FileFacts } from "./picture-record.ts";

/** First digits of files' sha256: those that are known, or by reading all of a file. */
export interface HashFiles {
  known(file: string): Promise<string | undefined>;
  of(file: string, signal?: AbortSignal): Promise<string>;
}

/** The file of a network beside the model, by what the job calls it: "controls.0". */
export interface NetworkFile {
  readonly name: string;
  readonly path: string;
}

/** Of a network whose weights lie in one file; none of shards. */
export function networkFile(name: string, table: TensorTable): readonly NetworkFile[] {
  const paths = new Set([...table.values()].map(({ source }) => source.file?.path));
  const [path] = paths;
  return path !== undefined && paths.size === 1 ? [{ name, path }] : [];
}

/** After the pixels are there: what it delays is the first picture of a model or network, once. A file that can't be read has none. */
export async function* fileFactsOf(
  { file, vaeFile, partNames }: ModelSource,
  networks: readonly NetworkFile[],
  files: HashFiles | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<GenerateEvent, FileFacts, undefined> {
  if (!files) return { ...partNames };
  const modelHash = yield* hashOf(file, files, signal);
  const vaeHash = yield* hashOf(vaeFile, files, signal);
  const told: string[] = [];
  for (const { name, path } of networks) {
    const hash = yield* hashOf(path, files, signal);
    if (hash !== undefined) told.push(`${name}: ${hash}`);
  }
  return {
    ...partNames,
    ...(modelHash !== undefined && { modelHash }),
    ...(vaeHash !== undefined && { vaeHash }),
    ...(told.length > 0 && { networkHashes: told.join(", ") }),
  };
}

async function* hashOf(
  path: string | undefined,
  files: HashFiles,
  signal: AbortSignal | undefined,
): AsyncGenerator<GenerateEvent, string | undefined, undefined> {
  if (path === undefined) return undefined;
  const known = await files.known(path);
  if (known !== undefined) return known;
  yield { type: "note", text: `reading ${path} once for its hash, which pictures record` };
  return await files.of(path, signal).catch((error: unknown) => {
    if (signal?.aborted) throw error;
    return undefined;
  });
}
