/** @file Names that people write in many ways, understood as ours. */

/** Names that a field takes, and how a text is understood as one. */
export interface NameTable {
  readonly names: readonly string[];
  /** What the text means: a name of the table, two for joint names; undefined where it means nothing. */
  readonly meaning: (text: string) => string | undefined;
  /** The known name that is nearest to a text that means nothing. */
  readonly nearest: (text: string) => string;
}

/** Letters and digits alone: "DPM++ 2M SDE" and "dpmpp_2m_sde" are one. */
export function plainName(text: string): string {
  return text
    .toLowerCase()
    .replaceAll("++", "pp")
    .replace(/^(?:k|sample)[\s_-]+/, "")
    .replace(/[\s_-]+/g, "")
    .replace(/(?<=.)scheduler$/, "");
}

/** The name that a text comes nearest to. */
export function nearestName(names: readonly string[], text: string): string {
  // Longer ones are no slips of the hand.
  const written = plainName(text.slice(0, 60));
  return names.toSorted((a, b) => distance(plainName(a), written) - distance(plainName(b), written))[0]!;
}

/** How many letters must be put in, left out or exchanged to make one text of the other (Levenshtein). */
function distance(from: string, text: string): number {
  let row = Array.from({ length: text.length + 1 }, (_, at) => at);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= text.length; j++) {
      const exchanged = row[j - 1]! + (from[i - 1] === text[j - 1] ? 0 : 1);
      next.push(Math.min(exchanged, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row.at(-1)!;
}
