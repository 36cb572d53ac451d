/**
 * @file Requests are begun a few at a time, and the socket is looked at in between: of a burst, all of which has come when it is looked at, each
 * would be begun before anything else is answered.
 */

/** Begun in one turn of the event loop. Each takes up to a millisecond of a processor, in this turn and later ones. */
const BEGUN_A_TURN = 4;

export class Admission {
  readonly #waiting: (() => void)[] = [];
  readonly #nextTurn: (callback: () => void) => void;
  #begun = 0;
  #counting = false;

  /** `nextTurn`: calls back once the socket has been looked at. */
  constructor(nextTurn: (callback: () => void) => void) {
    this.#nextTurn = nextTurn;
  }

  /** Begins it at once where few have been begun in this turn, else in its order in a later one. */
  begin(work: () => void): void {
    if (this.#begun < BEGUN_A_TURN && this.#waiting.length === 0) this.#begin(work);
    else this.#waiting.push(work);
  }

  #begin(work: () => void): void {
    this.#begun++;
    if (!this.#counting) {
      this.#counting = true;
      this.#nextTurn(() => this.#turn());
    }
    work();
  }

  #turn(): void {
    this.#begun = 0;
    this.#counting = false;
    for (const work of this.#waiting.splice(0, BEGUN_A_TURN)) this.#begin(work);
  }
}
