/** @file Names that people write in many ways, understood as ours. */

/** Names that a field takes, and how a text is understood as one. */
export interface NameTable {
  readonly names: readonly string[];
  /** What the text means: a name of the table, two for joint names; undefined where it means nothing. */
  readonly meaning: (text: string) => string | undefined;
  /** The known name that a text that means nothing was meant to be; undefined where none is near. */
  readonly nearest: (text: string) => string | undefined;
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

/** The name that a text was meant to be: a slip of the hand or two away from it, or one begins with the other. Undefined where none is so near. */
export function nearestName(names: readonly string[], text: string): string | undefined {
  // Longer ones are no slips of the hand.
  const written = plainName(text.slice(0, 60));
  const near = names.flatMap((name) => {
    const plain = plainName(name);
    const slips = distance(plain, written);
    // Of three letters two make any other word.
    const alike = slips <= Math.min(2, Math.floor(plain.length / 2));
    const begun = written !== "" && plain.startsWith(written);
    return begun || alike || written.startsWith(plain) ? [{ name, slips, begun }] : [];
  });
  // What is written so far is right: that comes before what would have to change.
  return near.toSorted((a, b) => Number(b.begun) - Number(a.begun) || a.slips - b.slips)[0]?.name;
}

/**
 * How many letters must be put in, left out, exchanged, or two neighbours swapped, to make one text of the other
 * (Damerau-Levenshtein, each letter touched once: "optimal string alignment").
 */
function distance(from: string, text: string): number {
  let before: number[] = [];
  let row = Array.from({ length: text.length + 1 }, (_, at) => at);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= text.length; j++) {
      const exchanged = row[j - 1]! + (from[i - 1] === text[j - 1] ? 0 : 1);
      const least = Math.min(exchanged, row[j]! + 1, next[j - 1]! + 1);
      const swapped = i > 1 && j > 1 && from[i - 1] === text[j - 2] && from[i - 2] === text[j - 1];
      next.push(swapped ? Math.min(least, before[j - 2]! + 1) : least);
    }
    [before, row] = [row, next];
  }
  return row.at(-1)!;
}
