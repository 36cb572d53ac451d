/** @file Why a phase's plan is what it is, in words. Pure. */
import { formatBytes } from "../ledger/byte-text.ts";
import type { CachedBlock } from "./plan.ts";
import type { PlanPhaseInput, SpillTier } from "./plan-input.ts";
import type { CycleBlock, PinnedBlock, Residency } from "./residency.ts";

/** What was chosen for a phase, and from what. */
export interface PhaseChoices {
  readonly residency: Residency;
  readonly blocks: readonly CycleBlock[];
  readonly cached: readonly CachedBlock[];
  readonly tier: SpillTier;
  /** For weights. */
  readonly capacityBytes: number;
  readonly keepsAll: boolean;
}

/** One line for each choice of a phase. */
export function explain(phase: PlanPhaseInput, choices: PhaseChoices): string[] {
  const { residency, blocks, cached, tier, capacityBytes, keepsAll } = choices;
  const reasons: string[] = [];
  const total = blocks.reduce((bytes, block) => bytes + block.deviceBytes, 0);
  const reused = new Set(blocks.flatMap(({ key, usedOnce }) => (usedOnce ? [] : [key])));
  const again = residency.streamed.filter(({ key }) => reused.has(key));
  if (residency.streamed.length === 0) {
    const why = keepsAll ? "everything fits at once, so it stays for the next image" : "its weights fit";
    reasons.push(`resident: all ${formatBytes(total)} of weights stay (${why})`);
  } else if (again.length === 0) {
    const once = lengthText(residency.streamed);
    const pinned = residency.pinnedBytes > 0 ? `, ${formatBytes(residency.pinnedBytes)} stay for every step` : "";
    reasons.push(`streamed once: ${once} of weights are used once, so they pass through${pinned}`);
  } else {
    reasons.push(
      `pinned and streamed: ${formatBytes(total)} of weights do not fit in ${formatBytes(capacityBytes)}; ` +
        `${formatBytes(residency.pinnedBytes)} stay, ${lengthText(again)} stream in each pass, chosen where compute hides them`,
    );
  }
  if (residency.slots === 1) reasons.push("one slot: no room to read a block while the one before it computes");
  else if (residency.slots === 2) {
    reasons.push(
      `two slots of a ${formatBytes(residency.ringBytes)} ring: a block is read while the one before it computes`,
    );
  }
  if (cached.length > 0) {
    const where = cached.length === again.length ? "all of them wait in RAM" : "these wait in RAM, the rest on disk";
    reasons.push(`${lengthText(cached)} of the streamed weights: ${where}`);
  }
  if (phase.spilledBytes > 0) {
    const where = tier === "ram" ? "in RAM" : "on the device, since RAM's budget is smaller";
    reasons.push(`${phase.title} in bands: ${formatBytes(phase.spilledBytes)} of activations wait ${where}`);
  }
  return reasons;
}

/** Why pinned blocks outlive their phase. */
export function keptReason(kept: readonly PinnedBlock[], next: string): string {
  return `kept: ${lengthText(kept)} of the weights stay for ${next}, which reads them too`;
}

function lengthText(blocks: readonly { readonly lengthBytes: number }[]): string {
  return formatBytes(blocks.reduce((bytes, { lengthBytes }) => bytes + lengthBytes, 0));
}
