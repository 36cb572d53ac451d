/** @file Memory that is used for one thing after the other. */

/** One buffer that grows to the largest length that was asked for; what it held before is gone then. */
export class Scratch {
  #buffer = new ArrayBuffer(0);

  /** Contents are whatever was there. Valid until the next call. */
  take(lengthBytes: number): Uint8Array<ArrayBuffer> {
    if (this.#buffer.byteLength < lengthBytes) {
      freeBuffer(this.#buffer);
      this.#buffer = new ArrayBuffer(lengthBytes);
    }
    return new Uint8Array(this.#buffer, 0, lengthBytes);
  }
}

/** Gives memory back now; the collector would wait for much more of it. All views of the buffer are empty after that. */
export function freeBuffer(buffer: ArrayBuffer): void {
  buffer.transfer(0);
}
