/** @file Small helpers for WGSL text. */

/** Element of an operand, in units of its view. */
export type At = (operand: string, index: string) => string;

/** One item, or several, for each of 0 .. count - 1. */
export function each<T>(count: number, make: (i: number) => T | readonly T[]): T[] {
  return Array.from({ length: count }, (_, i) => make(i)).flat() as T[];
}
