/** @file The plans whose segments a device holds compiled: those of one picture size, all of a plan's segments or some. */
import type { Device } from "../backend/device.ts";
import type { JobShape } from "../models/job-shape.ts";
import type { Plan } from "../plan/plan.ts";

/** Plans of one picture size (other numbers of steps, other budgets) whose compiled segments are held at once. */
const MAX_PLANS = 4;

interface CompiledPlan {
  readonly shape: JobShape;
  /** All of its segments are there. */
  whole: boolean;
}

export class CompiledPlans {
  readonly #plans = new Map<Plan, CompiledPlan>();

  /**
   * Where weights stay, what was compiled for them stays as well. What was compiled for another picture size goes: the budget has room
   * for one size.
   */
  async begin(
    { plan, shape }: { readonly plan: Plan; readonly shape: JobShape },
    device: Pick<Device, "release">,
  ): Promise<void> {
    if (this.#plans.has(plan)) return;
    const isAlike = ({ shape: other }: CompiledPlan) => graphKey(other) === graphKey(shape);
    if (this.#plans.size >= MAX_PLANS || ![...this.#plans.values()].every(isAlike)) {
      await device.release();
      this.#plans.clear();
    }
    this.#plans.set(plan, { shape, whole: false });
  }

  isWhole(plan: Plan): boolean {
    return this.#plans.get(plan)!.whole;
  }

  /** All segments of a plan that was begun are there. */
  complete(plan: Plan): void {
    this.#plans.get(plan)!.whole = true;
  }

  /** The device gives them back; plans stay begun. */
  async release(device: Pick<Device, "release">): Promise<void> {
    for (const plan of this.#plans.values()) plan.whole = false;
    await device.release();
  }

  /** Of a device that is gone, or gives back all by itself. */
  clear(): void {
    this.#plans.clear();
  }
}

/** Equal for jobs of the same graphs, but for the number of time embeddings at once. */
function graphKey({ modelCalls: _, otherCalls: __, encoderBytesPerPixel: ___, text, ...rest }: JobShape): string {
  return JSON.stringify([rest, text?.chunks ?? 1, text?.clipSkips ?? [0]]);
}
