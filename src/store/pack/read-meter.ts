/** @file What reads of stored blocks took: bytes from the disk, and time spent on unpacking. */
export class ReadMeter {
  readonly #now: () => number;
  /** As stored: packed blocks are shorter than what they hold. */
  diskBytes = 0;
  /** Summed over chunks that are unpacked side by side. */
  unpackMs = 0;

  /** `now`: milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  async unpacking<Result>(work: () => Promise<Result>): Promise<Result> {
    const startedMs = this.#now();
    try {
      return await work();
    } finally {
      this.unpackMs += this.#now() - startedMs;
    }
  }
}
