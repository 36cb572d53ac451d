/** @file The embeddings (textual inversions) of a job: those that it names, and those of the folder whose names stand in its prompts. */
import { sha256Hex } from "#hash";
import { readEmbedding } from "../adapters/embedding-file.ts";
import type { TensorTable } from "../container/table.ts";
import { ArtifactError, UsageError } from "../errors.ts";
import type { FullJob } from "../job/job.ts";
import type { LearnedWord } from "../models/conditioning.ts";
import type { Checkpoint } from "../models/family.ts";
import type { ByteSource } from "../source/source.ts";
import { toFloat32 } from "../tensor/dtype.ts";
import { firstNonFinite } from "../tensor/finite.ts";
import { wordSplitter } from "../tokenizer/learned-words.ts";

/** A file's tensors by path ("" of a .safetensors file), and the word that it stands for. Who asked disposes of the source. */
export interface OpenedEmbedding {
  readonly source: ByteSource;
  readonly tables: ReadonlyMap<string, TensorTable>;
  readonly name: string;
}

/** Where embeddings come from. */
export interface EmbeddingFiles {
  /** Those that prompts may name without more, from the folder of embeddings; none without one. */
  names(signal?: AbortSignal): Promise<readonly string[]>;
  /** Opens a path, or a name in the folder. Rejects with UsageError `E_EMBEDDING_NAME`, and as files do. */
  open(reference: string, signal?: AbortSignal): Promise<OpenedEmbedding>;
}

/** A job that names all of its embeddings, and what they are. */
export interface LearnedJob {
  readonly full: FullJob;
  readonly words: readonly LearnedWord[];
}

/**
 * Rejects with UsageError `E_JOB` where two have one name or files can't be read, ArtifactError `E_EMBEDDING` or `E_NONFINITE`, and as files do.
 */
export async function learnedJob(
  checkpoint: Checkpoint,
  job: FullJob,
  files: EmbeddingFiles | undefined,
  signal?: AbortSignal,
): Promise<LearnedJob> {
  const given = job.embeddings ?? [];
  const words = new Map<string, LearnedWord>();
  const add = async (reference: string) => {
    if (!files) throw refusal(reference, "files can't be read here (found one, allowed none)", "leave it out");
    const opened = await files.open(reference, signal);
    await using _ = opened.source;
    const key = opened.name.toLowerCase();
    if (words.has(key)) throw refusal(reference, `two embeddings are called ${opened.name}`, "rename one of the files");
    words.set(key, await readWord(checkpoint, opened, signal));
  };
  for (const reference of given) await add(reference);
  const found = namesIn(job, (await files?.names(signal)) ?? []).filter((name) => !words.has(name.toLowerCase()));
  for (const name of found) await add(name);
  // A picture's record tells those of the folder too: it is not remade without them.
  const full = found.length > 0 ? { ...job, embeddings: [...given, ...found] } : job;
  return { full, words: [...words.values()] };
}

/** The names that stand in the job's prompts, each once. */
function namesIn(job: FullJob, names: readonly string[]): readonly string[] {
  const split = wordSplitter(names.map((name, i) => ({ name, ids: [i] })));
  if (!split) return [];
  const { prompt, prompt2, negativePrompt, negativePrompt2, hiresPrompt, hiresNegativePrompt } = job;
  const texts = [prompt, prompt2, negativePrompt, negativePrompt2, hiresPrompt, hiresNegativePrompt].filter(
    (text) => text !== undefined,
  );
  const places = texts.flatMap((text) => split(text).flatMap((part) => (typeof part === "string" ? [] : part)));
  return [...new Set(places)].map((place) => names[place]!);
}

async function readWord(
  checkpoint: Checkpoint,
  { source, tables, name }: OpenedEmbedding,
  signal?: AbortSignal,
): Promise<LearnedWord> {
  const { count, vectors } = readEmbedding(tables, checkpoint.family.encoderWidths(checkpoint), source.name);
  const values = new Map<string, Float32Array>();
  const hashes: string[] = [];
  for (const [folder, entry] of vectors) {
    const bytes = new Uint8Array(entry.endByte - entry.startByte);
    await entry.source.read(entry.startByte, bytes, signal);
    if (firstNonFinite(entry.dtype, bytes)) {
      const problem = `tensor ${entry.name} holds values that are NaN or infinite`;
      throw new ArtifactError({ code: "E_NONFINITE", subject: source.name, problem, next: "fetch the file again" });
    }
    const wide = toFloat32(entry.dtype, bytes);
    values.set(folder, wide);
    hashes.push(sha256Hex(new Uint8Array(wide.buffer, wide.byteOffset, wide.byteLength)));
  }
  return { name, id: sha256Hex(new TextEncoder().encode(hashes.join())), count, vectors: values };
}

function refusal(subject: string, problem: string, next: string): UsageError {
  return new UsageError({ code: "E_JOB", subject, problem, next });
}
