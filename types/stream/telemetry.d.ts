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
/** Collects timings of one image. */
export declare class Telemetry {
    #private;
    beginPass(pass: string): void;
    endPass(pass: string, totalMs: number): void;
    segment(timing: SegmentTiming): void;
    load(timing: LoadTiming): void;
    /** Weights that came to the device since the last `clear`. */
    get loaded(): {
        readonly bytes: number;
        readonly ms: number;
    };
    /** Since the last `clear`. */
    get waitMs(): number;
    /**
     * By pass, in the order of their first run. A load counts for the pass that used the block, whenever it came; one that was in vain,
     * for the pass during which it came.
     */
    totals(): PassTotals[];
    /** By segment, in the order of their first run. A block's loads count for the first segment that uses it. */
    segmentTotals(): SegmentTotals[];
    /** Weights on the device over time: 256 to 511 samples of a long run, all of a short one. */
    residency(): ResidencySample[];
    clear(): void;
}
