/** @file Times one block on its way to the device. Clocks are handed in. */
import type { ReadReport } from "./blocks.ts";
import type { LoadTiming } from "./telemetry.ts";

/** Reads of one load may overlap. */
export class ReadWatch {
  readonly #now: () => number;
  readonly #startedMs: number;
  #diskBytes = 0;
  #decodeMs = 0;
  #readMs = 0;
  #active = 0;
  #activeSinceMs = 0;

  constructor(now: () => number) {
    this.#now = now;
    this.#startedMs = now();
  }

  async reading(work: () => Promise<ReadReport>): Promise<void> {
    if (this.#active++ === 0) this.#activeSinceMs = this.#now();
    try {
      const { diskBytes, decodeMs } = await work();
      this.#diskBytes += diskBytes;
      this.#decodeMs += decodeMs;
    } finally {
      if (--this.#active === 0) this.#readMs += this.#now() - this.#activeSinceMs;
    }
  }

  /** Until now; what was no reading is uploading. */
  timing(): Omit<LoadTiming, "key" | "storedBytes"> {
    const totalMs = this.#now() - this.#startedMs;
    return {
      diskBytes: this.#diskBytes,
      decodeMs: this.#decodeMs,
      readMs: this.#readMs,
      uploadMs: totalMs - this.#readMs,
    };
  }
}
