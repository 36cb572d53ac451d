/**
 * @file A prompt of any length as chunks that a text encoder reads one by one, by the rules of A1111's web UI: each has a start and an
 * end of its own; what follows a comma among a full chunk's last tokens goes over into the next one; `BREAK` ends one early.
 */
import type { ClipTokenizer } from "../tokenizer/clip.ts";
import { attentionSpans } from "./attention.ts";

/** What an encoder reads at once, as plain JSON. */
export interface TokenChunk {
  /** As many as the encoder has positions: start, text, end, padding. -1 - i stands for `learned[i]`. */
  readonly ids: readonly number[];
  /** Vectors in place of tokens: a word's id, and which of its vectors. */
  readonly learned?: readonly (readonly [word: string, row: number])[];
  /** Of each; absent where all are 1. */
  readonly weights?: readonly number[];
}

/** How far back, in tokens, a comma may lie for its followers to move to the next chunk. */
const COMMA_REACH = 20;

type ChunkTokenizer = Pick<ClipTokenizer, "bosId" | "eosId" | "padId" | "modelMaxLength" | "textIds">;

/** At least one. Throws UsageError `E_PROMPT` where brackets are nested too deep. */
export function weightedChunks(text: string, tokenizer: ChunkTokenizer): TokenChunk[] {
  const room = tokenizer.modelMaxLength - 2;
  const [comma, ...rest] = tokenizer.textIds(",");
  const commaId = rest.length === 0 ? comma : undefined;
  const chunks: TokenChunk[] = [];
  let ids: number[] = [];
  let weights: number[] = [];
  /** Index in the chunk of its last comma. */
  let commaAt: number | undefined;
  const close = (kept = ids.length) => {
    chunks.push(enclosed(ids.slice(0, kept), weights.slice(0, kept), tokenizer));
    ids = ids.slice(kept);
    weights = weights.slice(kept);
    commaAt = undefined;
  };
  for (const span of attentionSpans(text)) {
    if (span === "BREAK") {
      close();
      continue;
    }
    const textIds = tokenizer.textIds(span.text);
    for (const [at, id] of textIds.entries()) {
      // A learned word is not cut in two.
      if (id < 0 && textIds[at - 1] !== id + 1) {
        let count = 1;
        while (textIds[at + count] === id - count) count++;
        if (ids.length > 0 && ids.length + count > room) close();
      }
      const isFull = ids.length === room;
      if (isFull) {
        const moves = id !== commaId && commaAt !== undefined && room - commaAt <= COMMA_REACH;
        close(moves ? commaAt! + 1 : room);
      } else if (id === commaId) {
        commaAt = ids.length;
      }
      ids.push(id);
      weights.push(span.weight);
    }
  }
  if (ids.length > 0 || chunks.length === 0) close();
  return chunks;
}

function enclosed(
  text: readonly number[],
  weights: readonly number[],
  { bosId, eosId, padId, modelMaxLength }: ChunkTokenizer,
): TokenChunk {
  const padding = modelMaxLength - 2 - text.length;
  const ids = [bosId, ...text, eosId, ...new Array<number>(padding).fill(padId)];
  if (weights.every((weight) => weight === 1)) return { ids };
  return { ids, weights: [1, ...weights, 1, ...new Array<number>(padding).fill(1)] };
}
