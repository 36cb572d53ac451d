/**
 * @file Files of textual inversion: vectors that a word of the prompt stands for, in place of tokens' embeddings. SDXL's have some for each of its text
 * encoders; files of models with one encoder are refused by what they are.
 */
import { kindOfTables } from "../checkpoint/file-kind.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";

/** A text encoder that vectors are wanted for. */
export interface EncoderWidth {
  /** "text_encoder". */
  readonly folder: string;
  /** Of a token's embedding. */
  readonly width: number;
}

export interface EmbeddingFile {
  /** Tokens that the word stands for. */
  readonly count: number;
  /** By text encoder: [count, width]. */
  readonly vectors: ReadonlyMap<string, TensorEntry>;
}

/** What the files call an encoder: kohya, A1111 and ComfyUI; diffusers' training scripts. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  text_encoder: ["clip_l", "text_encoders_0"],
  text_encoder_2: ["clip_g", "text_encoders_1"],
};

/** What a chunk of a prompt has room for. */
const MAX_VECTORS = 75;
const FLOATS: ReadonlySet<string> = new Set(["f32", "f16", "bf16"]);

/** Files of one encoder, by a vector's width. */
const SINGLE: Readonly<Record<number, string>> = {
  768: "Stable Diffusion 1.5, or SDXL's first text encoder alone",
  1024: "Stable Diffusion 2",
  1280: "SDXL's second text encoder alone",
};

/** Other names of files of one encoder: A1111's ("string_to_param"), its safetensors ("emb_params"), diffusers' ("<cat-toy>"). */
const SINGLE_NAME = /^(emb_params|string_to_param|\*|<.{1,200}>)$/;

/** Whether tensors are a textual inversion's, of whatever model. */
function isEmbedding(names: Iterable<string>): boolean {
  const all = [...names];
  const known = new Set(Object.values(NAMES).flat());
  return all.length > 0 && all.length <= 4 && all.every((name) => known.has(name) || SINGLE_NAME.test(name));
}

/** A textual inversion in words; undefined for other tensors. */
export function describeEmbedding(
  tensors: readonly { readonly name: string; readonly shape: readonly number[] }[],
): string | undefined {
  if (!isEmbedding(tensors.map(({ name }) => name))) return undefined;
  const [first] = tensors;
  const count = first!.shape.length > 1 ? first!.shape[0]! : 1;
  const vectors = `${count} ${count === 1 ? "vector" : "vectors"}`;
  const isDouble = Object.values(NAMES).every((known) => tensors.some(({ name }) => known.includes(name)));
  if (isDouble) return `a textual inversion of two text encoders (SDXL): ${vectors}`;
  return `a textual inversion of one text encoder (${first!.shape.at(-1) ?? 0} wide): ${vectors}`;
}

/**
 * `tables`: by path, as of a file of torch.save; a .safetensors file has one, "".
 * @throws ArtifactError `E_EMBEDDING` for files of other models, and for vectors that don't fit
 */
export function readEmbedding(
  tables: ReadonlyMap<string, TensorTable>,
  encoders: readonly EncoderWidth[],
  file: string,
): EmbeddingFile {
  const table = tables.get("");
  const vectors = new Map<string, TensorEntry>();
  for (const { folder, width } of encoders) {
    const name = NAMES[folder]?.find((key) => table?.has(key));
    const entry = name === undefined ? undefined : table?.get(name);
    if (!entry) throw missing(tables, NAMES[folder]?.[0] ?? folder, file);
    const shape = entry.shape.length === 1 ? [1, ...entry.shape] : entry.shape;
    const [count, found] = shape;
    if (shape.length !== 2 || found !== width || !FLOATS.has(entry.dtype) || count! < 1 || count! > MAX_VECTORS) {
      const allowed = `[1 to ${MAX_VECTORS}, ${width}] of f16, bf16 or f32`;
      throw refusal(
        file,
        `its ${entry.name} does not fit the model (found ${entry.dtype} [${entry.shape}], allowed ${allowed})`,
      );
    }
    vectors.set(folder, { ...entry, shape });
  }
  const counts = new Set([...vectors.values()].map(({ shape }) => shape[0]!));
  const [count] = counts;
  if (count === undefined || counts.size > 1) {
    throw refusal(file, `its text encoders have different numbers of vectors (found ${[...counts].join(" and ")})`);
  }
  return { count, vectors };
}

function missing(tables: ReadonlyMap<string, TensorTable>, wanted: string, file: string): ArtifactError {
  const entries = [...tables.values()].flatMap((table) => [...table.values()]);
  const width = entries.find(({ shape }) => shape.length >= 1 && shape.length <= 2)?.shape.at(-1);
  const known = width === undefined ? undefined : SINGLE[width];
  const isSingle = tables.has("string_to_param") || isEmbedding(entries.map(({ name }) => name));
  if (isSingle && known !== undefined)
    return refusal(file, `it has vectors for one text encoder, of ${known}, and no ${wanted}`);
  const kind = kindOfTables(tables);
  const none = `no textual inversion of two text encoders (found no ${wanted})`;
  if (kind && kind.id !== "embedding") return refusal(file, `it is ${kind.words}, ${none}`, kind.next);
  return refusal(file, `it is ${none}`);
}

function refusal(
  file: string,
  problem: string,
  next = "use an embedding that was made for SDXL: it has clip_l and clip_g",
): ArtifactError {
  return new ArtifactError({ code: "E_EMBEDDING", subject: file, problem, next });
}
