/**
 * @file Seeds of the noise: whole numbers up to 2^64 - 1, as torch's `manual_seed` takes them. Plain JSON: those that JavaScript
 * holds exactly are numbers, larger ones their decimal digits.
 */

export type Seed = number | string;

/** torch's seeds have 64 bits. */
const SEED_LIMIT = 2n ** 64n;
/** What stands for a seed drawn at random, here and in other programs. */
export const RANDOM_SEED = -1;

/** The one way to write a seed; undefined if there is no such seed. */
function seedOf(value: bigint): Seed | undefined {
  if (value < 0n || value >= SEED_LIMIT) return undefined;
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value);
}

/** The seed of these digits; undefined if there is none. */
export function seedFromDigits(digits: string): Seed | undefined {
  return /^\d{1,40}$/.test(digits) ? seedOf(BigInt(digits)) : undefined;
}

/** The seed `count` after another; undefined past the last. */
export function seedAfter(seed: Seed, count: number): Seed | undefined {
  return seedOf(BigInt(seed) + BigInt(count));
}

/** A seed for those who name none: short enough to be typed. */
export function drawSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
