/** @file A plan as plain JSON for people and programs: what `solvay plan` prints and what events carry. */
import { blocksThereBefore, type Plan } from "./plan.ts";
import type { PlanBudgets, PlanPhaseInput, SpillTier } from "./plan-input.ts";
import { predictFill, predictPlan } from "./predict.ts";
import { type PictureCost, pictureCost } from "./side-by-side.ts";

export type Place = "pinned" | "streamed from RAM" | "streamed" | "passing";

export interface PhaseReport {
  readonly id: string;
  /** For people. */
  readonly title: string;
  /** Pictures that run each of its passes together. */
  readonly lanes: number;
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

export interface BlockReport {
  /** Names it: the same weights have the same one in every pass, and while they move (job/events.ts). */
  readonly key: string;
  readonly segment: string;
  /** Whose weights they are: a component's folder, or adapters, which begin with "lora-". */
  readonly owner: string;
  readonly bytes: number;
  readonly place: Place;
}

export interface PassReport {
  readonly id: string;
  readonly repeats: number;
  /** Weight bytes that reach the device in each run. */
  readonly movedBytes: number;
  readonly diskBytes: number;
  /** One run; of pictures that run it together, each one's part. */
  readonly predictedMs: number;
  readonly predictedComputeMs: number;
  readonly predictedWaitMs: number;
  /** Blocks in the order of use. */
  readonly map: readonly BlockReport[];
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
  /** Images that are drawn side by side, so that weights pass once for all of them. */
  readonly lanes: number;
  /** Of one image; with `keepsAll`, of the first. */
  readonly predictedMs: number;
  /** Stored weights that come to the device for one image; with `keepsAll`, for the first. */
  readonly loadedBytes: number;
  /** What one image would take by itself, where several are drawn side by side. */
  readonly alone?: PictureCost;
}

/** `alone`: the plan for one image by itself. */
export function reportPlan(plan: Plan, inputs: readonly PlanPhaseInput[], alone?: Plan): PlanReport {
  const predictions = predictPlan(plan, inputs);
  let next = 0;
  const phases = plan.phases.map((phase, i): PhaseReport => {
    const pinned = new Set(phase.residency.pinned.map(({ key }) => key));
    const cached = new Set(phase.cached.map(({ key }) => key));
    const there = blocksThereBefore(plan, i);
    const placeOf = (key: string, cyclic: boolean): Place => {
      if (pinned.has(key)) return "pinned";
      if (cached.has(key)) return "streamed from RAM";
      return cyclic ? "streamed" : "passing";
    };
    const passes = inputs[i]!.passes.map((pass, j): PassReport => {
      const predicted = predictions[next++]!;
      return {
        id: pass.id,
        repeats: pass.repeats,
        movedBytes: phase.passes[j]!.movedBytes,
        diskBytes: phase.passes[j]!.diskBytes,
        predictedMs: predicted.totalMs,
        predictedComputeMs: predicted.computeMs,
        predictedWaitMs: predicted.waitMs,
        map: pass.segments.flatMap(({ name, blocks }) =>
          blocks.map((block) => ({
            key: block.key,
            segment: name,
            owner: block.key.slice(0, block.key.indexOf("/")),
            bytes: block.deviceBytes,
            place: placeOf(block.key, pass.cyclic),
          })),
        ),
      };
    });
    const streamedBytes = phase.residency.streamed.reduce((sum, block) => sum + block.lengthBytes, 0);
    return {
      id: phase.id,
      title: phase.title,
      lanes: phase.lanes,
      deviceBytes: phase.deviceBytes,
      ramBytes: phase.ramBytes,
      weightBytes: phase.residency.pinnedBytes + streamedBytes,
      pinnedBytes: phase.residency.pinnedBytes,
      sharedBytes: phase.residency.pinned.reduce(
        (sum, { key, lengthBytes }) => sum + (there.has(key) ? lengthBytes : 0),
        0,
      ),
      streamedBytes,
      ringBytes: phase.residency.ringBytes,
      activationBytes: phase.lanes * (phase.activationBytes + phase.linkBytes),
      scratchBytes: phase.scratchBytes,
      spilledBytes: phase.spilledBytes,
      spillTier: phase.spillTier,
      predictedFillMs: predictFill(plan, inputs[i]!, i).ms,
      reasons: phase.reasons,
      passes,
    };
  });
  return {
    machine: plan.machine.name,
    basis: plan.machine.basis,
    budgets: plan.budgets,
    peak: plan.peak,
    overheadBytes: plan.device.overheadBytes,
    processBytes: plan.processBytes,
    keepsAll: plan.keepsAll,
    weightBytes: plan.weightBytes,
    phases,
    lanes: plan.lanes,
    ...pictureCost(plan, inputs),
    ...(alone && plan.lanes > 1 && { alone: pictureCost(alone, inputs) }),
  };
}
