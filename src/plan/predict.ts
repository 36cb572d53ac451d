/**
 * @file How long a plan's passes take on its machine: a timeline of compute and transfers, block by block. Two lines run side
 * by side where the machine overlaps them; else times add up. Pure arithmetic, for choosing and for comparing with what was
 * measured.
 */
import type { Machine } from "./machine.ts";
import { computeMs, type PhasePlan, type Plan, type PlanPass, type PlanPhaseInput } from "./plan.ts";

export interface PassPrediction {
  readonly name: string;
  readonly repeats: number;
  /** One run, in the steady state. */
  readonly totalMs: number;
  readonly computeMs: number;
  /** Time in which compute stands still for weights. */
  readonly waitMs: number;
  readonly movedBytes: number;
}

/** In the order of the plan's phases and their passes. */
export function predictPlan(plan: Plan, phases: readonly PlanPhaseInput[]): PassPrediction[] {
  return phases.flatMap((phase, i) => {
    const phasePlan = plan.phases[i]!;
    let held: string | undefined;
    return phase.passes.map((pass, j) => {
      const predicted = predictPass(pass, phasePlan, plan, held);
      held = blockKeys(pass).at(-1);
      return { ...predicted, movedBytes: phasePlan.passes[j]!.movedBytes };
    });
  });
}

/**
 * Bringing a phase's pinned weights to the device, where compute doesn't cover it: once an image, or once for all images if
 * the plan keeps everything.
 */
export function predictFillMs(plan: Plan, phase: PlanPhaseInput, index: number): number {
  const { machine, device } = plan;
  const pinned = new Set(plan.phases[index]!.residency.pinned.map(({ key }) => key));
  let [loadMs, coverMs] = [0, 0];
  for (const pass of phase.passes) {
    for (const segment of pass.segments) {
      coverMs += computeMs(segment, machine);
      if (!segment.block || !pinned.delete(segment.block.key)) continue;
      loadMs += transferMs(segment.block.storedBytes, false, device.sharesHostMemory, machine);
    }
  }
  return machine.overlaps ? Math.max(0, loadMs - coverMs) : loadMs;
}

function blockKeys({ segments }: PlanPass): string[] {
  return [...new Set(segments.flatMap(({ block }) => (block ? [block.key] : [])))];
}

/** `held`: the block that the pass before used last. */
function predictPass(
  pass: PlanPass,
  phase: PhasePlan,
  plan: Plan,
  held: string | undefined,
): Omit<PassPrediction, "movedBytes"> {
  const { machine, device } = plan;
  const streamed = new Map(phase.residency.streamed.map((block) => [block.key, block]));
  const cached = new Set(phase.cachedKeys);
  const { repeats, name } = pass;
  // A block that is alone in its pass stays for all its runs, as do the weights of bands.
  const [only, ...others] = blockKeys(pass);
  const stays = others.length === 0;
  const loadShare = stays ? (only === held ? 0 : 1 / repeats) : 1;
  const segments = pass.segments.map((segment) => ({
    ms: computeMs(segment, machine),
    load:
      segment.block && streamed.has(segment.block.key)
        ? loadShare *
          transferMs(segment.block.storedBytes, cached.has(segment.block.key), device.sharesHostMemory, machine)
        : 0,
  }));
  const compute = segments.reduce((sum, { ms }) => sum + ms, 0);
  const load = segments.reduce((sum, segment) => sum + segment.load, 0);
  if (!machine.overlaps) return { name, repeats, totalMs: compute + load, computeMs: compute, waitMs: load };
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
  return { name, repeats, totalMs, computeMs: compute, waitMs: Math.max(0, totalMs - compute) };
}

/** From RAM over the link, or from disk and over the link at once: the slower of the two. */
function transferMs(bytes: number, inRam: boolean, sharesHostMemory: boolean, machine: Machine): number {
  const link = sharesHostMemory ? machine.memoryGBps : machine.linkGBps;
  const rate = inRam ? link : Math.min(link, machine.diskGBps);
  return bytes / (rate * 1e6);
}
