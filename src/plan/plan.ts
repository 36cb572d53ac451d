/**
 * @file The plan: what lies where on every tier, what moves when, and why; a value, made before anything is allocated.
 * Phases follow one another (encode, denoise, decode) and give their memory back, unless all of them fit at once. A phase
 * runs passes (graphs); the memory of a phase is its pinned weights, the ring, activations, links, scratch and waiting
 * tensors. Pure and synchronous; knows no SDXL.
 */

import { alignUp } from "../tensor/align.ts";
import type { Lifetime } from "./arena.ts";
import type { Machine } from "./machine.ts";
import { fixedBytes, requireBudgets, waitingPlace } from "./needs.ts";
import { blocksOf, uniqueBlocks } from "./plan-blocks.ts";
import { explain } from "./reasons.ts";
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

/** Milliseconds of compute: arithmetic or memory traffic, whichever is longer. */
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

export interface RamCache {
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
