/** @file The graphs of jobs with their sizes, by job shape: they take long to describe, and plans for other budgets and machines begin with the same. */
import type { Checkpoint, DescribedJob } from "../models/family.ts";
import type { JobShape } from "../models/job-shape.ts";
import { describePhase } from "../plan/describe.ts";
import type { DeviceSizes } from "../plan/device-sizes.ts";
import type { PlanInput } from "../plan/plan-input.ts";
import type { BlockReader } from "../stream/blocks.ts";
import { BoundedCache } from "./bounded-cache.ts";

interface JobGraphs extends Pick<PlanInput, "phases"> {
  readonly described: DescribedJob;
}

const KEPT = 4;

export class JobGraphCache {
  readonly #described = new BoundedCache<string, DescribedJob>(KEPT);
  readonly #graphs = new BoundedCache<string, JobGraphs>(KEPT);

  described(checkpoint: Checkpoint, shape: JobShape): DescribedJob {
    const key = JSON.stringify(shape);
    const known = this.#described.get(key);
    if (known) return known;
    const described = checkpoint.describe(shape);
    this.#described.set(key, described);
    return described;
  }

  /** `owner`: the runtime, whose device `device` may be, or one that is only described. `readerOf`: of a component. */
  of(
    { checkpoint, device: own }: { readonly checkpoint: Checkpoint; readonly device: DeviceSizes },
    shape: JobShape,
    device: DeviceSizes,
    readerOf: (component: string) => BlockReader,
  ): JobGraphs {
    const key = JSON.stringify([device === own, device.name, shape]);
    const known = this.#graphs.get(key);
    if (known) return known;
    const described = this.described(checkpoint, shape);
    const catalogOf = (component: string) => {
      const reader = readerOf(component);
      return reader.blocks.bind(reader);
    };
    const phases = described.phases.map((phase) => describePhase(device, phase, catalogOf));
    this.#graphs.set(key, { described, phases });
    return { described, phases };
  }

  clear(): void {
    this.#described.clear();
    this.#graphs.clear();
  }
}
