/** @file Remembers for a moment that the queue was full, so that a burst of requests costs the database nothing. */
import { SolvayError } from "../errors.ts";

/** Whoever comes within it is told the same. */
const REMEMBERED_MS = 200;

export class FullQueue {
  #last: { readonly error: SolvayError; readonly count: number; readonly untilMs: number } | undefined;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Throws the refusal of a moment ago, where as many jobs are asked for now. */
  requireRoom(count: number): void {
    if (this.#last && this.#now() < this.#last.untilMs && count >= this.#last.count) throw this.#last.error;
  }

  /** What asking for `count` jobs was refused with. */
  refused(count: number, error: unknown): void {
    if (!(error instanceof SolvayError) || error.code !== "E_QUEUE_FULL") return;
    this.#last = { error, count, untilMs: this.#now() + REMEMBERED_MS };
  }
}
