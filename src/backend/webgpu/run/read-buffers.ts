/**
 * @file Plain memory that weights are read into and checked in before they go to a staging slot. Slots are mapped memory of the card or
 * write-combined memory of the host: a processor writes there at the bus's speed, and reads from there a few megabytes a second.
 */

export class ReadBuffers {
  readonly #count: number;
  readonly #bytes: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  readonly #waiting: ((buffer: Uint8Array<ArrayBuffer>) => void)[] = [];
  #made = 0;

  /** `count` of `bytes` each, made when they are first needed. */
  constructor(count: number, bytes: number) {
    this.#count = count;
    this.#bytes = bytes;
  }

  /** Lends a buffer for the time of `use`; waits while all are lent. */
  async lend<T>(use: (buffer: Uint8Array<ArrayBuffer>) => Promise<T>): Promise<T> {
    const buffer = await this.#take();
    try {
      return await use(buffer);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(buffer);
      else this.#free.push(buffer);
    }
  }

  async #take(): Promise<Uint8Array<ArrayBuffer>> {
    const free = this.#free.pop();
    if (free) return free;
    if (this.#made === this.#count) return await new Promise((resolve) => this.#waiting.push(resolve));
    this.#made++;
    return new Uint8Array(this.#bytes);
  }
}
