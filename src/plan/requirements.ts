/** @file What a phase needs whatever is chosen, and the smallest budgets that work. Pure. */
import { BudgetError } from "../errors.ts";
import { budgetText, formatBytes } from "../ledger/budget.ts";
import { alignUp } from "../tensor/align.ts";
import { type ArenaLayout, layOutArena } from "./arena.ts";
import type { PlanInput, PlanPass, PlanPhaseInput, WaitingPlace } from "./plan.ts";
import { blocksOf } from "./plan-blocks.ts";

/** Layouts that were made, by pass: one plan asks for each several times, and most of its time goes into them. */
const LAYOUTS = new WeakMap<PlanPass, { readonly alignmentBytes: number; readonly layout: ArenaLayout }>();

function layoutOf(pass: PlanPass, alignmentBytes: number): ArenaLayout {
  const known = LAYOUTS.get(pass);
  if (known?.alignmentBytes === alignmentBytes) return known.layout;
  const layout = layOutArena(pass.values, alignmentBytes);
  LAYOUTS.set(pass, { alignmentBytes, layout });
  return layout;
}

/** What a phase takes besides weights, with waiting tensors on one tier or the other. */
export function fixedBytes(input: PlanInput, phase: PlanPhaseInput, place: WaitingPlace) {
  const { alignmentBytes, overheadBytes } = input.device;
  const layouts = phase.passes.map((pass) => layoutOf(pass, alignmentBytes));
  const activationBytes = Math.max(0, ...layouts.map((layout) => layout.lengthBytes));
  let linkBytes = 0;
  const links = new Map<string, number>();
  for (const { name, lengthBytes } of phase.links) {
    links.set(name, linkBytes);
    linkBytes += alignUp(lengthBytes, alignmentBytes);
  }
  const scratches = phase.passes.flatMap(({ segments }) => segments.map(({ scratch }) => scratch));
  const givenBytes = Math.max(0, ...scratches.map(({ given }) => given));
  const scratchBytes = givenBytes + Math.max(0, ...scratches.map(({ taken }) => taken));
  const [onDevice, inRam] = place === "device" ? [phase.waitingBytes, 0] : [0, phase.waitingBytes];
  return {
    layouts,
    activationBytes,
    links,
    linkBytes,
    givenBytes,
    scratchBytes,
    deviceBytes: overheadBytes + activationBytes + linkBytes + scratchBytes + onDevice,
    ramBytes: input.processBytes + phase.hostBytes + inRam,
  };
}

/** RAM, where they fit; else the device, if that is host memory too. */
export function waitingPlace(input: PlanInput, phase: PlanPhaseInput): WaitingPlace {
  if (phase.waitingBytes === 0 || !input.device.sharesHostMemory) return "ram";
  return fixedBytes(input, phase, "ram").ramBytes <= input.budgets.ramBytes ? "ram" : "device";
}

/**
 * Each phase's least need on both tiers, against the budgets. RAM first: what waits may lie on the device instead. Throws
 * BudgetError `E_VRAM` or `E_RAM`.
 */
export function requireBudgets(input: PlanInput): void {
  const { deviceBytes, ramBytes } = input.budgets;
  const needs = input.phases.map((phase) => {
    const place = waitingPlace(input, phase);
    return { phase, place, fixed: fixedBytes(input, phase, place), largestBytes: largestBlockBytes(input, phase) };
  });
  // The neediest phase is named: its need is what the budget must be.
  for (const { phase, place, fixed } of needs.toSorted((a, b) => b.fixed.ramBytes - a.fixed.ramBytes)) {
    if (fixed.ramBytes <= ramBytes) break;
    const parts =
      `the process ${formatBytes(input.processBytes)}, buffers ${formatBytes(phase.hostBytes)}` +
      (place === "ram" && phase.waitingBytes > 0 ? `, waiting ${formatBytes(phase.waitingBytes)}` : "");
    throw refusal("E_RAM", "--ram", phase.name, fixed.ramBytes, ramBytes, parts);
  }
  const leastOf = (need: (typeof needs)[number]) => need.fixed.deviceBytes + need.largestBytes;
  for (const need of needs.toSorted((a, b) => leastOf(b) - leastOf(a))) {
    const { phase, place, fixed, largestBytes } = need;
    if (leastOf(need) <= deviceBytes) break;
    const parts =
      `activations ${formatBytes(fixed.activationBytes + fixed.linkBytes)}, scratch ${formatBytes(fixed.scratchBytes)}, ` +
      `largest block ${formatBytes(largestBytes)}, overhead ${formatBytes(input.device.overheadBytes)}` +
      (place === "device" ? `, waiting ${formatBytes(phase.waitingBytes)}` : "");
    throw refusal("E_VRAM", "--vram", phase.name, leastOf(need), deviceBytes, parts);
  }
}

function largestBlockBytes(input: PlanInput, phase: PlanPhaseInput): number {
  return Math.max(0, ...blocksOf(phase).map((block) => alignUp(block.deviceBytes, input.device.alignmentBytes)));
}

/** The smallest device budget that works with the given RAM budget. */
export function smallestDeviceBytes(input: PlanInput): number {
  const needs = input.phases.map(
    (phase) => fixedBytes(input, phase, waitingPlace(input, phase)).deviceBytes + largestBlockBytes(input, phase),
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
