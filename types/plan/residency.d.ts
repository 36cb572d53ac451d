/** Weights of one segment, in the order of use. */
export interface CycleBlock {
    readonly key: string;
    readonly deviceBytes: number;
    /** Compute from the start of this block's segment to the start of the next block's. */
    readonly coverMs: number;
    /** Used once and not again while it is held: never worth pinning. */
    readonly once: boolean;
}
export interface StreamedBlock {
    readonly key: string;
    /** Within the ring. */
    readonly offsetBytes: number;
    readonly lengthBytes: number;
}
export interface Residency {
    readonly pinned: readonly {
        readonly key: string;
        readonly lengthBytes: number;
    }[];
    /** In the order of use. */
    readonly streamed: readonly StreamedBlock[];
    readonly pinnedBytes: number;
    readonly ringBytes: number;
    /** 2: a block is read while the one before it computes. 1: no room for that. 0: nothing streams. */
    readonly slots: 0 | 1 | 2;
}
/**
 * The residency that moves least within `capacityBytes`, or undefined if not even the largest block fits. What streams
 * follows a credit: compute earns it at some rate, a block whose bytes are covered streams; so streams are spread over the
 * cycle where compute is long. The lowest rate that fits is taken, and the remaining room pins what still fits.
 */
export declare function chooseResidency(blocks: readonly CycleBlock[], capacityBytes: number, alignmentBytes: number): Residency | undefined;
