/**
 * @file How many pictures are drawn side by side, so that weights pass once for all of them: what each number of them costs, and
 * which one pays. Pure.
 */
import { BudgetError } from "../errors.ts";
import type { Plan } from "./plan.ts";
import type { PlanInput, PlanPhaseInput } from "./plan-input.ts";
import { makePlan } from "./planner.ts";
import { predictFill, predictPlan } from "./predict.ts";

/** What a plan predicts of one picture. */
export interface PictureCost {
  readonly predictedMs: number;
  /** Stored weights that come to the device. */
  readonly loadedBytes: number;
}

/** Most pictures side by side: beyond that each of them gains little, and waits for all others. */
export const MAX_LANES = 16;

/** Times that differ by less are the same: predictions are no better, and what moves less weighs more. */
const SAME_TIME_SHARE = 0.02;

export function pictureCost(plan: Plan, phases: readonly PlanPhaseInput[]): PictureCost {
  const fills = phases.map((phase, i) => predictFill(plan, phase, i));
  const passes = predictPlan(plan, phases);
  const total = (numbers: readonly number[]) => numbers.reduce((sum, value) => sum + value, 0);
  return {
    predictedMs: total(passes.map(({ totalMs, repeats }) => totalMs * repeats)) + total(fills.map(({ ms }) => ms)),
    loadedBytes: Math.round(
      total(passes.map(({ loadedBytes, repeats }) => loadedBytes * repeats)) + total(fills.map(({ bytes }) => bytes)),
    ),
  };
}

/**
 * The plan for up to `wanted` pictures: of the numbers that the budgets allow, the one with the least predicted time a picture; of
 * those that take about as long, the one that moves the fewest weights a picture; of those, the smallest. Where all weights stay,
 * there is nothing to share: one. Throws as makePlan does for one picture.
 */
export function planSideBySide(input: PlanInput, wanted: number): Plan {
  const alone = makePlan({ ...input, lanes: 1 });
  if (alone.keepsAll) return alone;
  const choices = [{ plan: alone, cost: pictureCost(alone, input.phases) }];
  for (let lanes = 2; lanes <= Math.min(wanted, MAX_LANES); lanes++) {
    const plan = planWithin({ ...input, lanes });
    // More of them need more.
    if (!plan) break;
    choices.push({ plan, cost: pictureCost(plan, input.phases) });
  }
  const least = Math.min(...choices.map(({ cost }) => cost.predictedMs));
  const quick = choices.filter(({ cost }) => cost.predictedMs <= least * (1 + SAME_TIME_SHARE));
  return quick.reduce((best, other) => (other.cost.loadedBytes < best.cost.loadedBytes ? other : best)).plan;
}

function planWithin(input: PlanInput): Plan | undefined {
  try {
    return makePlan(input);
  } catch (error) {
    if (error instanceof BudgetError) return undefined;
    throw error;
  }
}
