/**
 * @file What a run spent its time on, by segment: reading, decoding, uploading, waiting for weights, computing; and how many
 * weights were on the device meanwhile. Data only; clocks are handed in.
 */

/** One run of one segment. Bands of one graph have one `pass`: see `wholePassId`. */
export interface SegmentTiming {
  readonly pass: string;
  readonly segment: string;
  /** Of its blocks of weights; empty: it reads none. */
  readonly keys: readonly string[];
  /** Compute stood still until the weights were there. */
  readonly waitMs: number;
  readonly computeMs: number;
  /** When it ended. */
  readonly endedMs: number;
  /** Weights on the device at its end. */
  readonly weightBytes: number;
}

/** One block on its way to the device. */
export interface LoadTiming {
  readonly key: string;
  readonly storedBytes: number;
  /** As read; less than stored where blocks are packed or wait in RAM. */
  readonly diskBytes: number;
  /** While reads were under way, unpacking included. */
  readonly readMs: number;
  /** Unpacking, summed over parts that are unpacked side by side. */
  readonly decodeMs: number;
  /** The rest of the way: copies, conversions, waiting for staging. */
  readonly uploadMs: number;
}

/** Times and bytes of loads, summed. */
export interface LoadTotals {
  readonly loads: number;
  readonly loadedBytes: number;
  readonly diskBytes: number;
  readonly readMs: number;
  readonly decodeMs: number;
  readonly uploadMs: number;
}

export interface PassTotals extends LoadTotals {
  readonly pass: string;
  readonly runs: number;
  /** From the first input's writing to the last output's reading. */
  readonly totalMs: number;
  readonly computeMs: number;
  readonly waitMs: number;
}

export interface SegmentTotals extends LoadTotals {
  readonly pass: string;
  readonly segment: string;
  /** Keys of its weights; empty: it reads none. */
  readonly blocks: readonly string[];
  readonly runs: number;
  readonly computeMs: number;
  readonly waitMs: number;
  /** The longest time that one run waited. */
  readonly longestWaitMs: number;
}

export interface ResidencySample {
  /** Since the first segment's end. */
  readonly atMs: number;
  readonly weightBytes: number;
}

/** Beyond twice this, every other sample goes: a run of any length keeps its shape. */
const SAMPLES = 256;

/** Collects timings of one image. */
export class Telemetry {
  #segments: SegmentTiming[] = [];
  /** With the pass that used the block; until then the one during which it came, if any. */
  #loads: { readonly timing: LoadTiming; pass: string | undefined }[] = [];
  /** Loads that nobody has used yet, by block. */
  readonly #unused = new Map<string, { pass: string | undefined }>();
  /** Durations by pass; one that was cut off has none. */
  #runs = new Map<string, number[]>();
  #pass: string | undefined;

  beginPass(pass: string): void {
    this.#pass = pass;
    if (!this.#runs.has(pass)) this.#runs.set(pass, []);
  }

  endPass(pass: string, totalMs: number): void {
    this.#runs.get(pass)!.push(totalMs);
  }

  segment(timing: SegmentTiming): void {
    this.#segments.push(timing);
    for (const key of timing.keys) {
      const load = this.#unused.get(key);
      if (!load) continue;
      load.pass = timing.pass;
      this.#unused.delete(key);
    }
  }

  load(timing: LoadTiming): void {
    const load = { timing, pass: this.#pass };
    this.#loads.push(load);
    this.#unused.set(timing.key, load);
  }

  /** Weights that came to the device since the last `clear`. */
  get loaded(): { readonly bytes: number; readonly ms: number } {
    const { loadedBytes, readMs, uploadMs } = loadTotals(this.#loads.map(({ timing }) => timing));
    return { bytes: loadedBytes, ms: readMs + uploadMs };
  }

  /** Since the last `clear`. */
  get waitMs(): number {
    return sum(this.#segments, (timing) => timing.waitMs);
  }

  /**
   * By pass, in the order of their first run. A load counts for the pass that used the block, whenever it came; one that was in vain,
   * for the pass during which it came.
   */
  totals(): PassTotals[] {
    return [...this.#runs].map(([pass, runs]) => {
      const segments = this.#segments.filter((timing) => timing.pass === pass);
      return {
        pass,
        runs: runs.length,
        totalMs: sum(runs, (totalMs) => totalMs),
        computeMs: sum(segments, (timing) => timing.computeMs),
        waitMs: sum(segments, (timing) => timing.waitMs),
        ...loadTotals(this.#loads.flatMap((load) => (load.pass === pass ? [load.timing] : []))),
      };
    });
  }

  /** By segment, in the order of their first run. A block's loads count for the first segment that uses it. */
  segmentTotals(): SegmentTotals[] {
    const rows = Map.groupBy(this.#segments, ({ pass, segment, keys }) => JSON.stringify([pass, segment, keys]));
    const loads = Map.groupBy(
      this.#loads.map(({ timing }) => timing),
      ({ key }) => key,
    );
    return [...rows.values()].map((timings) => {
      const { pass, segment, keys } = timings[0]!;
      const own = keys.flatMap((key) => loads.get(key) ?? []);
      for (const key of keys) loads.delete(key);
      return {
        pass,
        segment,
        blocks: keys,
        runs: timings.length,
        computeMs: sum(timings, (timing) => timing.computeMs),
        waitMs: sum(timings, (timing) => timing.waitMs),
        longestWaitMs: timings.reduce((most, { waitMs }) => Math.max(most, waitMs), 0),
        ...loadTotals(own),
      };
    });
  }

  /** Weights on the device over time: 256 to 511 samples of a long run, all of a short one. */
  residency(): ResidencySample[] {
    const stride = 2 ** Math.max(0, Math.floor(Math.log2(this.#segments.length / SAMPLES)));
    const startMs = this.#segments[0]?.endedMs ?? 0;
    return this.#segments
      .filter((_, i) => i % stride === 0)
      .map(({ endedMs, weightBytes }) => ({ atMs: endedMs - startMs, weightBytes }));
  }

  clear(): void {
    this.#segments = [];
    this.#loads = [];
    this.#unused.clear();
    this.#pass = undefined;
    this.#runs = new Map();
  }
}

function loadTotals(loads: readonly LoadTiming[]): LoadTotals {
  return {
    loads: loads.length,
    loadedBytes: sum(loads, (load) => load.storedBytes),
    diskBytes: sum(loads, (load) => load.diskBytes),
    readMs: sum(loads, (load) => load.readMs),
    decodeMs: sum(loads, (load) => load.decodeMs),
    uploadMs: sum(loads, (load) => load.uploadMs),
  };
}

function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
