/**
 * @file Memory for decoded tensors: one buffer for a whole import. Parts are taken in turn, and given back in about that order. A
 * buffer for each tensor would be garbage of up to 26 MB, 1,680 times.
 */

import { alignUp } from "../../tensor/align.ts";
import { PAGE_BYTES } from "../fs.ts";

interface Part {
  readonly startByte: number;
  readonly endByte: number;
  readonly weights: Uint16Array;
  free: boolean;
}

/** Bytes for two tensors of up to `largestBytes`, so that one is decoded while the other is written. */
export function ringBytes(largestBytes: number): number {
  return 2 * slotBytes(largestBytes);
}

export class WeightRing {
  readonly #memory: Uint8Array;
  readonly #largestBytes: number;
  /** In the order in which they were taken. */
  readonly #parts: Part[] = [];

  /** `memory`: `ringBytes(largestBytes)` or more. */
  constructor(largestBytes: number, memory: Uint8Array) {
    this.#largestBytes = largestBytes;
    this.#memory = memory;
  }

  /** Whether a tensor of any size could be taken now. */
  get hasRoom(): boolean {
    return this.#placeFor(slotBytes(this.#largestBytes)) !== undefined;
  }

  /**
   * Memory for so many fp16 weights; it holds whatever was there. It begins as far behind a page of memory as `startByte` (even) lies
   * behind a page of the file, so that whole pages can be written directly. A tensor that has no room gets memory of its own.
   */
  take(elements: number, startByte = 0): Uint16Array {
    const lengthBytes = slotBytes(elements * 2);
    const at = this.#placeFor(lengthBytes);
    if (at === undefined) return new Uint16Array(elements);
    const { buffer, byteOffset } = this.#memory;
    const weights = new Uint16Array(buffer, byteOffset + at + (startByte % PAGE_BYTES), elements);
    this.#parts.push({ startByte: at, endByte: at + lengthBytes, weights, free: false });
    return weights;
  }

  give(weights: Uint16Array): void {
    if (weights.buffer !== this.#memory.buffer) return;
    const part = this.#parts.find((taken) => taken.weights === weights);
    if (!part || part.free) throw new Error("a part of the ring was given back twice");
    part.free = true;
    while (this.#parts[0]?.free) this.#parts.shift();
  }

  /** Behind the part taken last, or in front of the one that was taken first. */
  #placeFor(lengthBytes: number): number | undefined {
    const [first, last] = [this.#parts[0], this.#parts.at(-1)];
    if (!first || !last) return lengthBytes <= this.#memory.byteLength ? 0 : undefined;
    const wrapped = last.startByte < first.startByte;
    if (!wrapped && last.endByte + lengthBytes <= this.#memory.byteLength) return last.endByte;
    const start = wrapped ? last.endByte : 0;
    return start + lengthBytes <= first.startByte ? start : undefined;
  }
}

/** A page more, for what begins within one. */
function slotBytes(lengthBytes: number): number {
  return alignUp(lengthBytes, PAGE_BYTES) + PAGE_BYTES;
}
