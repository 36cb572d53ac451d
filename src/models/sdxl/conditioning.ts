/** @file A prompt as SDXL's tokenizers cut it, and a chunk of it through both text encoders (diffusers encode_prompt). S text tokens, D = C1 + C2 channels, P projected ones. */
import { ArtifactError } from "../../errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { type TokenChunk, weightedChunks } from "../../prompt/chunks.ts";
import { emphasise } from "../../prompt/emphasis.ts";
import type { PromptSyntax } from "../../prompt/syntax.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import type { ClipTokenizer } from "../../tokenizer/clip.ts";
import { type ClipConfig, hiddenName } from "../clip.ts";
import type { Conditioning, LearnedWord, Prompt, PromptText } from "../conditioning.ts";
import type { EncodeOptions } from "../family.ts";
import { withStrengths } from "../layer-builder.ts";
import type { SdxlParts } from "./config.ts";
import { PASS, type TextGraphs } from "./graphs.ts";

/** `words`: what may stand for vectors. */
export function tokenChunks(
  text: string,
  syntax: PromptSyntax,
  tokenizer: ClipTokenizer,
  words: readonly LearnedWord[] = [],
): readonly TokenChunk[] {
  const reader = wordReader(tokenizer, words);
  const chunks = syntax === "plain" ? [{ ids: reader.encode(text) }] : weightedChunks(text, reader);
  const { byId } = vectorsOf(words);
  return chunks.map((chunk) => withLearned(chunk, byId));
}

/** The tokenizer, to which the words' names are their vectors. */
export function wordReader(tokenizer: ClipTokenizer, words: readonly LearnedWord[] = []): ClipTokenizer {
  return words.length === 0 ? tokenizer : tokenizer.withWords(vectorsOf(words).named);
}

/** Ids for the vectors, from -1 down; words are apart by one, so that none seems to go on as the next. */
function vectorsOf(words: readonly LearnedWord[]) {
  const byId = new Map<number, readonly [word: string, row: number]>();
  let next = -1;
  const named = words.map(({ name, id, count }) => {
    const ids = Array.from({ length: count }, (_, row) => {
      byId.set(next, [id, row]);
      return next--;
    });
    next--;
    return { name, ids };
  });
  return { named, byId };
}

function withLearned(chunk: TokenChunk, byId: ReadonlyMap<number, readonly [string, number]>): TokenChunk {
  if (chunk.ids.every((id) => id >= 0)) return chunk;
  const learned: (readonly [string, number])[] = [];
  const ids = chunk.ids.map((id) => (id >= 0 ? id : -learned.push(byId.get(id)!)));
  return { ...chunk, ids, learned };
}

/** See Checkpoint.promptChunks. Where the tokenizers make not as many chunks, the fewer are filled up with empty ones. */
export function promptChunks(
  { tokenizer, tokenizer2 }: Pick<SdxlParts, "tokenizer" | "tokenizer2">,
  { text, second = text, syntax, clipSkip, words }: PromptText,
): readonly Prompt[] {
  const [chunks, chunks2] = [
    tokenChunks(text, syntax, tokenizer, words),
    tokenChunks(second, syntax, tokenizer2, words),
  ];
  return Array.from({ length: Math.max(chunks.length, chunks2.length) }, (_, i) => ({
    tokens: {
      tokenizer: chunks[i] ?? { ids: tokenizer.encode("") },
      tokenizer_2: chunks2[i] ?? { ids: tokenizer2.encode("") },
    },
    clipSkip,
  }));
}

/**
 * "context" [S, D]: hidden states side by side, by their tokens' weights. "pooled" [P]: the second encoder's projected end-of-text
 * state.
 */
