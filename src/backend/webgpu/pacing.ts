/**
 * @file How much work goes into one submit. Windows resets a graphics card whose work takes 2 s, so a submit should take about
 * 100 ms. The rate is measured as work completes; only the cutting of work follows it, never what is computed.
 */

export interface PacingState {
  /** Operations a millisecond, as measured. */
  readonly costPerMs: number;
  /** 1, halved after each loss of the device. */
  readonly caution: number;
}

export const TARGET_MS = 100;
/** What an unknown device is trusted with at first: 20 GFLOP/s. */
const FIRST_COST_PER_MS = 20e6;
/** Losses that have other reasons than long submits must not cut work without end. */
const LEAST_CAUTION = 1 / 64;
/** A measurement raises the rate by this factor at most: one short submit proves little. */
const GROWTH = 2;

export class Pacer {
  #costPerMs: number;
  #caution: number;

  constructor(state: Partial<PacingState> = {}) {
    this.#costPerMs = state.costPerMs ?? FIRST_COST_PER_MS;
    this.#caution = state.caution ?? 1;
  }

  /** Operations that one submit may hold. */
  get budget(): number {
    return this.#costPerMs * TARGET_MS * this.#caution;
  }

  get state(): PacingState {
    return { costPerMs: this.#costPerMs, caution: this.#caution };
  }

  /** A submit of `cost` operations took `ms` from its start (or the end of the one before) to its end. */
  observe(cost: number, ms: number): void {
    if (!(ms > 0)) return;
    const rate = cost / ms;
    // Short submits mostly measure the way to the device and back: they may raise the rate, not lower it.
    if (rate >= this.#costPerMs) this.#costPerMs = Math.min(rate, this.#costPerMs * GROWTH);
    else if (cost >= 0.2 * this.budget || ms > TARGET_MS) this.#costPerMs = rate;
  }

  /** After a loss of the device. */
  halve(): void {
    this.#caution = Math.max(LEAST_CAUTION, this.#caution / 2);
  }
}
