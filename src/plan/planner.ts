/**
 * @file Makes a plan: all weights at once where they fit, else phase by phase, with neighbours that read the same weights
 * agreeing on those that stay. Pure and synchronous; knows no model.
 */
import { cycleBlocks } from "./cycle.ts";
import type { PassPlan, PhasePlan, Plan } from "./plan.ts";
import { type PlanInput, type PlanPhaseInput, phaseLanes, type WeightBlock } from "./plan-input.ts";
import { explain, keptReason } from "./reasons.ts";
import { fixedBytes, requireBudgets, spillTier } from "./requirements.ts";
import { type CycleBlock, chooseResidency, type Residency } from "./residency.ts";
import { blocksOf, uniqueBlocks, weightBytesByKey } from "./weight-blocks.ts";

/** Throws BudgetError `E_VRAM` or `E_RAM` naming the phase and the smallest budget that works; RangeError if ids are not unique. */
export function makePlan(input: PlanInput): Plan {
  const { device, machine, budgets, processBytes, lanes = 1 } = input;
  requireUniqueIds(input.phases.map(({ id }) => id));
  requireUniqueIds(input.phases.flatMap(({ passes }) => passes.map(({ id }) => id)));
  requireBudgets(input);
  const weightBytes = sum([...weightBytesByKey(input.phases, device.alignmentBytes).values()]);
  const together = planTogether(input, weightBytes);
  const phases = together ?? planInTurn(input);
  const pinnedForOthers = (phase: PhasePlan) => (together ? weightBytes - phase.residency.pinnedBytes : 0);
  const peak = {
    deviceBytes: Math.max(0, ...phases.map((phase) => phase.deviceBytes + pinnedForOthers(phase))),
    ramBytes: Math.max(0, ...phases.map((phase) => phase.ramBytes)),
  };
  const keepsAll = together !== undefined;
  return { device, machine, budgets, processBytes, lanes, keepsAll, weightBytes, phases, peak };
}

function requireUniqueIds(ids: readonly string[]): void {
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw new RangeError(`two parts of one plan have the id ${twice}`);
}

/** All weights of all phases at once, or undefined if they don't fit beside the largest phase's other needs. */
function planTogether(input: PlanInput, weightBytes: number): PhasePlan[] | undefined {
  const phases: PhasePlan[] = [];
  for (const phase of input.phases) {
    const own = sum([...weightBytesByKey([phase], input.device.alignmentBytes).values()]);
    const roomBytes = input.budgets.deviceBytes - (weightBytes - own);
    if (fixedBytes(input, phase, spillTier(input, phase)).deviceBytes + own > roomBytes) return undefined;
    const plan = planPhase(input, phase, { roomBytes, keepsAll: true, pinnedFirst: [] });
    phases.push({ ...plan, keptKeys: plan.residency.pinned.map(({ key }) => key) });
  }
  return phases;
}

/** Phase by phase. The tightest of neighbours that share blocks chooses first; the others pin what it does. */
function planInTurn(input: PlanInput): PhasePlan[] {
  const roomBytes = input.budgets.deviceBytes;
  const weightRoomBytes = (phase: PlanPhaseInput) =>
    roomBytes - fixedBytes(input, phase, spillTier(input, phase)).deviceBytes;
  const plans = new Map<PlanPhaseInput, PhasePlan>();
  for (const neighbours of sharingPhases(input.phases)) {
    const pinnedFirst = new Set<string>();
    for (const phase of neighbours.toSorted((a, b) => weightRoomBytes(a) - weightRoomBytes(b))) {
      const plan = planPhase(input, phase, { roomBytes, keepsAll: false, pinnedFirst: [...pinnedFirst] });
      for (const { key } of plan.residency.pinned) pinnedFirst.add(key);
      plans.set(phase, plan);
    }
  }
  return input.phases.map((phase, i) => {
    const plan = plans.get(phase)!;
    const next = plans.get(input.phases[i + 1]!);
    if (!next) return plan;
    const pinnedNext = new Set(next.residency.pinned.map(({ key }) => key));
    const kept = plan.residency.pinned.filter(({ key }) => pinnedNext.has(key));
    if (kept.length === 0) return plan;
    return {
      ...plan,
      keptKeys: kept.map(({ key }) => key),
      reasons: [...plan.reasons, keptReason(kept, next.title)],
    };
  });
}

