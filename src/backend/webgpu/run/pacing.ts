/**
 * @file How much work goes into one submit. Windows resets a GPU whose work takes 2 s, so a submit should take about
 * 100 ms. The rate is measured as work completes; only the cutting of work follows it, never what is computed.
 */

export interface PacingState {
  /** Operations a millisecond, as measured. */
  readonly costPerMs: number;
  /** 1, halved after each loss of the device, doubled after each `TRUST_AFTER_MS` without one. */
  readonly caution: number;
  /** Work since the last of these; 0 if absent. */
  readonly steadyMs?: number;
}

export const TARGET_MS = 100;
/** What an unknown device is trusted with at first: 20 GFLOP/s. */
const FIRST_COST_PER_MS = 20e6;
/** So much work without a loss: a GPU that was lost for other reasons (sleep, a new driver) is not slow for ever. */
export const TRUST_AFTER_MS = 10 * 60_000;
/** Losses that have other reasons than long submits must not cut work without end. */
const LEAST_CAUTION = 1 / 64;
/** A measurement raises the rate by this factor at most, and lowers it by its square: kernels that compile are slow once. */
const MOST_CHANGE = 2;

export class Pacer {
  #costPerMs: number;
  #caution: number;
  #steadyMs: number;
  /** Since the last change: operations, their time, and whether any of it says that the device is slow. */
  #cost = 0;
  #ms = 0;
  #full = false;

  constructor(state: Partial<PacingState> = {}) {
    this.#costPerMs = state.costPerMs ?? FIRST_COST_PER_MS;
    this.#caution = state.caution ?? 1;
    this.#steadyMs = state.steadyMs ?? 0;
  }

  /** Operations that one submit may hold. */
  get budget(): number {
    return this.#costPerMs * TARGET_MS * this.#caution;
  }

  get state(): PacingState {
    return { costPerMs: this.#costPerMs, caution: this.#caution, steadyMs: this.#steadyMs };
  }

  /**
   * Work of `cost` operations took `ms` from its start (or the end of the work before) to its end. Judged over `TARGET_MS` of
   * work together, because ends are reported late and several at once: one report alone may show any rate.
   */
  observe(cost: number, ms: number): void {
    if (!(cost > 0) || !(ms >= 0)) return;
    this.#cost += cost;
    this.#ms += ms;
    this.#trust(ms);
    // Short submits mostly measure the way to the device and back: they may raise the rate, not lower it.
    this.#full ||= cost >= 0.2 * this.budget || ms > TARGET_MS;
    if (this.#ms < TARGET_MS) return;
    const rate = this.#cost / this.#ms;
    if (rate >= this.#costPerMs) this.#costPerMs = Math.min(rate, this.#costPerMs * MOST_CHANGE);
    else if (this.#full) this.#costPerMs = Math.max(rate, this.#costPerMs / MOST_CHANGE ** 2);
    this.#cost = 0;
    this.#ms = 0;
    this.#full = false;
  }

  #trust(ms: number): void {
    this.#steadyMs = this.#caution < 1 ? this.#steadyMs + ms : 0;
    if (this.#steadyMs < TRUST_AFTER_MS) return;
    this.#steadyMs = 0;
    this.#caution = Math.min(1, this.#caution * 2);
  }

  /** After a loss of the device. */
  halve(): void {
    this.#steadyMs = 0;
    this.#caution = Math.max(LEAST_CAUTION, this.#caution / 2);
  }
}
