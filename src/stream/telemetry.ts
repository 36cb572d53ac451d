/**
 * @file What a run spent its time on, by segment: reading, decoding, uploading, waiting for weights, computing; and how many
 * weights were on the device meanwhile. Data only; clocks are handed in.
 */

/** One run of one segment, for one picture or for several one after the other. Bands of one graph have one `pass`: see `wholePassId`. */
export interface SegmentTiming {
  readonly pass: string;
  readonly segment: string;
  /** Which pictures it ran for. */
  readonly pictures: readonly number[];
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

/** Times and bytes of loads, summed. Of what several pictures share, each has an equal part. */
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

/** What is shared by these pictures. */
interface Shared {
  readonly pictures: readonly number[];
}

/** A load, with who used the block; until then with what ran when it came, if anything did. */
interface Load extends Shared {
  readonly timing: LoadTiming;
  pass: string | undefined;
  pictures: readonly number[];
}

/** Collects timings of one picture, or of several that are drawn side by side. */
export class Telemetry {
  #segments: SegmentTiming[] = [];
  #loads: Load[] = [];
  /** Loads that nobody has used yet, by block. */
  readonly #unused = new Map<string, Load>();
  /** By pass; a run that was cut off is none. */
  #runs = new Map<string, (Shared & { readonly totalMs: number })[]>();
  #pass: string | undefined;
  #pictures: readonly number[] = [];
  readonly #observers = new Set<(isLast: boolean) => void>();

  /** Calls `onChange` after each segment and each load, and at an image's end, until it is disposed of. */
  observe(onChange: (isLast: boolean) => void): Disposable {
    this.#observers.add(onChange);
    return { [Symbol.dispose]: () => void this.#observers.delete(onChange) };
  }

  /** Weights lie elsewhere now. `isLast`: and will for some time. */
  changed(isLast = false): void {
    for (const onChange of this.#observers) onChange(isLast);
  }

  /** The segment that ended last. */
  get latest(): SegmentTiming | undefined {
    return this.#segments.at(-1);
  }

  beginPass(pass: string, pictures: readonly number[]): void {
    this.#pass = pass;
    this.#pictures = pictures;
    if (!this.#runs.has(pass)) this.#runs.set(pass, []);
  }

  /** `pictures`: for which it came to its end. */
  endPass(pass: string, totalMs: number, pictures: readonly number[]): void {
    this.#runs.get(pass)!.push({ totalMs, pictures });
  }

  segment(timing: SegmentTiming): void {
    this.#segments.push(timing);
    for (const key of timing.keys) {
      const load = this.#unused.get(key);
      if (!load) continue;
      load.pass = timing.pass;
      load.pictures = timing.pictures;
      this.#unused.delete(key);
    }
    this.changed();
  }

  load(timing: LoadTiming): void {
    const load = { timing, pass: this.#pass, pictures: this.#pictures };
    this.#loads.push(load);
    this.#unused.set(timing.key, load);
    this.changed();
  }

  /** Weights that came to the device since the last `clear`. */
  get loaded(): { readonly bytes: number; readonly ms: number } {
    const { loadedBytes, readMs, uploadMs } = loadTotals(this.#loads);
    return { bytes: loadedBytes, ms: readMs + uploadMs };
  }

  /** Since the last `clear`. */
  get waitMs(): number {
    return sum(this.#segments, (timing) => timing.waitMs);
  }

  /**
   * By pass, in the order of their first run: of all pictures, or one picture's part. A load counts for the pass that used the block,
   * whenever it came; one that was in vain, for the pass during which it came.
   */
  totals(picture?: number): PassTotals[] {
    const parts = partsOf(picture);
    return [...this.#runs].map(([pass, all]) => {
      const runs = all.filter(parts.has);
      const segments = this.#segments.filter((timing) => timing.pass === pass && parts.has(timing));
      return {
        pass,
        runs: runs.length,
        totalMs: parts.sum(runs, ({ totalMs }) => totalMs),
        computeMs: parts.sum(segments, (timing) => timing.computeMs),
        waitMs: parts.sum(segments, (timing) => timing.waitMs),
        ...loadTotals(
          this.#loads.filter((load) => load.pass === pass && parts.has(load)),
          parts,
        ),
      };
    });
  }

  /** By segment, in the order of their first run, as `totals`. A block's loads count for the first segment that uses it. */
  segmentTotals(picture?: number): SegmentTotals[] {
    const parts = partsOf(picture);
    const rows = Map.groupBy(this.#segments.filter(parts.has), ({ pass, segment, keys }) =>
      JSON.stringify([pass, segment, keys]),
    );
    const loads = Map.groupBy(this.#loads.filter(parts.has), ({ timing: { key } }) => key);
    return [...rows.values()].map((timings) => {
      const { pass, segment, keys } = timings[0]!;
      const own = keys.flatMap((key) => loads.get(key) ?? []);
      for (const key of keys) loads.delete(key);
      return {
        pass,
        segment,
        blocks: keys,
        runs: timings.length,
        computeMs: parts.sum(timings, (timing) => timing.computeMs),
        waitMs: parts.sum(timings, (timing) => timing.waitMs),
        longestWaitMs: timings.reduce((most, { waitMs }) => Math.max(most, waitMs), 0),
        ...loadTotals(own, parts),
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
    this.#pictures = [];
    this.#runs = new Map();
  }
}

/** Sums over what has to do with a picture, of which it has its part; without one, over all, whole. */
function partsOf(picture: number | undefined) {
  return {
    has: ({ pictures }: Shared): boolean => picture === undefined || pictures.includes(picture),
    sum: <Item extends Shared>(items: readonly Item[], of: (item: Item) => number): number =>
      sum(items, (item) => of(item) / (picture === undefined ? 1 : item.pictures.length)),
  };
}

/** Bytes are whole ones. */
function loadTotals(loads: readonly Load[], parts = partsOf(undefined)): LoadTotals {
  return {
    loads: loads.length,
    loadedBytes: Math.round(parts.sum(loads, ({ timing }) => timing.storedBytes)),
    diskBytes: Math.round(parts.sum(loads, ({ timing }) => timing.diskBytes)),
    readMs: parts.sum(loads, ({ timing }) => timing.readMs),
    decodeMs: parts.sum(loads, ({ timing }) => timing.decodeMs),
    uploadMs: parts.sum(loads, ({ timing }) => timing.uploadMs),
  };
}

function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
