/**
 * @file Comparisons of what is long: deepEqual's report of two megabytes that differ takes twenty gigabytes to make. These name
 * the first difference, how many there are, and the largest.
 */
import { AssertionError } from "node:assert";

export type Numbers =
  | Float32Array
  | Float64Array
  | Float16Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array;

/** Throws AssertionError unless both are the same bytes. `what`: what is compared, for the message. */
export function sameBytes(found: Uint8Array, expected: Uint8Array, what = "bytes"): void {
  if (Buffer.compare(found, expected) !== 0) fail(found, expected, what);
}

/** Throws AssertionError unless both are of one type and length and hold the same numbers: NaN is NaN, -0 is not 0. */
export function sameValues(found: Numbers, expected: Numbers, what = "values"): void {
  const [foundType, expectedType] = [found.constructor.name, expected.constructor.name];
  if (foundType !== expectedType)
    throw new AssertionError({ message: `${what}: ${foundType}, expected ${expectedType}` });
  if (found.length !== expected.length) fail(found, expected, what);
  for (let i = 0; i < found.length; i++) if (!Object.is(found[i], expected[i])) fail(found, expected, what);
}

/** The same of results by name, in the same order. */
export function sameOutputs<Name>(
  found: ReadonlyMap<Name, Numbers>,
  expected: ReadonlyMap<Name, Numbers>,
  what = "outputs",
): void {
  const names = (of: ReadonlyMap<Name, Numbers>) => [...of.keys()].join(", ");
  if (names(found) !== names(expected)) {
    throw new AssertionError({ message: `${what}: there are ${names(found)}; expected ${names(expected)}` });
  }
  for (const [name, values] of expected) sameValues(found.get(name)!, values, `${what} ${name}`);
}

function fail(found: Numbers, expected: Numbers, what: string): never {
  const common = Math.min(found.length, expected.length);
  let first = common;
  let count = 0;
  let largest = 0;
  for (let i = 0; i < common; i++) {
    if (Object.is(found[i], expected[i])) continue;
    if (count++ === 0) first = i;
    const difference = Math.abs(found[i]! - expected[i]!);
    if (difference > largest || Number.isNaN(difference)) largest = difference;
  }
  const lengths = found.length === expected.length ? "" : `${found.length} long, expected ${expected.length}; `;
  const at = `first at ${first}: ${found[first]}, expected ${expected[first]}`;
  const message = `${what}: ${lengths}${count} of ${common} differ, by up to ${largest}; ${at}`;
  throw new AssertionError({ message, stackStartFn: fail });
}
