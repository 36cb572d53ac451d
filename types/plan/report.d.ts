/** @file A plan as plain JSON for people and programs: what `solvay plan` prints and what events carry. */
import { type Plan } from "./plan.js";
import type { PlanBudgets, PlanPhaseInput, SpillTier } from "./plan-input.js";
export type Place = "pinned" | "streamed from RAM" | "streamed" | "passing";
export interface PhaseReport {
    readonly id: string;
    /** For people. */
    readonly title: string;
    readonly deviceBytes: number;
    readonly ramBytes: number;
    readonly weightBytes: number;
    readonly pinnedBytes: number;
    /** Of the pinned ones: what earlier phases of the image have left on the device. */
    readonly sharedBytes: number;
    readonly streamedBytes: number;
    readonly ringBytes: number;
    readonly activationBytes: number;
    readonly scratchBytes: number;
    /** Activations in host memory while bands of them pass through the device, and the tier that counts them. */
    readonly spilledBytes: number;
    readonly spillTier: SpillTier;
    /** Until its pinned weights are there, where compute doesn't hide it; with `keepsAll`, before the first image only. */
    readonly predictedFillMs: number;
    readonly reasons: readonly string[];
    readonly passes: readonly PassReport[];
}
export interface PassReport {
    readonly id: string;
    readonly repeats: number;
    /** Weight bytes that reach the device in each run. */
    readonly movedBytes: number;
    readonly diskBytes: number;
    readonly predictedMs: number;
    readonly predictedComputeMs: number;
    readonly predictedWaitMs: number;
    /** Blocks in the order of use. */
    readonly map: readonly {
        readonly segment: string;
        readonly bytes: number;
        readonly place: Place;
    }[];
}
export interface PlanReport {
    readonly machine: string;
    readonly basis: string;
    readonly budgets: PlanBudgets;
    readonly peak: PlanBudgets;
    readonly overheadBytes: number;
    readonly processBytes: number;
    readonly keepsAll: boolean;
    /** Of all phases; weights that several of them read count once. */
    readonly weightBytes: number;
    readonly phases: readonly PhaseReport[];
    /** Of one image; with `keepsAll`, of the first. */
    readonly predictedMs: number;
}
export declare function reportPlan(plan: Plan, inputs: readonly PlanPhaseInput[]): PlanReport;
