/** @file What a plan is made from: phases of passes of segments, a device's and a machine's figures, budgets. Data only. */
import type { Lifetime } from "./arena.ts";
import type { PlanDevice, ScratchBytes } from "./device-sizes.ts";
import type { Machine } from "./machine.ts";

/** Weights that a segment reads. Equal keys are the same weights, whatever graph or phase reads them. */
export interface WeightBlock {
  /** `component/segment`. */
  readonly key: string;
  readonly deviceBytes: number;
  readonly storedBytes: number;
}

export interface PlanSegment {
  readonly name: string;
  /** Needed all at once while the segment runs; empty: it reads no weights. */
  readonly blocks: readonly WeightBlock[];
  readonly flops: number;
  /** Activations and weights that the segment reads and writes. */
  readonly trafficBytes: number;
  readonly scratch: ScratchBytes;
}

/** A value on the device; its lifetime is in indexes of segments. */
export interface PlanValue extends Lifetime {
  readonly id: number;
}

export interface PlanPass {
  /** Unlike any other in the plan. */
  readonly id: string;
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
  /** Unlike any other in the plan. */
  readonly id: string;
  /** For people. */
  readonly title: string;
  readonly passes: readonly PlanPass[];
  /** Device values that one pass hands to later ones. */
  readonly links: readonly NamedBytes[];
  /** Host memory that the phase needs whatever is chosen. */
  readonly hostBytes: number;
  /** Activations that lie in host memory while bands of them pass through the device. */
  readonly spilledBytes: number;
  /** Host memory that each further picture takes which is drawn beside. Absent: none. */
  readonly laneBytes?: number | undefined;
}

/**
 * Pictures that a phase works on at a time: all where its weights are used again and again, since they then pass once for all of
 * them; else one after the other.
 */
export function phaseLanes({ passes }: Pick<PlanPhaseInput, "passes">, lanes = 1): number {
  return passes.some(({ cyclic }) => cyclic) ? lanes : 1;
}

/** What counts spilled activations: RAM, or a device that is host memory too. */
export type SpillTier = "ram" | "device";

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
  /** Pictures that are drawn side by side. Absent: 1. */
  readonly lanes?: number | undefined;
}

/**
 * The pass that bands count together as: `vae.decode` for `vae.decode:band3`. Other passes count as themselves. Measured times
 * and rates are by it.
 */
export function wholePassId(passId: string): string {
  const [whole] = passId.split(":");
  return whole!;
}
