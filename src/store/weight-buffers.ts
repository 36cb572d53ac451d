/** @file Memory for decoded tensors, used again and again: at full size each is up to 59 MB, and there are 1,680 of them. */

export class WeightBuffers {
  #free: Uint16Array<ArrayBuffer>[] = [];

  /** Contents are whatever was there. */
  take(elements: number): Uint16Array<ArrayBuffer> {
    const fitting = this.#free.filter((buffer) => buffer.length >= elements).sort((a, b) => a.length - b.length)[0];
    if (!fitting) {
      // Those that are too small would only be in the way.
      this.#free = [];
      return new Uint16Array(elements);
    }
    this.#free = this.#free.filter((buffer) => buffer !== fitting);
    return fitting.subarray(0, elements);
  }

  give(weights: Uint16Array<ArrayBuffer>): void {
    this.#free.push(new Uint16Array(weights.buffer));
  }
}
