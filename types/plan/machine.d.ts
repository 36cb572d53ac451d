export interface Machine {
    readonly name: string;
    /** "host": this machine's CPU and memory. "card": an adapter of this machine. "described": none that is here. */
    readonly kind: "host" | "card" | "described";
    /** What the device tier has at most. */
    readonly deviceBytes: number;
    readonly ramBytes: number;
    /** Sustained multiply-adds of large products, two operations each, in 1e9 a second. */
    readonly gflops: number;
    /** Device memory, 1e9 bytes a second. */
    readonly memoryGBps: number;
    /** Host to device, 1e9 bytes a second; as fast as memory where the device computes in host memory. */
    readonly linkGBps: number;
    /** From disk (or the operating system's file cache, where it was measured warm). */
    readonly diskGBps: number;
    /** True if weights travel while the device computes; false if times add up (one queue). */
    readonly overlaps: boolean;
    /** What it is, in words. */
    readonly hardware: string;
    /** Where the figures come from, in words. */
    readonly basis: string;
}
export declare const DESCRIBED_MACHINES: readonly string[];
/** A card by the name that `--as` takes, in a PC with 16 GB of RAM; undefined if there is none of that name. */
export declare function describedMachine(name: string): Machine | undefined;
