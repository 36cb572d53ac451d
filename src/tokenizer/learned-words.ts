/** @file Words of a prompt that stand for ids of their own, which no vocabulary has: names of textual inversions. */

export interface NamedIds {
  readonly name: string;
  /** Below 0: none is a vocabulary's. */
  readonly ids: readonly number[];
}

/** How ComfyUI writes such a word; A1111 takes the name alone. */
const MARK = "(?:embedding:)?";
const WORD = String.raw`[\p{L}\p{N}_]`;

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

/** Finds the words in texts: whole ones, whatever their capitals, of two that begin alike the longer. Undefined for none. */
export function wordSplitter(
  words: readonly NamedIds[],
): ((text: string) => (string | readonly number[])[]) | undefined {
  const byName = new Map(words.map(({ name, ids }) => [name.toLowerCase(), ids]));
  const names = [...byName.keys()].filter((name) => name !== "").sort((a, b) => b.length - a.length);
  if (names.length === 0) return undefined;
  const pattern = new RegExp(`(?<!${WORD})${MARK}(${names.map(escaped).join("|")})(?!${WORD})`, "giu");
  return (text) => {
    const parts: (string | readonly number[])[] = [];
    let start = 0;
    for (const found of text.matchAll(pattern)) {
      if (found.index > start) parts.push(text.slice(start, found.index));
      parts.push(byName.get(found[1]!.toLowerCase())!);
      start = found.index + found[0].length;
    }
    if (start < text.length) parts.push(text.slice(start));
    return parts;
  };
}
