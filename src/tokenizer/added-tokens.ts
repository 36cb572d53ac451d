/**
 * @file Added tokens: strings that stand for one id wherever they are found in a text, before any byte-pair encoding.
 * Follows tokenizer/added_vocabulary.rs of Hugging Face `tokenizers`.
 */
import { WHITE_SPACE } from "./unicode.ts";

/** One added token. A `normalized` one is looked for in the normalised text, any other in the text as typed. */
export interface AddedToken {
  readonly content: string;
  readonly normalized: boolean;
  /** Only where no word character touches it. */
  readonly singleWord: boolean;
  /** Takes the white space on its left (right) with it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** A stretch of text, or the id of an added token found in it. */
export type TextPart = { readonly text: string } | { readonly id: number };

/** An added token, the string to look for, and its id. */
export interface Needle {
  readonly token: AddedToken;
  readonly pattern: string;
  readonly id: number;
}

const WORD = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]`;
const STARTS_WITH_WORD = new RegExp(`^${WORD}`, "u");
const ENDS_WITH_WORD = new RegExp(`${WORD}$`, "u");
const SPACE = new RegExp(`[${WHITE_SPACE}]`, "u");

/** Splits `text` at the needles: leftmost first, then longest; matches do not overlap. */
export function splitAtTokens(text: string, needles: readonly Needle[]): TextPart[] {
  const parts: TextPart[] = [];
  let start = 0;
  const byLength = needles
    .filter((needle) => needle.pattern !== "")
    .toSorted((a, b) => b.pattern.length - a.pattern.length);
  for (const { at, needle } of findMatches(text, byLength)) {
    const { token, pattern, id } = needle;
    let from = at;
    let to = at + pattern.length;
    if (token.singleWord && (ENDS_WITH_WORD.test(text.slice(0, from)) || STARTS_WITH_WORD.test(text.slice(to)))) {
      continue;
    }
    if (token.lstrip) while (from > start && SPACE.test(text[from - 1]!)) from--;
    if (token.rstrip) while (to < text.length && SPACE.test(text[to]!)) to++;
    if (start < from) parts.push({ text: text.slice(start, from) });
    parts.push({ id });
    start = to;
  }
  if (start < text.length) parts.push({ text: text.slice(start) });
  return parts;
}

function* findMatches(text: string, byLength: readonly Needle[]): Generator<{ at: number; needle: Needle }> {
  const nextAt = byLength.map((needle) => text.indexOf(needle.pattern));
  for (let from = 0; ; ) {
    let best = -1;
    for (let index = 0; index < byLength.length; index++) {
      if (nextAt[index]! >= 0 && nextAt[index]! < from) nextAt[index] = text.indexOf(byLength[index]!.pattern, from);
      if (nextAt[index]! >= 0 && (best < 0 || nextAt[index]! < nextAt[best]!)) best = index;
    }
    if (best < 0) return;
    const needle = byLength[best]!;
    const at = nextAt[best]!;
    yield { at, needle };
    from = at + needle.pattern.length;
  }
}
