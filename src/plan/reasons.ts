/** @file Why a phase's plan is what it is, in words. Pure. */
import { formatBytes } from "../ledger/budget.ts";
import type { PlanPhaseInput, RamCache, WaitingPlace } from "./plan.ts";
import type { CycleBlock, Residency } from "./residency.ts";

/** One line for each choice of a phase. */
export function explain(
  phase: PlanPhaseInput,
  residency: Residency,
  blocks: readonly CycleBlock[],
  cached: RamCache,
  waiting: { readonly place: WaitingPlace; readonly bytes: number },
  capacityBytes: number,
  keep: boolean,
): string[] {
  const reasons: string[] = [];
  const total = blocks.reduce((bytes, block) => bytes + block.deviceBytes, 0);
  const reused = new Set(blocks.flatMap(({ key, once }) => (once ? [] : [key])));
  const again = residency.streamed.filter(({ key }) => reused.has(key));
  const bytesOf = (list: readonly { readonly lengthBytes: number }[]) =>
    formatBytes(list.reduce((bytes, item) => bytes + item.lengthBytes, 0));
  if (residency.streamed.length === 0) {
    const why = keep ? "everything fits at once, so it stays for the next image" : "its weights fit";
    reasons.push(`resident: all ${formatBytes(total)} of weights stay (${why})`);
  } else if (again.length === 0) {
    const once = bytesOf(residency.streamed);
    const pinned = residency.pinnedBytes > 0 ? `, ${formatBytes(residency.pinnedBytes)} stay for every step` : "";
    reasons.push(`streamed once: ${once} of weights are used once, so they pass through${pinned}`);
  } else {
    reasons.push(
      `pinned and streamed: ${formatBytes(total)} of weights do not fit in ${formatBytes(capacityBytes)}; ` +
        `${formatBytes(residency.pinnedBytes)} stay, ${bytesOf(again)} stream in each pass, chosen where compute covers them`,
    );
  }
  if (residency.slots === 1) reasons.push("one slot: no room to read a block while the one before it computes");
  else if (residency.slots === 2) {
    reasons.push(
      `two slots of a ${formatBytes(residency.ringBytes)} ring: a block is read while the one before it computes`,
    );
  }
  if (cached.bytes > 0) {
    const where = cached.keys.size === again.length ? "all of them wait in RAM" : "these wait in RAM, the rest on disk";
    reasons.push(`${formatBytes(cached.bytes)} of the streamed weights: ${where}`);
  }
  if (waiting.bytes > 0) {
    const where = waiting.place === "ram" ? "in RAM" : "on the device, since RAM's budget is smaller";
    reasons.push(`${phase.name} in bands: ${formatBytes(waiting.bytes)} of activations wait ${where}`);
  }
  return reasons;
}
