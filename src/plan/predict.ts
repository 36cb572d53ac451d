/**
 * @file How long a plan's passes take on its machine: a timeline of compute and transfers, block by block. Two lines run side
 * by side where the machine overlaps them; else times add up. Pure arithmetic, for choosing and for comparing with what was
 * measured.
 */
import { computeMs } from "./cycle.ts";
import type { Machine } from "./machine.ts";
import { blocksThereBefore, type PhasePlan, type Plan } from "./plan.ts";
import type { PlanPass, PlanPhaseInput } from "./plan-input.ts";
import { uniqueBlocks } from "./weight-blocks.ts";

/** Of pictures that run a pass together, each has an equal part of its times and bytes. */
export interface PassPrediction {
  readonly id: string;
  readonly repeats: number;
  /** One run, in the steady state. */
  readonly totalMs: number;
  readonly computeMs: number;
  /** Time in which compute stands still for weights. */
  readonly waitMs: number;
  /** Stored weights that come to the device. */
  readonly loadedBytes: number;
}

/** In the order of the plan's phases and their passes. */
export function predictPlan(plan: Plan, phases: readonly PlanPhaseInput[]): PassPrediction[] {
  return phases.flatMap((phase, i) => {
    const phasePlan = plan.phases[i]!;
    let held: string | undefined;
    return phase.passes.map((pass) => {
      const predicted = predictPass(pass, phasePlan, plan, held);
      held = weightSets(pass).at(-1);
      return predicted;
    });
  });
}

/** Weights and time until a phase's pinned weights are on the device. */
export interface FillPrediction {
  /** Where compute doesn't hide it. */
  readonly ms: number;
  readonly bytes: number;
}

/**
 * Bringing a phase's pinned weights to the device: once an image (of several side by side, each one's part), or once for all images
 * if the plan keeps everything. Blocks that an earlier phase has left there take no time.
 */
export function predictFill(plan: Plan, phase: PlanPhaseInput, index: number): FillPrediction {
  const { machine, device, lanes } = plan;
  const together = plan.phases[index]!.lanes;
  const there = blocksThereBefore(plan, index);
  const coming = new Set(plan.phases[index]!.residency.pinned.flatMap(({ key }) => (there.has(key) ? [] : [key])));
  let [loadMs, hiddenMs, bytes] = [0, 0, 0];
  for (const pass of phase.passes) {
    for (const segment of pass.segments) {
      hiddenMs += together * computeMs(segment, machine);
      for (const { key, storedBytes } of segment.blocks) {
        if (!coming.delete(key)) continue;
        bytes += storedBytes;
        loadMs += transferMs(storedBytes, false, device.sharesHostMemory, machine);
      }
    }
  }
  const ms = machine.overlaps ? Math.max(0, loadMs - hiddenMs) : loadMs;
  return { ms: ms / lanes, bytes: bytes / lanes };
}

/** Each set of blocks that its segments read, once, as text. */
function weightSets({ segments }: PlanPass): string[] {
  const sets = segments.flatMap(({ blocks }) => (blocks.length > 0 ? [blocks.map(({ key }) => key)] : []));
  return [...new Set(sets.map((keys) => JSON.stringify(keys)))];
}

/** `held`: the weights that the pass before used last. */
function predictPass(pass: PlanPass, phase: PhasePlan, plan: Plan, held: string | undefined): PassPrediction {
  const { machine, device } = plan;
  const { lanes } = phase;
  const streamed = new Set(phase.residency.streamed.map(({ key }) => key));
  const cached = new Set(phase.cached.map(({ key }) => key));
  const { repeats, id } = pass;
  // Weights that are alone in their pass stay for all its runs, as those of bands do.
  const [only, ...others] = weightSets(pass);
  const stays = others.length === 0;
  const loadShare = stays ? (only === held ? 0 : 1 / repeats) : 1;
  const segments = pass.segments.map((segment) => ({
    ms: lanes * computeMs(segment, machine),
    load: segment.blocks
      .filter(({ key }) => streamed.has(key))
      .reduce(
        (ms, block) =>
          ms + loadShare * transferMs(block.storedBytes, cached.has(block.key), device.sharesHostMemory, machine),
        0,
      ),
  }));
  const compute = segments.reduce((sum, { ms }) => sum + ms, 0);
  const load = segments.reduce((sum, segment) => sum + segment.load, 0);
  const moving = uniqueBlocks(pass.segments).filter(({ key }) => streamed.has(key));
  const loadedBytes = loadShare * moving.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
  const partOf = (totalMs: number, waitMs: number): PassPrediction => ({
    ...{ id, repeats, totalMs: totalMs / lanes, computeMs: compute / lanes },
    ...{ waitMs: waitMs / lanes, loadedBytes: loadedBytes / lanes },
  });
  if (!machine.overlaps) return partOf(compute + load, load);
  // Two rounds; the second is the steady state. A slot is free once the block `slots` before has been computed.
  const slots = Math.max(1, phase.residency.slots);
  let clockMs = 0;
  let linkMs = 0;
  let roundStartMs = 0;
  const ends: number[] = [];
  for (let round = 0; round < 2; round++) {
    roundStartMs = clockMs;
    for (const segment of segments) {
      if (segment.load > 0) {
        linkMs = Math.max(linkMs, ends.at(-slots) ?? 0) + segment.load;
        clockMs = Math.max(clockMs, linkMs);
      }
      clockMs += segment.ms;
      if (segment.load > 0) ends.push(clockMs);
    }
  }
  const totalMs = clockMs - roundStartMs;
  return partOf(totalMs, Math.max(0, totalMs - compute));
}

/** From RAM over the link, or from disk and over the link at once: the slower of the two. */
function transferMs(bytes: number, inRam: boolean, sharesHostMemory: boolean, machine: Machine): number {
  const link = sharesHostMemory ? machine.memoryGBps : machine.linkGBps;
  const rate = inRam ? link : Math.min(link, machine.diskGBps);
  return bytes / (rate * 1e6);
}
