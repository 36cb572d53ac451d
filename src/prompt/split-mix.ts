/**
 * @file The generator that prompts are drawn with: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), with
 * the constants of Vigna's splitmix64.c. Small, the same everywhere, and no draw of the noise's.
 */

const MASK = 2n ** 64n - 1n;
const GAMMA = 0x9e37_79b9_7f4a_7c15n;

export class SplitMix64 {
  #state: bigint;

  /** `seed`: 0 .. 2^64-1. */
  constructor(seed: bigint | number | string) {
    this.#state = BigInt(seed) & MASK;
  }

  /** 64 bits. */
  next(): bigint {
    this.#state = (this.#state + GAMMA) & MASK;
    let mixed = this.#state;
    mixed = ((mixed ^ (mixed >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & MASK;
    mixed = ((mixed ^ (mixed >> 27n)) * 0x94d0_49bb_1331_11ebn) & MASK;
    return mixed ^ (mixed >> 31n);
  }

  /** 0 <= x < 1, by the upper 53 bits. */
  unit(): number {
    return Number(this.next() >> 11n) / 2 ** 53;
  }
}
