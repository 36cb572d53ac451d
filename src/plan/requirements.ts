/** @file What a phase needs whatever is chosen, and the smallest budgets that work. Pure. */

import { BudgetError } from "../errors.ts";
import { budgetText } from "../ledger/budget.ts";
import { formatBytes } from "../ledger/byte-text.ts";
import { alignUp } from "../tensor/align.ts";
import { type ArenaLayout, layOutArena } from "./arena.ts";
import { type PlanInput, type PlanPass, type PlanPhaseInput, phaseLanes, type SpillTier } from "./plan-input.ts";
import { largestGroupBytes } from "./weight-blocks.ts";

/** Layouts that were made, by pass: one plan asks for each several times, and most of its time goes into them. */
const LAYOUTS = new WeakMap<PlanPass, { readonly alignmentBytes: number; readonly layout: ArenaLayout }>();

function layoutOf(pass: PlanPass, alignmentBytes: number): ArenaLayout {
  const known = LAYOUTS.get(pass);
  if (known?.alignmentBytes === alignmentBytes) return known.layout;
  const layout = layOutArena(pass.values, alignmentBytes);
  LAYOUTS.set(pass, { alignmentBytes, layout });
  return layout;
}

/** What a phase takes besides weights, with spilled activations on one tier or the other. */
export function fixedBytes(input: PlanInput, phase: PlanPhaseInput, spillTier: SpillTier) {
  const { alignmentBytes, overheadBytes } = input.device;
  const layouts = phase.passes.map((pass) => layoutOf(pass, alignmentBytes));
  const activationBytes = Math.max(0, ...layouts.map((layout) => layout.lengthBytes));
  let linkBytes = 0;
  const links = new Map<string, { readonly offsetBytes: number; readonly lengthBytes: number }>();
  for (const { name, lengthBytes } of phase.links) {
    links.set(name, { offsetBytes: linkBytes, lengthBytes });
    linkBytes += alignUp(lengthBytes, alignmentBytes);
  }
  const scratches = phase.passes.flatMap(({ segments }) => segments.map(({ scratch }) => scratch));
  const sharedScratchBytes = Math.max(0, ...scratches.map(({ sharedBytes }) => sharedBytes));
  const scratchBytes = sharedScratchBytes + Math.max(0, ...scratches.map(({ privateBytes }) => privateBytes));
  const { lanes = 1 } = input;
  const laneBytes = phaseLanes(phase, lanes) * (activationBytes + linkBytes);
  const [onDevice, inRam] = spillTier === "device" ? [phase.spilledBytes, 0] : [0, phase.spilledBytes];
  return {
    layouts,
    activationBytes,
    links,
    linkBytes,
    sharedScratchBytes,
    scratchBytes,
    laneBytes,
    deviceBytes: overheadBytes + laneBytes + scratchBytes + onDevice,
    ramBytes: input.processBytes + hostBytes(phase, lanes) + inRam,
  };
}

/** Host memory of a phase for so many pictures that are drawn side by side. */
export function hostBytes(phase: Pick<PlanPhaseInput, "hostBytes" | "laneBytes">, lanes: number): number {
  return phase.hostBytes + (lanes - 1) * (phase.laneBytes ?? 0);
}

/** Where spilled activations count: in RAM, where they fit; else on the device, if that is host memory too. */
export function spillTier(input: PlanInput, phase: PlanPhaseInput): SpillTier {
  if (phase.spilledBytes === 0 || !input.device.sharesHostMemory) return "ram";
  return fixedBytes(input, phase, "ram").ramBytes <= input.budgets.ramBytes ? "ram" : "device";
}

/**
 * Each phase's least need on both tiers, against the budgets. RAM first: what is spilled may lie on the device instead. Throws
 * BudgetError `E_VRAM` or `E_RAM`.
 */
export function requireBudgets(input: PlanInput): void {
  const { deviceBytes, ramBytes } = input.budgets;
  const needs = input.phases.map((phase) => {
    const tier = spillTier(input, phase);
    const fixed = fixedBytes(input, phase, tier);
    return { phase, tier, fixed, largestBytes: largestGroupBytes(phase, input.device.alignmentBytes) };
  });
  // The neediest phase is named: its need is what the budget must be.
  for (const { phase, tier, fixed } of needs.toSorted((a, b) => b.fixed.ramBytes - a.fixed.ramBytes)) {
    if (fixed.ramBytes <= ramBytes) break;
    const parts =
      `the process ${formatBytes(input.processBytes)}, buffers ${formatBytes(hostBytes(phase, input.lanes ?? 1))}` +
      (tier === "ram" && phase.spilledBytes > 0 ? `, spilled ${formatBytes(phase.spilledBytes)}` : "");
    throw refusal("E_RAM", "--ram", phase.title, fixed.ramBytes, ramBytes, parts);
  }
  const leastOf = (need: (typeof needs)[number]) => need.fixed.deviceBytes + need.largestBytes;
  for (const need of needs.toSorted((a, b) => leastOf(b) - leastOf(a))) {
    const { phase, tier, fixed, largestBytes } = need;
    if (leastOf(need) <= deviceBytes) break;
    const parts =
      `activations ${formatBytes(fixed.laneBytes)}, scratch ${formatBytes(fixed.scratchBytes)}, ` +
      `largest block ${formatBytes(largestBytes)}, overhead ${formatBytes(input.device.overheadBytes)}` +
      (tier === "device" ? `, spilled ${formatBytes(phase.spilledBytes)}` : "");
    throw refusal("E_VRAM", "--vram", phase.title, leastOf(need), deviceBytes, parts);
  }
}

/** The smallest device budget that works with the given RAM budget. */
export function smallestDeviceBytes(input: PlanInput): number {
  const needs = input.phases.map(
    (phase) =>
      fixedBytes(input, phase, spillTier(input, phase)).deviceBytes +
      largestGroupBytes(phase, input.device.alignmentBytes),
  );
  return Math.max(0, ...needs);
}

function refusal(code: string, option: string, phase: string, neededBytes: number, budgetBytes: number, parts: string) {
  return new BudgetError({
    code,
    subject: option,
    problem: `${phase} needs ${formatBytes(neededBytes)} at least (${parts}), the budget is ${formatBytes(budgetBytes)}`,
    next: `give ${option} ${budgetText(neededBytes)} or more, or choose a smaller picture`,
  });
}
