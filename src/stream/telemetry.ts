/** @file What a run spent its time on, by segment: reading, waiting for weights, computing. Data only; clocks are handed in. */

/** One run of one segment. */
export interface SegmentTiming {
  readonly pass: string;
  readonly segment: string;
  /** Compute stood still until the weights were there. */
  readonly waitMs: number;
  readonly computeMs: number;
}

/** One block on its way to the device. */
export interface LoadTiming {
  readonly key: string;
  readonly storedBytes: number;
  /** Within reads of the source. */
  readonly readMs: number;
  /** From the first read to the block's being there: reads, decoding, copies. */
  readonly totalMs: number;
}

export interface PassTotals {
  readonly pass: string;
  readonly runs: number;
  readonly computeMs: number;
  readonly waitMs: number;
  readonly loadedBytes: number;
  readonly readMs: number;
  readonly loadMs: number;
}

/** Collects timings of one image. */
export class Telemetry {
  #segments: SegmentTiming[] = [];
  #loads: (LoadTiming & { readonly pass: string })[] = [];
  #runs = new Map<string, number>();
  #pass = "";

  beginPass(pass: string): void {
    this.#pass = pass;
    this.#runs.set(pass, (this.#runs.get(pass) ?? 0) + 1);
  }

  segment(timing: SegmentTiming): void {
    this.#segments.push(timing);
  }

  load(timing: LoadTiming): void {
    this.#loads.push({ ...timing, pass: this.#pass });
  }

  /** Weights that came to the device since the last `clear`. */
  get loaded(): { readonly bytes: number; readonly ms: number } {
    const sum = (of: (timing: LoadTiming) => number) => this.#loads.reduce((total, timing) => total + of(timing), 0);
    return { bytes: sum(({ storedBytes }) => storedBytes), ms: sum(({ totalMs }) => totalMs) };
  }

  /** Since the last `clear`. */
  get waitMs(): number {
    return this.#segments.reduce((sum, timing) => sum + timing.waitMs, 0);
  }

  /** By pass, in the order of their first run. Loads count for the pass during which they ended. */
  totals(): PassTotals[] {
    const sum = <Item>(items: readonly Item[], of: (item: Item) => number) =>
      items.reduce((total, item) => total + of(item), 0);
    return [...this.#runs].map(([pass, runs]) => {
      const segments = this.#segments.filter((timing) => timing.pass === pass);
      const loads = this.#loads.filter((timing) => timing.pass === pass);
      return {
        pass,
        runs,
        computeMs: sum(segments, (timing) => timing.computeMs),
        waitMs: sum(segments, (timing) => timing.waitMs),
        loadedBytes: sum(loads, (timing) => timing.storedBytes),
        readMs: sum(loads, (timing) => timing.readMs),
        loadMs: sum(loads, (timing) => timing.totalMs),
      };
    });
  }

  clear(): void {
    this.#segments = [];
    this.#loads = [];
    this.#runs = new Map();
  }
}
