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
export declare class Telemetry {
    #private;
    beginPass(pass: string): void;
    segment(timing: SegmentTiming): void;
    load(timing: LoadTiming): void;
    /** Weights that came to the device since the last `clear`. */
    get loaded(): {
        readonly bytes: number;
        readonly ms: number;
    };
    /** Since the last `clear`. */
    get waitMs(): number;
    /** By pass, in the order of their first run. Loads count for the pass during which they ended. */
    totals(): PassTotals[];
    clear(): void;
}
