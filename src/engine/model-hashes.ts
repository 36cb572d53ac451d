/** @file The files that a model is opened from, as pictures record them: what stands in for its parts, and hashes. */
import type { GenerateEvent } from "../job/events.ts";
import type { ModelSource } from "../library/open.ts";
import type { FileFacts } from "./picture-record.ts";

/** First digits of files' sha256: those that are known, or by reading all of a file. */
export interface HashFiles {
  known(file: string): Promise<string | undefined>;
  of(file: string, signal?: AbortSignal): Promise<string>;
}

/** After the pixels are there: what it delays is the first picture of a model, once. A file that can't be read has none. */
export async function* fileFactsOf(
  { file, vaeFile, partNames }: ModelSource,
  files: HashFiles | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<GenerateEvent, FileFacts, undefined> {
  if (!files) return { ...partNames };
  const hashes: { modelHash?: string; vaeHash?: string } = {};
  for (const [name, path] of [
    ["modelHash", file],
    ["vaeHash", vaeFile],
  ] as const) {
    if (path === undefined) continue;
    let hash = await files.known(path);
    if (hash === undefined) {
      yield { type: "note", text: `reading ${path} once for its hash, which pictures record` };
      hash = await files.of(path, signal).catch((error: unknown) => {
        if (signal?.aborted) throw error;
        return undefined;
      });
    }
    if (hash !== undefined) hashes[name] = hash;
  }
  return { ...partNames, ...hashes };
}
