/** @file Waiting, as tests can replace it. */
import { setTimeout as delay } from "node:timers/promises";

export interface Clock {
  /** Rejects with the signal's reason. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export const SYSTEM_CLOCK: Clock = { sleep: (ms, signal) => delay(ms, undefined, { signal }) };
