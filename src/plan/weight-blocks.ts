/** @file Blocks of weights among segments. Pure. */
import type { PlanBlock, PlanPhaseInput, PlanSegment } from "./plan.ts";

/** Each block once, in the order of first use. */
export function uniqueBlocks(segments: readonly PlanSegment[]): PlanBlock[] {
  const seen = new Map<string, PlanBlock>();
  for (const { block } of segments) if (block && !seen.has(block.key)) seen.set(block.key, block);
  return [...seen.values()];
}

export function blocksOf(phase: PlanPhaseInput): PlanBlock[] {
  return uniqueBlocks(phase.passes.flatMap((pass) => pass.segments));
}
