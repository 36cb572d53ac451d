/**
 * @file The plan: what lies where on every tier, what moves when, and why; a value, made before anything is allocated.
 * Phases follow one another (encode, denoise, decode) and give their memory back, unless all of them fit at once. A phase
 * runs passes (graphs); the memory of a phase is its pinned weights, the ring, activations, links, scratch and waiting
 * tensors. Pure and synchronous; knows no SDXL.
 */

import { BudgetError } from "../errors.ts";
import { alignUp } from "../tensor/align.ts";
import { type Lifetime, layOutArena } from "./arena.ts";
import { budgetText, formatBytes } from "./budget.ts";
import type { Machine } from "./machine.ts";
import { type CycleBlock, chooseResidency, type Residency } from "./residency.ts";

/** Weights of one segment. Equal keys are the same weights, whatever graph reads them. */
export interface PlanBlock {
  readonly key: string;
  readonly deviceBytes: number;
  readonly storedBytes: number;
}

export interface PlanSegment {
  readonly name: string;
  readonly block?: PlanBlock;
  readonly flops: number;
  /** Activations and weights that the segment reads and writes. */
  readonly trafficBytes: number;
  /** As the device tells it: of memory that segments share, and of what each takes for itself. */
  readonly scratch: { readonly given: number; readonly taken: number };
}

/** A value on the device; steps are segment indexes. */
export interface PlanValue extends Lifetime {
  readonly id: number;
}

export interface PlanPass {
  readonly name: string;
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
  readonly name: string;
  readonly passes: readonly PlanPass[];
  /** Device values that one pass hands to later ones. */
  readonly links: readonly NamedBytes[];
  /** Host memory that the phase needs whatever is chosen. */
  readonly hostBytes: number;
  /** Tensors that wait while bands of them pass through the device. */
  readonly waitingBytes: number;
}

export interface PlanDevice {
  readonly name: string;
  readonly alignmentBytes: number;
  /** Staging, driver allowance. */
  readonly overheadBytes: number;
  /** Host and device memory are the same: what lies in RAM is used where it is. */
  readonly sharesHostMemory: boolean;
}

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
}

export type WaitingPlace = "ram" | "device";

export interface PassPlan {
  readonly name: string;
  readonly repeats: number;
  /** Offsets in the phase's activation arena, by value. */
  readonly offsets: ReadonlyMap<number, number>;
  readonly activationBytes: number;
  /** Bytes that reach the device in each run once the pins are there, and those of them that come from disk. */
  readonly movedBytes: number;
  readonly diskBytes: number;
}

export interface PhasePlan {
  readonly name: string;
  readonly passes: readonly PassPlan[];
  readonly residency: Residency;
  /** Streamed blocks whose stored bytes stay in RAM. */
  readonly cachedKeys: readonly string[];
  readonly cachedBytes: number;
  readonly activationBytes: number;
  readonly links: ReadonlyMap<string, number>;
  readonly linkBytes: number;
  /** Given scratch, and with what is taken. */
  readonly givenBytes: number;
  readonly scratchBytes: number;
  readonly waitingPlace: WaitingPlace;
  readonly waitingBytes: number;
  /** Peaks of this phase, overhead and process included. */
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
  /** Pinned weights stay from phase to phase and image to image. */
  readonly keepsAll: boolean;
  readonly phases: readonly PhasePlan[];
  /** Most that is taken at any moment. */
  readonly peak: PlanBudgets;
}

/** Throws BudgetError `E_VRAM` or `E_RAM` naming the phase and the smallest budget that works. */
export function makePlan(input: PlanInput): Plan {
  const { device, machine, budgets, processBytes } = input;
  requireBudgets(input);
  const together = planTogether(input);
  const phases = together ?? input.phases.map((phase) => planPhase(input, phase, budgets.deviceBytes, false));
  const resident = (of: (phase: PhasePlan) => number) =>
    together ? together.reduce((total, phase) => total + of(phase), 0) : 0;
  const pinnedElsewhere = (phase: PhasePlan) =>
    together ? resident((other) => other.residency.pinnedBytes) - phase.residency.pinnedBytes : 0;
  const most = (of: (phase: PhasePlan) => number) => Math.max(0, ...phases.map(of));
  const peak = {
    deviceBytes: most((phase) => phase.deviceBytes + pinnedElsewhere(phase)),
    ramBytes: most((phase) => phase.ramBytes),
  };
  return { device, machine, budgets, processBytes, keepsAll: together !== undefined, phases, peak };
}

/** All weights of all phases at once, or undefined if they don't fit beside the largest phase's other needs. */
function planTogether(input: PlanInput): PhasePlan[] | undefined {
  const weights = new Map<string, number>();
  for (const phase of input.phases) {
    for (const block of blocksOf(phase))
      weights.set(block.key, alignUp(block.deviceBytes, input.device.alignmentBytes));
  }
  const weightBytes = [...weights.values()].reduce((total, bytes) => total + bytes, 0);
  const phases: PhasePlan[] = [];
  for (const phase of input.phases) {
    const own = blocksOf(phase).reduce((total, block) => total + weights.get(block.key)!, 0);
    const room = input.budgets.deviceBytes - (weightBytes - own);
    if (fixedBytes(input, phase, waitingPlace(input, phase)).deviceBytes + own > room) return undefined;
    phases.push(planPhase(input, phase, room, true));
  }
  return phases;
}

