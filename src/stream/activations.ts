/** @file Activation buffers, reused by length so that the step loop allocates nothing after its first pass. */

export class ActivationPool {
  readonly #free = new Map<number, Float32Array<ArrayBuffer>[]>();

  /** Contents are whatever was there. */
  take(lengthElements: number): Float32Array<ArrayBuffer> {
    return this.#free.get(lengthElements)?.pop() ?? new Float32Array(lengthElements);
  }

  give(buffer: Float32Array<ArrayBuffer>): void {
    const list = this.#free.get(buffer.length);
    if (list) list.push(buffer);
    else this.#free.set(buffer.length, [buffer]);
  }
}
