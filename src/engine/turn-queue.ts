/** @file Work that goes one at a time. */

export class TurnQueue {
  #last: Promise<void> = Promise.resolve();

  /** Resolves when all turns before it are over, however they ended. Disposing of it ends the turn. */
  async take(): Promise<Disposable> {
    const before = this.#last;
    const turn = Promise.withResolvers<void>();
    this.#last = turn.promise;
    await before;
    return { [Symbol.dispose]: () => turn.resolve() };
  }
}
