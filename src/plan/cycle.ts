/** @file The order in which a phase uses its blocks of weights, and how long it computes in between. Pure. */
import type { Machine } from "./machine.ts";
import type { PlanPhaseInput, PlanSegment } from "./plan-input.ts";
import type { CycleBlock } from "./residency.ts";
import { blockGroups } from "./weight-blocks.ts";

/** Milliseconds of compute: arithmetic or memory traffic, whichever is longer. */
export function computeMs(segment: PlanSegment, machine: Machine): number {
  return Math.max(segment.flops / (machine.gflops * 1e6), segment.trafficBytes / (machine.memoryGBps * 1e6));
}

/**
 * Each block once, in the order of first use. `staysForAll`: weights outlive the phase, so that all of them are used again. `lanes`:
 * how often each segment computes while its weights are there.
 */
export function cycleBlocks(
  phase: PlanPhaseInput,
  machine: Machine,
  staysForAll: boolean,
  lanes: number,
): CycleBlock[] {
  const groups = blockGroups(phase);
  const blocks = new Map<string, { deviceBytes: number; overlapMs: number; usedOnce: boolean }>();
  let last: { overlapMs: number } | undefined;
  for (const pass of phase.passes) {
    for (const segment of pass.segments) {
      for (const { key, deviceBytes } of segment.blocks) {
        const known = blocks.get(key);
        if (!known) blocks.set(key, { deviceBytes, overlapMs: 0, usedOnce: !staysForAll && !pass.cyclic });
        else if (pass.cyclic) known.usedOnce = false;
      }
      const first = segment.blocks[0];
      if (first) last = blocks.get(first.key)!;
      if (last) last.overlapMs += lanes * computeMs(segment, machine) * (pass.cyclic ? 1 : pass.repeats);
    }
  }
  return [...blocks].map(([key, block]) => ({ key, group: groups.get(key)!, ...block }));
}
