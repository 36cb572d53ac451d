export interface Lifetime {
    readonly lengthBytes: number;
    /** When it is first and last used, by place in the order of use: segments, runs of bands, dispatches. Both included. */
    readonly firstUse: number;
    readonly lastUse: number;
}
export interface ArenaLayout {
    /** By place in the list. */
    readonly offsetsBytes: readonly number[];
    readonly lengthBytes: number;
}
/**
 * Things that are there at one moment never share a byte. Lowest free offset first, once for the longest things first and once
 * in order of time; the shorter of both layouts. Offsets are multiples of `alignmentBytes`.
 */
export declare function layOutArena(items: readonly Lifetime[], alignmentBytes: number): ArenaLayout;