function planPhase(input: PlanInput, phase: PlanPhaseInput, roomBytes: number, keep: boolean): PhasePlan {
  const { device, budgets } = input;
  const place = waitingPlace(input, phase);
  const fixed = fixedBytes(input, phase, place);
  const blocks = cycleBlocks(phase, input.machine, keep);
  const capacityBytes = roomBytes - fixed.deviceBytes;
  const residency = chooseResidency(blocks, capacityBytes, device.alignmentBytes);
  if (!residency) throw new Error(`${phase.name}: no residency within ${capacityBytes} bytes`); // requireBudgets saw to it
  const stored = new Map(blocksOf(phase).map((block) => [block.key, block.storedBytes]));
  const cached = cacheInRam(input, residency, stored, budgets.ramBytes - fixed.ramBytes, blocks);
  const streamed = new Set(residency.streamed.map(({ key }) => key));
  const passes = phase.passes.map((pass, i): PassPlan => {
    const moving = uniqueBlocks(pass.segments).filter(({ key }) => streamed.has(key));
    const total = (list: readonly PlanBlock[]) => list.reduce((bytes, block) => bytes + block.storedBytes, 0);
    return {
      name: pass.name,
      repeats: pass.repeats,
      offsets: new Map(pass.values.map(({ id }, j) => [id, fixed.layouts[i]!.offsetsBytes[j]!])),
      activationBytes: fixed.layouts[i]!.lengthBytes,
      movedBytes: total(moving),
      diskBytes: total(moving.filter(({ key }) => !cached.keys.has(key))),
    };
  });
  return {
    name: phase.name,
    passes,
    residency,
    cachedKeys: [...cached.keys],
    cachedBytes: cached.bytes,
    activationBytes: fixed.activationBytes,
    links: fixed.links,
    linkBytes: fixed.linkBytes,
    givenBytes: fixed.givenBytes,
    scratchBytes: fixed.scratchBytes,
    waitingPlace: place,
    waitingBytes: phase.waitingBytes,
    deviceBytes: fixed.deviceBytes + residency.pinnedBytes + residency.ringBytes,
    ramBytes: fixed.ramBytes + cached.bytes,
    reasons: explain(phase, residency, blocks, cached, { place, bytes: phase.waitingBytes }, capacityBytes, keep),
  };
}

/** What a phase takes besides weights, with waiting tensors on one tier or the other. */
function fixedBytes(input: PlanInput, phase: PlanPhaseInput, place: WaitingPlace) {
  const { alignmentBytes, overheadBytes } = input.device;
  const layouts = phase.passes.map((pass) => layOutArena(pass.values, alignmentBytes));
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
function waitingPlace(input: PlanInput, phase: PlanPhaseInput): WaitingPlace {
  if (phase.waitingBytes === 0 || !input.device.sharesHostMemory) return "ram";
  return fixedBytes(input, phase, "ram").ramBytes <= input.budgets.ramBytes ? "ram" : "device";
}

/** Each phase's least need on both tiers, against the budgets. RAM first: what waits may lie on the device instead. */
function requireBudgets(input: PlanInput): void {
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

function uniqueBlocks(segments: readonly PlanSegment[]): PlanBlock[] {
  const seen = new Map<string, PlanBlock>();
  for (const { block } of segments) if (block && !seen.has(block.key)) seen.set(block.key, block);
  return [...seen.values()];
}

export function blocksOf(phase: PlanPhaseInput): PlanBlock[] {
  return uniqueBlocks(phase.passes.flatMap((pass) => pass.segments));
}

/** Seconds of compute: arithmetic or memory traffic, whichever is longer. */
export function computeMs(segment: PlanSegment, machine: Machine): number {
  return Math.max(segment.flops / (machine.gflops * 1e6), segment.trafficBytes / (machine.memoryGBps * 1e6));
}

function cycleBlocks(phase: PlanPhaseInput, machine: Machine, keep: boolean): CycleBlock[] {
  const blocks = new Map<string, { deviceBytes: number; coverMs: number; once: boolean }>();
  let last: { coverMs: number } | undefined;
  for (const pass of phase.passes) {
    for (const segment of pass.segments) {
      const { block } = segment;
      if (block) {
        const known = blocks.get(block.key);
        last = known ?? { deviceBytes: block.deviceBytes, coverMs: 0, once: !keep && !pass.cyclic };
        if (!known) blocks.set(block.key, last as { deviceBytes: number; coverMs: number; once: boolean });
        else if (pass.cyclic) known.once = false;
      }
      if (last) last.coverMs += computeMs(segment, machine) * (pass.cyclic ? 1 : pass.repeats);
    }
  }
  return [...blocks].map(([key, block]) => ({ key, ...block }));
}

interface RamCache {
  readonly keys: ReadonlySet<string>;
  readonly bytes: number;
}

/** Streamed blocks that are used again stay in RAM in the order of use, as many as fit. */
function cacheInRam(
  input: PlanInput,
  residency: Residency,
  stored: ReadonlyMap<string, number>,
  roomBytes: number,
  blocks: readonly CycleBlock[],
): RamCache {
  const keys = new Set<string>();
  let bytes = 0;
  if (input.device.sharesHostMemory) return { keys, bytes };
  const once = new Set(blocks.filter((block) => block.once).map(({ key }) => key));
  for (const { key } of residency.streamed) {
    const lengthBytes = stored.get(key)!;
    if (once.has(key) || bytes + lengthBytes > roomBytes) continue;
    keys.add(key);
    bytes += lengthBytes;
  }
  return { keys, bytes };
}

function explain(
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
  const again = residency.streamed.filter(({ key }) => blocks.find((block) => block.key === key)?.once === false);
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
