/**
 * @file Weights within a prompt, by the rules of A1111's web UI: `(more)` 1.1 times, `[less]` 1/1.1 times, `(as said:1.3)`, nested
 * weights multiply, a bracket that stays open runs to the end, and `BREAK` ends a chunk of tokens.
 */
import { requireShallow } from "./nesting.ts";

/** Text of one weight. */
export interface WeightedText {
  readonly text: string;
  readonly weight: number;
}

/** "BREAK" is the word's place, not its text. */
export type AttentionSpan = WeightedText | "BREAK";

const ROUND = 1.1;
const SQUARE = 1 / 1.1;

/** A backslash and what it takes with it; a bracket; the end of `(text:weight)`; text; a colon that is text. */
const PIECE = /\\([()[\]\\])?|[([\])]|:\s*([+-]?[.\d]+)\s*\)|[^\\()[\]:]+|:/gu;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)$/u;
const BREAK = /(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])/u;

/**
 * A prompt's spans in their order; neighbours of one weight are one. There is at least one. Throws UsageError `E_PROMPT` where
 * brackets are nested too deep.
 */
export function attentionSpans(prompt: string): AttentionSpan[] {
  const spans: ({ text: string; weight: number } | "BREAK")[] = [];
  const round: number[] = [];
  const square: number[] = [];
  const weigh = (from: number, factor: number) => {
    // From the inside out, as the rules say: products of floats depend on their order.
    for (let i = from; i < spans.length; i++) {
      const span = spans[i]!;
      if (span !== "BREAK") span.weight *= factor;
    }
  };
  const addText = (text: string) => spans.push({ text, weight: 1 });
  for (const { 0: piece, 1: escaped, 2: weight, index } of prompt.matchAll(PIECE)) {
    if (piece.startsWith("\\")) addText(escaped ?? "");
    else if (piece === "(") round.push(spans.length);
    else if (piece === "[") square.push(spans.length);
    else if (weight !== undefined && NUMBER.test(weight) && round.length > 0) weigh(round.pop()!, Number(weight));
    else if (piece === ")" && round.length > 0) weigh(round.pop()!, ROUND);
    else if (piece === "]" && square.length > 0) weigh(square.pop()!, SQUARE);
    else {
      const parts = piece.split(BREAK);
      for (const [i, part] of parts.entries()) {
        if (i > 0) spans.push("BREAK");
        const end = i < parts.length - 1 ? part.trimEnd() : part;
        addText(i > 0 ? end.trimStart() : end);
      }
    }
    requireShallow(round.length + square.length, index);
  }
  for (const from of round) weigh(from, ROUND);
  for (const from of square) weigh(from, SQUARE);
  return joined(spans);
}

function joined(spans: readonly AttentionSpan[]): AttentionSpan[] {
  const result: AttentionSpan[] = [];
  let texts: string[] = [];
  let weight = 1;
  const end = () => {
    if (texts.length > 0) result.push({ text: texts.join(""), weight });
    texts = [];
  };
  for (const span of spans) {
    if (span === "BREAK" || span.weight !== weight) end();
    if (span === "BREAK") result.push(span);
    else {
      texts.push(span.text);
      weight = span.weight;
    }
  }
  end();
  return result.length > 0 ? result : [{ text: "", weight: 1 }];
}
