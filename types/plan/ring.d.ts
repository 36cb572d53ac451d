/**
 * @file Memory that streamed blocks pass through: groups of blocks that are needed together lie side by side, and with two
 * slots beside those of the next group too. Its length is kept up to date while blocks leave it for good. Pure.
 */
/** 2: a group is read while the one before it computes. */
export type RingSlots = 1 | 2;
export declare class Ring {
    #private;
    /** `streamed`: indexes of `blocks`; `sizes` in bytes, by index. */
    constructor(blocks: readonly {
        readonly group: number;
    }[], sizes: readonly number[], streamed: ReadonlySet<number>, slots: RingSlots);
    get lengthBytes(): number;
    /** Its length if block `i` left it. */
    lengthWithout(i: number): number;
    remove(i: number): void;
    /** Where each streamed block lies, in the order of use: groups in turn from the start of the ring and up to its end. */
    places(): {
        readonly index: number;
        readonly offsetBytes: number;
    }[];
}
