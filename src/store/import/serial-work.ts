/** @file Work that is done in turn while its giver goes on. What failed is told when the giver asks; what comes after it never runs. */

export class SerialWork {
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;
  #failure: { readonly error: unknown } | undefined;

  add(work: () => Promise<void>): void {
    this.#waiting++;
    this.#last = this.#last.then(async () => {
      try {
        if (!this.#failure) await work();
      } catch (error) {
        this.#failure ??= { error };
      } finally {
        this.#waiting--;
      }
    });
  }

  /** Pieces of work that have not ended. */
  get waiting(): number {
    return this.#waiting;
  }

  throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** All that was added before the call has ended when this resolves. Rejects with the first failure. */
  async done(): Promise<void> {
    await this.#last;
    this.throwFailure();
  }

  /** The same, whatever became of it. */
  async settled(): Promise<void> {
    await this.#last;
  }
}
