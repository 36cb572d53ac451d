/** @file Durations and lines for people. Bytes: ledger/byte-text.ts. */

import { textWidth } from "./text-width.ts";

/** `0:07`, `12:30`, `1:02:03`. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** `line` in pieces of at most `columns`, cut at spaces; those after the first are indented two more than it is. A longer word stays whole. */
export function wrapped(line: string, columns: number): string[] {
  const indent = /^ */.exec(line)![0];
  const lines: string[] = [];
  let current = "";
  for (const word of line.slice(indent.length).split(" ")) {
    const start = lines.length === 0 ? indent : `${indent}  `;
    if (current === "") current = start + word;
    else if (textWidth(current) + 1 + textWidth(word) <= columns) current += ` ${word}`;
    else {
      lines.push(current);
      current = `${indent}  ${word}`;
    }
  }
  return [...lines, current];
}

/** `1-4`, or `1, 3, 4` where some are left out. Ascending. */
export function rangeText(numbers: readonly number[]): string {
  const [first, last] = [numbers[0]!, numbers.at(-1)!];
  return last - first === numbers.length - 1 ? `${first}-${last}` : numbers.join(", ");
}
