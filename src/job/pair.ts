/** @file Two whole numbers in one text: a size such as 1024x768, a place such as 0,0. */

/** What stands between them. */
export type PairSeparator = "x" | ",";

/** The two numbers, undefined where the text is no such pair. */
export function pairOf(text: string, separator: PairSeparator): readonly [number, number] | undefined {
  const [, first, second, ...more] = /^(\d{1,9})([x,])(\d{1,9})$/.exec(text) ?? [];
  return second === separator ? [Number(first), Number(more[0])] : undefined;
}