/** Runs of phases in which each shares a block with the one before it. */
function sharingPhases(phases: readonly PlanPhaseInput[]): PlanPhaseInput[][] {
  const runs: PlanPhaseInput[][] = [];
  let before: ReadonlySet<string> = new Set();
  for (const phase of phases) {
    const keys = blocksOf(phase).map(({ key }) => key);
    if (keys.some((key) => before.has(key))) runs.at(-1)!.push(phase);
    else runs.push([phase]);
    before = new Set(keys);
  }
  return runs;
}

interface PhaseRoom {
  /** Of the device tier. */
  readonly roomBytes: number;
  readonly keepsAll: boolean;
  /** Keys of blocks that a neighbour pins. */
  readonly pinnedFirst: readonly string[];
}

function planPhase(input: PlanInput, phase: PlanPhaseInput, room: PhaseRoom): PhasePlan {
  const { device, budgets } = input;
  const tier = spillTier(input, phase);
  const fixed = fixedBytes(input, phase, tier);
  const lanes = phaseLanes(phase, input.lanes);
  const blocks = cycleBlocks(phase, input.machine, room.keepsAll, lanes);
  const capacityBytes = room.roomBytes - fixed.deviceBytes;
  const residency = chooseResidency(blocks, capacityBytes, device.alignmentBytes, room.pinnedFirst);
  if (!residency) throw new Error(`${phase.id}: no residency within ${capacityBytes} bytes`); // requireBudgets saw to it
  const stored = new Map(blocksOf(phase).map((block) => [block.key, block.storedBytes]));
  const cached = cacheInRam(input, residency, stored, budgets.ramBytes - fixed.ramBytes, blocks);
  const cachedBytes = sum(cached.map(({ lengthBytes }) => lengthBytes));
  const cachedKeys = new Set(cached.map(({ key }) => key));
  const streamed = new Set(residency.streamed.map(({ key }) => key));
  const storedBytes = (list: readonly WeightBlock[]) => sum(list.map((block) => block.storedBytes));
  const passes = phase.passes.map((pass, i): PassPlan => {
    const moving = uniqueBlocks(pass.segments).filter(({ key }) => streamed.has(key));
    return {
      id: pass.id,
      repeats: pass.repeats,
      offsets: new Map(pass.values.map(({ id }, j) => [id, fixed.layouts[i]!.offsetsBytes[j]!])),
      activationBytes: fixed.layouts[i]!.lengthBytes,
      movedBytes: storedBytes(moving),
      diskBytes: storedBytes(moving.filter(({ key }) => !cachedKeys.has(key))),
    };
  });
  const { activationBytes, links, linkBytes, sharedScratchBytes, scratchBytes } = fixed;
  return {
    id: phase.id,
    title: phase.title,
    lanes,
    passes,
    residency,
    keptKeys: [],
    cached,
    cachedBytes,
    activationBytes,
    links,
    linkBytes,
    sharedScratchBytes,
    scratchBytes,
    spillTier: tier,
    spilledBytes: phase.spilledBytes,
    deviceBytes: fixed.deviceBytes + residency.pinnedBytes + residency.ringBytes,
    ramBytes: fixed.ramBytes + cachedBytes,
    reasons: explain(phase, { residency, blocks, cached, tier, capacityBytes, keepsAll: room.keepsAll }),
  };
}

/** Streamed blocks that are used again stay in RAM in the order of use, as many as fit. */
function cacheInRam(
  input: PlanInput,
  residency: Residency,
  stored: ReadonlyMap<string, number>,
  roomBytes: number,
  blocks: readonly CycleBlock[],
): PhasePlan["cached"] {
  if (input.device.sharesHostMemory) return [];
  const usedOnce = new Set(blocks.flatMap((block) => (block.usedOnce ? [block.key] : [])));
  let offsetBytes = 0;
  return residency.streamed.flatMap(({ key }) => {
    const lengthBytes = stored.get(key)!;
    if (usedOnce.has(key) || offsetBytes + lengthBytes > roomBytes) return [];
    offsetBytes += lengthBytes;
    return [{ key, offsetBytes: offsetBytes - lengthBytes, lengthBytes }];
  });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, value) => total + value, 0);
}
