/** @file Weights that come slower than before: on a shared graphics card, somebody else has taken its memory. Clocks are handed in. */

/** A rate below this share of the best one so far is told. */
const SHARE = 0.25;
/** Rates of less than this say nothing. */
const LEAST_BYTES = 1024 ** 2;

export class SlowdownWatch {
  #best = 0;
  #told = false;

  /** Bytes that came to the device in `ms`. A text for the user, once. */
  observe(bytes: number, ms: number): string | undefined {
    if (bytes < LEAST_BYTES || !(ms > 0)) return undefined;
    const gbps = bytes / ms / 1e6;
    const slow = gbps < SHARE * this.#best;
    this.#best = Math.max(this.#best, gbps);
    if (!slow || this.#told) return undefined;
    this.#told = true;
    return (
      `Weights come to the graphics card at ${gbps.toFixed(2)} GB/s, ${this.#best.toFixed(2)} GB/s before: another program may be ` +
      "using its memory, or the disk. A smaller --vram leaves more to others."
    );
  }
}
