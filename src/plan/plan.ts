/**
 * @file The plan: what lies where on every tier, what moves when, and why; a value, made (planner.ts) before anything is
 * allocated. Phases follow one another and give their memory back, except for weights that the next one uses too; or all
 * weights of all phases stay. The memory of a phase is its pinned weights, the ring, activations, links, scratch and spilled
 * activations.
 */
import type { PlanDevice } from "./device-sizes.ts";
import type { Machine } from "./machine.ts";
import type { PlanBudgets, SpillTier } from "./plan-input.ts";
import type { Residency } from "./residency.ts";

export interface PassPlan {
  readonly id: string;
  readonly repeats: number;
  /** Offsets in the phase's activation arena, by value. A graph's inputs and outputs that are not here are links. */
  readonly offsets: ReadonlyMap<number, number>;
  readonly activationBytes: number;
  /** Bytes that reach the device in each run once the pins are there, and those of them that come from disk. */
  readonly movedBytes: number;
  readonly diskBytes: number;
}

/** A streamed block whose stored bytes stay in RAM. */
export interface CachedBlock {
  readonly key: string;
  /** Within the phase's `cachedBytes`. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface PhasePlan {
  readonly id: string;
  readonly title: string;
  /** Pictures that run each of its passes together. */
  readonly lanes: number;
  readonly passes: readonly PassPlan[];
  readonly residency: Residency;
  /** Pinned blocks that stay where they are when the phase ends: the next one pins them too, or the plan keeps all. */
  readonly keptKeys: readonly string[];
  readonly cached: readonly CachedBlock[];
  readonly cachedBytes: number;
  /** Each lane's. */
  readonly activationBytes: number;
  /** Places in the link arena by name. */
  readonly links: ReadonlyMap<string, { readonly offsetBytes: number; readonly lengthBytes: number }>;
  /** Each lane's. */
  readonly linkBytes: number;
  /** The scratch that segments share, and with what each takes for itself. */
  readonly sharedScratchBytes: number;
  readonly scratchBytes: number;
  readonly spillTier: SpillTier;
  readonly spilledBytes: number;
  /** Peaks of this phase, overhead and process included; weights that stay for other phases alone are not. */
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
  /** Pictures that are drawn side by side. */
  readonly lanes: number;
  /** All weights stay from phase to phase and image to image. */
  readonly keepsAll: boolean;
  /** Device bytes of the weights of all phases; a block that several use counts once. */
  readonly weightBytes: number;
  readonly phases: readonly PhasePlan[];
  /** Most that is taken at any moment. */
  readonly peak: PlanBudgets;
}

/** Pinned blocks that earlier phases of the same image have left on the device. */
export function blocksThereBefore({ keepsAll, phases }: Plan, index: number): ReadonlySet<string> {
  const there = new Set(phases.slice(keepsAll ? 0 : Math.max(0, index - 1), index).flatMap(({ keptKeys }) => keptKeys));
  return new Set(phases[index]!.residency.pinned.flatMap(({ key }) => (there.has(key) ? [key] : [])));
}
