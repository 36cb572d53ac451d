/** @file Small helpers for WGSL text. */

/** Element of an operand, in units of its view. */
export type At = (operand: string, index: string) => string;

/** One item, or several, for each of 0 .. count - 1. */
export function each<T>(count: number, make: (i: number) => T | readonly T[]): T[] {
  return Array.from({ length: count }, (_, i) => make(i)).flat() as T[];
}

/** A line, or several, for each of 0 .. count - 1. */
export function lines(count: number, make: (i: number) => string | readonly string[]): string {
  return each(count, make).join("\n");
}

/** Arguments, one for each of 0 .. count - 1. */
export function list(count: number, make: (i: number) => string): string {
  return each(count, make).join(", ");
}
