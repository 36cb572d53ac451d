/** @file Blocks of weights among segments: each once, and which of them are needed at the same time. Pure. */
import { alignUp } from "../tensor/align.ts";
import type { PlanPhaseInput, PlanSegment, WeightBlock } from "./plan-input.ts";

/** Each block once, in the order of first use. */
export function uniqueBlocks(segments: readonly PlanSegment[]): WeightBlock[] {
  const seen = new Map<string, WeightBlock>();
  for (const { blocks } of segments) for (const block of blocks) if (!seen.has(block.key)) seen.set(block.key, block);
  return [...seen.values()];
}

export function blocksOf(phase: PlanPhaseInput): WeightBlock[] {
  return uniqueBlocks(phase.passes.flatMap((pass) => pass.segments));
}

/** Device bytes of every block of these phases, one that several of them use once. */
export function weightBytesByKey(
  phases: readonly PlanPhaseInput[],
  alignmentBytes: number,
): ReadonlyMap<string, number> {
  return new Map(
    phases.flatMap(blocksOf).map(({ key, deviceBytes }) => [key, alignUp(deviceBytes, alignmentBytes)] as const),
  );
}

/**
 * Blocks that some segment needs together have the same number, as have those that share a third one so: laid side by side,
 * none is ever in another's way. Numbers grow in the order of first use.
 */
export function blockGroups({ passes }: PlanPhaseInput): ReadonlyMap<string, number> {
  const groups = new Map<string, number>();
  let next = 0;
  for (const { blocks } of passes.flatMap((pass) => pass.segments)) {
    const met = new Set(blocks.flatMap(({ key }) => groups.get(key) ?? []));
    const group = met.size > 0 ? Math.min(...met) : next++;
    if (met.size > 1) for (const [key, other] of groups) if (met.has(other)) groups.set(key, group);
    for (const { key } of blocks) groups.set(key, group);
  }
  return groups;
}

/** Of the blocks that must be on the device at the same time. */
export function largestGroupBytes(phase: PlanPhaseInput, alignmentBytes: number): number {
  const groups = blockGroups(phase);
  const bytes = new Map<number, number>();
  for (const { key, deviceBytes } of blocksOf(phase)) {
    const group = groups.get(key)!;
    bytes.set(group, (bytes.get(group) ?? 0) + alignUp(deviceBytes, alignmentBytes));
  }
  return Math.max(0, ...bytes.values());
}
