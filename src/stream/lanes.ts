/**
 * @file Pictures side by side in one pass: each with its own activations, inputs and signal. What goes wrong with one of them is
 * its own, and the others go on.
 */
import type { Arena, HostData, Span } from "../backend/device.ts";

/** Beside a pass of one picture. */
export interface PassOptions {
  readonly signal?: AbortSignal | undefined;
  /** Ids of the passes that run after this, in their order: their first weights are read ahead, and shared ones kept. */
  readonly upcoming?: readonly string[];
  /** Gets each segment's results, read back through RAM that the ledger must give meanwhile. What it throws ends the pass. */
  readonly onSegment?: (segment: string, values: Float32Array) => void;
  /** Results go there by name; others are allocated. */
  readonly into?: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  /** Inputs and results that lie on the host in the device's order. */
  readonly inDeviceOrder?: ReadonlySet<string>;
}

/** Device memory of one picture in a phase. */
export interface LaneMemory {
  readonly activations: Arena | undefined;
  readonly links: ReadonlyMap<string, Span>;
}

/** By name. */
export type PassResults = Map<string, Float32Array<ArrayBuffer>>;

/** A pass for one picture. */
export interface PassRun {
  /** Which memory is its. */
  readonly lane: number;
  /** What telemetry calls it. */
  readonly picture: number;
  readonly inputs: ReadonlyMap<string, HostData>;
  readonly options: PassOptions;
}

export class LaneRuns {
  readonly #runs: readonly PassRun[];
  readonly #results: (PromiseSettledResult<PassResults> | undefined)[];

  constructor(runs: readonly PassRun[]) {
    this.#runs = runs;
    this.#results = runs.map(() => undefined);
  }

  /** Whose signal has come fails with its reason. */
  dropAborted(): void {
    for (const [at, { options }] of this.#runs.entries()) {
      const { signal } = options;
      if (signal?.aborted) this.#results[at] ??= { status: "rejected", reason: signal.reason };
    }
  }

  /** `work` for each that has not failed, one after the other; what it throws is that one's failure. */
  async each(work: (run: PassRun, at: number) => Promise<void>): Promise<void> {
    for (const [at, run] of this.#runs.entries()) {
      if (this.#results[at]) continue;
      try {
        await work(run, at);
      } catch (reason) {
        this.#results[at] = { status: "rejected", reason };
      }
    }
  }

  /** `work` once for all; what it throws is everyone's failure, or the reason of its own signal. Undefined: it failed. */
  async all<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await work();
    } catch (reason) {
      await this.each(async ({ options: { signal } }) => {
        throw signal?.aborted ? signal.reason : reason;
      });
      return undefined;
    }
  }

  finish(at: number, value: PassResults): void {
    this.#results[at] = { status: "fulfilled", value };
  }

  /** All have failed or finished. */
  get isOver(): boolean {
    return this.#results.every((result) => result !== undefined);
  }

  /** Pictures of those that go on. */
  get pictures(): readonly number[] {
    return this.#runs.flatMap(({ picture }, at) => (this.#results[at] ? [] : [picture]));
  }

  /** Pictures of those that have finished. */
  get finished(): readonly number[] {
    return this.#runs.flatMap(({ picture }, at) => (this.#results[at]?.status === "fulfilled" ? [picture] : []));
  }

  get results(): readonly PromiseSettledResult<PassResults>[] {
    return this.#results.map((result) => result!);
  }
}

/** Aborted once each of these is: what is shared goes on for as long as one of those who share it does. */
export class SignalOfAll implements Disposable {
  readonly signal: AbortSignal | undefined;
  readonly #listening = new DisposableStack();

  constructor(signals: readonly (AbortSignal | undefined)[]) {
    const [only, ...others] = signals;
    if (others.length === 0) {
      this.signal = only;
      return;
    }
    if (signals.includes(undefined)) return;
    const whole = new AbortController();
    const look = () => {
      if (signals.every((signal) => signal!.aborted)) whole.abort(only!.reason);
    };
    for (const signal of signals) {
      signal!.addEventListener("abort", look);
      this.#listening.defer(() => signal!.removeEventListener("abort", look));
    }
    look();
    this.signal = whole.signal;
  }

  [Symbol.dispose](): void {
    this.#listening.dispose();
  }
}
