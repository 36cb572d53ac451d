/** @file Embeddings (textual inversions) on this machine's disk: by path, or by name in the folder of them. */
import { stat } from "node:fs/promises";
import path from "node:path";
import { readSafetensorsHeader, requireKnownDTypes } from "../container/safetensors.ts";
import type { TensorTable } from "../container/table.ts";
import { isTorchFile, readTorchFile } from "../container/torch-file.ts";
import type { EmbeddingFiles } from "../engine/embedding-files.ts";
import { UsageError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";
import { openFileSource } from "./files/file.ts";
import { filesIn, stemOf } from "./named-files.ts";

/** The latter as torch.save writes them. */
export const EMBEDDING_ENDINGS: readonly string[] = [".safetensors", ".pt", ".bin"];
const HEAD_BYTES = 16;

/** `folder`: of embeddings, absolute; absent: none was named. `toAbsolute`: absent where nothing is named by path. */
export function embeddingFiles(folder: string | undefined, toAbsolute?: (path: string) => string): EmbeddingFiles {
  const list = async (signal?: AbortSignal): Promise<readonly string[]> => {
    if (folder === undefined) return [];
    try {
      return await Array.fromAsync(filesIn(folder, EMBEDDING_ENDINGS, signal));
    } catch (cause) {
      signal?.throwIfAborted();
      throw refusal(folder, "the folder of embeddings can't be read", "check --embeddings-dir", cause);
    }
  };
  const find = async (reference: string, signal?: AbortSignal): Promise<string> => {
    const direct = toAbsolute?.(reference);
    // A path that isn't there is refused as files are.
    if (direct !== undefined && (folder === undefined || (await isFile(direct)))) return direct;
    if (folder === undefined) {
      const problem = "no folder of embeddings was named, and jobs here name none by path";
      throw refusal(reference, problem, "name it with --embeddings-dir");
    }
    const wanted = reference.toLowerCase();
    const fits = (file: string) => [stemOf(file), path.basename(file)].some((name) => name.toLowerCase() === wanted);
    const [file, other] = (await list(signal)).filter(fits);
    if (file === undefined) {
      const problem = `there is no such file in the folder of embeddings (allowed ${EMBEDDING_ENDINGS.join(", ")})`;
      throw refusal(reference, problem, "check its name, or name another folder with --embeddings-dir");
    }
    if (other === undefined) return file;
    const shown = [file, other].map((each) => path.relative(folder, each)).join(" and ");
    throw refusal(reference, `more than one file is called so: ${shown} (allowed one)`, "rename one of them");
  };
  return {
    names: async (signal) => (await list(signal)).map(stemOf),
    async open(reference, signal) {
      const file = await find(reference, signal);
      await using sources = new AsyncDisposableStack();
      const source = sources.use(await openFileSource(file, path.basename(file), reference));
      const tables = await tablesOf(source, signal);
      sources.move();
      return { source, tables, name: stemOf(file) };
    },
  };
}

async function isFile(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined))?.isFile() === true;
}

async function tablesOf(source: ByteSource, signal?: AbortSignal): Promise<ReadonlyMap<string, TensorTable>> {
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.byteLength));
  await source.read(0, head, signal);
  if (isTorchFile(head)) return await readTorchFile(source, signal);
  const header = await readSafetensorsHeader(source, signal);
  return new Map([["", requireKnownDTypes(header, source.name, "weights")]]);
}

function refusal(subject: string, problem: string, next: string, cause?: unknown): UsageError {
  return new UsageError({ code: "E_EMBEDDING_NAME", subject, problem, next, cause });
}
