/**
 * @file Memory for decoded tensors: one buffer for a whole import, whose parts are taken in turn and given back in about that
 * order. Buffers of their own would be garbage of up to 26 MB each, 1,680 times.
 */

/** Parts begin at multiples of this. */
const ALIGNMENT_ELEMENTS = 32;

interface Part {
  readonly start: number;
  readonly end: number;
  free: boolean;
}

export class WeightRing {
  readonly #memory: Uint16Array<ArrayBuffer>;
  readonly #largest: number;
  /** In the order in which they were taken. */
  readonly #parts: Part[] = [];

  /** Room for two tensors of the largest size, so that one is decoded while the other is written. Lengths in elements. */
  constructor(largest: number) {
    this.#largest = roundUp(largest);
    this.#memory = new Uint16Array(2 * this.#largest);
  }

  /** Whether a tensor of any size could be taken now. */
  get hasRoom(): boolean {
    return this.#placeFor(this.#largest) !== undefined;
  }

  /** Contents are whatever was there. Beyond the largest size, and without room, in memory of its own. */
  take(elements: number): Uint16Array<ArrayBuffer> {
    const start = this.#placeFor(roundUp(elements));
    if (start === undefined) return new Uint16Array(elements);
    this.#parts.push({ start, end: start + roundUp(elements), free: false });
    return this.#memory.subarray(start, start + elements);
  }

  give(weights: Uint16Array<ArrayBuffer>): void {
    if (weights.buffer !== this.#memory.buffer) return;
    const start = weights.byteOffset / 2;
    const part = this.#parts.find((taken) => taken.start === start && !taken.free);
    if (!part) throw new Error("a part of the ring was given back twice");
    part.free = true;
    while (this.#parts[0]?.free) this.#parts.shift();
  }

  /** Behind the part taken last, or in front of the one that was taken first. */
  #placeFor(elements: number): number | undefined {
    const [first, last] = [this.#parts[0], this.#parts.at(-1)];
    if (!first || !last) return elements <= this.#memory.length ? 0 : undefined;
    const wrapped = last.start < first.start;
    if (!wrapped && last.end + elements <= this.#memory.length) return last.end;
    const start = wrapped ? last.end : 0;
    return start + elements <= first.start ? start : undefined;
  }
}

function roundUp(elements: number): number {
  return Math.max(1, Math.ceil(elements / ALIGNMENT_ELEMENTS)) * ALIGNMENT_ELEMENTS;
}
