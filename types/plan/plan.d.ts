/**
 * @file The plan: what lies where on every tier, what moves when, and why; a value, made before anything is allocated.
 * Phases follow one another (encode, denoise, decode) and give their memory back, unless all of them fit at once. A phase
 * runs passes (graphs); the memory of a phase is its pinned weights, the ring, activations, links, scratch and waiting
 * tensors. Pure and synchronous; knows no SDXL.
 */
import type { Lifetime } from "./arena.js";
import type { Machine } from "./machine.js";
import { type Residency } from "./residency.js";
/** Weights of one segment. Equal keys are the same weights, whatever graph reads them. */
export interface PlanBlock {
    readonly key: string;
    readonly deviceBytes: number;
    readonly storedBytes: number;
}
export interface PlanSegment {
    readonly name: string;
    readonly block?: PlanBlock;
    readonly flops: number;
    /** Activations and weights that the segment reads and writes. */
    readonly trafficBytes: number;
    /** As the device tells it: of memory that segments share, and of what each takes for itself. */
    readonly scratch: {
        readonly given: number;
        readonly taken: number;
    };
}
/** A value on the device; steps are segment indexes. */
export interface PlanValue extends Lifetime {
    readonly id: number;
}
export interface PlanPass {
    readonly name: string;
    /** Runs in one image. */
    readonly repeats: number;
    /** True if all weights are used before any is used again, `repeats` times: worth pinning. Else each is used in one stretch. */
    readonly cyclic: boolean;
    readonly segments: readonly PlanSegment[];
    /** Values of the pass itself; links are not among them. */
    readonly values: readonly PlanValue[];
}
/** A named amount that stays for a whole phase. */
export interface NamedBytes {
    readonly name: string;
    readonly lengthBytes: number;
}
export interface PlanPhaseInput {
    readonly name: string;
    readonly passes: readonly PlanPass[];
    /** Device values that one pass hands to later ones. */
    readonly links: readonly NamedBytes[];
    /** Host memory that the phase needs whatever is chosen. */
    readonly hostBytes: number;
    /** Tensors that wait while bands of them pass through the device. */
    readonly waitingBytes: number;
}
export interface PlanDevice {
    readonly name: string;
    readonly alignmentBytes: number;
    /** Staging, driver allowance. */
    readonly overheadBytes: number;
    /** Host and device memory are the same: what lies in RAM is used where it is. */
    readonly sharesHostMemory: boolean;
}
export interface PlanBudgets {
    readonly deviceBytes: number;
    readonly ramBytes: number;
}
export interface PlanInput {
    readonly device: PlanDevice;
    readonly machine: Machine;
    readonly budgets: PlanBudgets;
    /** Of the process itself: runtime, libraries, tokenizers. Part of the RAM tier. */
    readonly processBytes: number;
    readonly phases: readonly PlanPhaseInput[];
}
export type WaitingPlace = "ram" | "device";
export interface PassPlan {
    readonly name: string;
    readonly repeats: number;
    /** Offsets in the phase's activation arena, by value. */
    readonly offsets: ReadonlyMap<number, number>;
    readonly activationBytes: number;
    /** Bytes that reach the device in each run once the pins are there, and those of them that come from disk. */
    readonly movedBytes: number;
    readonly diskBytes: number;
}
export interface PhasePlan {
    readonly name: string;
    readonly passes: readonly PassPlan[];
    readonly residency: Residency;
    /** Streamed blocks whose stored bytes stay in RAM. */
    readonly cachedKeys: readonly string[];
    readonly cachedBytes: number;
    readonly activationBytes: number;
    readonly links: ReadonlyMap<string, number>;
    readonly linkBytes: number;
    /** Given scratch, and with what is taken. */
    readonly givenBytes: number;
    readonly scratchBytes: number;
    readonly waitingPlace: WaitingPlace;
    readonly waitingBytes: number;
    /** Peaks of this phase, overhead and process included. */
    readonly deviceBytes: number;
    readonly ramBytes: number;
    /** Why this and not something else, in words. */
    readonly reasons: readonly string[];
}
export interface Plan {
    readonly device: PlanDevice;
    readonly machine: Machine;
    readonly budgets: PlanBudgets;
    readonly processBytes: number;
    /** Pinned weights stay from phase to phase and image to image. */
    readonly keepsAll: boolean;
    readonly phases: readonly PhasePlan[];
    /** Most that is taken at any moment. */
    readonly peak: PlanBudgets;
}
/** Throws BudgetError `E_VRAM` or `E_RAM` naming the phase and the smallest budget that works. */
export declare function makePlan(input: PlanInput): Plan;
/** Milliseconds of compute: arithmetic or memory traffic, whichever is longer. */
export declare function computeMs(segment: PlanSegment, machine: Machine): number;
export interface RamCache {
    readonly keys: ReadonlySet<string>;
    readonly bytes: number;
}
