/** @file What each step took, and how long the rest will take. Clocks and counters are handed in. */
import type { GenerateEvent } from "../job/events.ts";

/** Counters that only grow. */
export interface Counters {
  readonly nowMs: number;
  /** Weight bytes read. */
  readonly readBytes: number;
  /** Time in which compute stood still for weights. */
  readonly waitMs: number;
}

/** What a step's event says of time. */
export type StepTimes = Omit<Extract<GenerateEvent, { readonly type: "step" }>, "type" | "step" | "steps" | "state">;

export class StepClock {
  readonly #read: () => Counters;
  readonly #startedMs: number;
  #phaseMs: number;
  #stepsBefore = 0;
  #stepsDone = 0;
  #last: Counters;

  constructor(read: () => Counters) {
    this.#read = read;
    this.#last = read();
    this.#startedMs = this.#phaseMs = this.#last.nowMs;
  }

  get elapsedMs(): number {
    return this.#read().nowMs - this.#startedMs;
  }

  /** An attempt begins, which goes on after so many steps. */
  attempt(fromStep: number): void {
    this.#stepsDone = fromStep;
  }

  /** A phase begins: what was before is no part of its first step. */
  phase(): void {
    this.#last = this.#read();
    this.#phaseMs = this.#last.nowMs;
    this.#stepsBefore = this.#stepsDone;
  }

  /** `step` of `steps` is done. */
  step(step: number, steps: number): StepTimes {
    const { nowMs, ...counted } = this.#read();
    const stepMs = nowMs - this.#last.nowMs;
    const readBytes = counted.readBytes - this.#last.readBytes;
    return {
      elapsedMs: nowMs - this.#startedMs,
      stepMs,
      etaMs: ((nowMs - this.#phaseMs) / (step - this.#stepsBefore)) * (steps - step),
      readBytes,
      bytesPerSecond: stepMs > 0 ? (readBytes / stepMs) * 1000 : 0,
      waitMs: counted.waitMs - this.#last.waitMs,
    };
  }

  /** Whoever listens to a step has been served: the next one begins. */
  stepShown(step: number): void {
    this.#last = this.#read();
    this.#stepsDone = step;
  }
}