export async function encodePrompt(
  { textEncoder, textEncoder2 }: SdxlParts["configs"],
  { clip, clip2 }: TextGraphs,
  phase: PhaseRun,
  { tokens, clipSkip, adapters }: Prompt,
  { words, signal }: EncodeOptions,
): Promise<Conditioning> {
  const strengths = adapters?.strengths ?? [];
  const [chunk, chunk2] = [tokens.tokenizer!, tokens.tokenizer_2!];
  const plain = clipInputs(clip, textEncoder, chunk, vectorRows(words, "text_encoder"));
  const first = await phase.run(PASS.clip, withStrengths(clip, plain, strengths), { signal, upcoming: [PASS.clip2] });
  const plain2 = clipInputs(clip2, textEncoder2, chunk2, vectorRows(words, "text_encoder_2"));
  const second = await phase.run(PASS.clip2, withStrengths(clip2, plain2, strengths), { signal });
  const hidden = hiddenName(clipSkip);
  const [states1, states2] = [first.get(hidden)!, second.get(hidden)!]; // [1, S, C1], [1, S, C2]
  if (chunk.weights) emphasise(states1, chunk.weights);
  if (chunk2.weights) emphasise(states2, chunk2.weights);
  const [width1, width2] = [textEncoder.hiddenSize, textEncoder2.hiddenSize];
  const context = new Float32Array(chunk.ids.length * (width1 + width2));
  for (let t = 0; t < chunk.ids.length; t++) {
    context.set(states1.subarray(t * width1, (t + 1) * width1), t * (width1 + width2));
    context.set(states2.subarray(t * width2, (t + 1) * width2), t * (width1 + width2) + width1);
  }
  return { sequences: new Map([["context", context]]), vectors: new Map([["pooled", second.get("pooled")!]]) };
}

/** For a refiner, by the second encoder alone: "context" [S, C2], "pooled" [P]. `passId`: of its run. */
export async function encodeRefinerPrompt(
  textEncoder2: ClipConfig,
  clip2: Graph,
  phase: PhaseRun,
  passId: string,
  { tokens }: Prompt,
  { words, signal }: EncodeOptions,
): Promise<Conditioning> {
  const chunk = tokens.tokenizer_2!;
  const inputs = clipInputs(clip2, textEncoder2, chunk, vectorRows(words, "text_encoder_2"));
  const states = await phase.run(passId, inputs, { signal });
  const hidden = states.get(hiddenName(0))!; // [1, S, C2]
  if (chunk.weights) emphasise(hidden, chunk.weights);
  return {
    sequences: new Map([["context", hidden]]),
    vectors: new Map([["pooled", states.get("pooled")!]]),
  };
}

/** A vector's values, by its word's id and row. */
type VectorRow = (word: string, row: number) => Float32Array;

function vectorRows(words: readonly LearnedWord[] = [], folder: string): VectorRow {
  return (id, row) => {
    const { count, vectors } = words.find((word) => word.id === id)!;
    const values = vectors.get(folder)!;
    const width = values.length / count;
    return values.subarray(row * width, (row + 1) * width);
  };
}

function clipInputs(
  graph: Graph,
  config: ClipConfig,
  { ids, learned = [] }: TokenChunk,
  vectorRow: VectorRow,
): ReadonlyMap<string, Int32Array | Float32Array> {
  const foreign = ids.find((id) => id >= config.vocabSize);
  if (foreign !== undefined) {
    throw new ArtifactError({
      code: "E_TOKENIZER",
      problem: `the prompt has token ${foreign}, which the text encoder's vocabulary of ${config.vocabSize} lacks`,
      next: "take tokenizers and text encoders from one model",
    });
  }
  const inputs = new Map<string, Int32Array | Float32Array>([
    ["ids", Int32Array.from(ids, (id) => Math.max(0, id))],
    ["positions", Int32Array.from(ids, (_, i) => i)],
  ]);
  if (graph.inputs.has("eos_rows")) inputs.set("eos_rows", Int32Array.of(eosPosition(ids, config.eosTokenId)));
  if (graph.inputs.has("rows")) {
    const vectors = new Float32Array(ids.length * config.hiddenSize); // [T, C]
    for (const [i, [word, row]] of learned.entries()) vectors.set(vectorRow(word, row), i * config.hiddenSize);
    inputs.set("learned", vectors);
    inputs.set(
      "rows",
      Int32Array.from(ids, (id, t) => (id < 0 ? ids.length - 1 - id : t)),
    );
  }
  return inputs;
}

/** transformers: with the legacy eos_token_id 2 the highest id, else the first end-of-text token (0 if there is none). */
function eosPosition(ids: readonly number[], eosTokenId: number): number {
  if (eosTokenId === 2) return ids.indexOf(ids.reduce((max, id) => Math.max(max, id), 0));
  return Math.max(0, ids.indexOf(eosTokenId));
}
