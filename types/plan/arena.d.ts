export interface Lifetime {
    readonly lengthBytes: number;
    /** Steps between which it must keep its bytes, both included. */
    readonly firstStep: number;
    readonly lastStep: number;
}
export interface ArenaLayout {
    /** By place in the list. */
    readonly offsetsBytes: readonly number[];
    readonly lengthBytes: number;
}
/**
 * Things that are there in one step never share a byte. Lowest free offset first, once for the longest things first and once
 * in order of time; the shorter of both layouts. Offsets are multiples of `alignmentBytes`.
 */
export declare function layOutArena(items: readonly Lifetime[], alignmentBytes: number): ArenaLayout;
