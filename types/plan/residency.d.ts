import { type RingSlots } from "./ring.js";
/** A block of weights, in the order of use. */
export interface CycleBlock {
    readonly key: string;
    readonly deviceBytes: number;
    /** Blocks of one number are needed at the same time; numbers grow in the order of use. */
    readonly group: number;
    /** Compute from the start of this block's segment to the start of the next block's; of blocks that start together, the first's. */
    readonly overlapMs: number;
    /** Used once and not again while it is held: never worth pinning. */
    readonly usedOnce: boolean;
}
export interface StreamedBlock {
    readonly key: string;
    /** Within the ring. */
    readonly offsetBytes: number;
    readonly lengthBytes: number;
}
export interface PinnedBlock {
    readonly key: string;
    readonly lengthBytes: number;
}
export interface Residency {
    readonly pinned: readonly PinnedBlock[];
    /** In the order of use. */
    readonly streamed: readonly StreamedBlock[];
    readonly pinnedBytes: number;
    readonly ringBytes: number;
    /** 2: blocks are read while those before them compute. 1: no room for that. 0: nothing streams. */
    readonly slots: 0 | RingSlots;
}
/**
 * The residency that moves least within `capacityBytes`, or undefined if not even the blocks of the largest group fit. Of
 * `pinnedFirst` (keys; those used once are passed over) as many are pinned, from the first on, as leave room for two slots.
 */
export declare function chooseResidency(blocks: readonly CycleBlock[], capacityBytes: number, alignmentBytes: number, pinnedFirst?: readonly string[]): Residency | undefined;
