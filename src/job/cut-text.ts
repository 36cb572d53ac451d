/** @file How it is told what tokenizers left out of a prompt that is too long. */
import type { CutTexts } from "../tokenizer/cut-text.ts";

/** Longest text that is quoted whole. */
const QUOTED_CHARS = 1000;

/** A note for people, one line; undefined if nothing was cut. `what`: "prompt". */
export function cutNote(what: string, cut: CutTexts): string | undefined {
  const names = new Map<string, string[]>();
  for (const [name, { limit, tokens, text }] of Object.entries(cut)) {
    const shown = text.length > QUOTED_CHARS ? `${text.slice(0, QUOTED_CHARS).toWellFormed()} ...` : text;
    const said = `(${limit} tokens): ${tokens} ${tokens === 1 ? "is" : "are"} left out, ${JSON.stringify(shown)}`;
    names.set(said, [...(names.get(said) ?? []), name]);
  }
  if (names.size === 0) return undefined;
  const parts = [...names].map(([said, tokenizers]) => `for ${tokenizers.join(" and ")} ${said}`);
  return `The ${what} is too long ${parts.join("; ")}`;
}
