/**
 * @file Which jobs of the queue are drawn side by side, so that each pass over the weights is for all of them: the next ones in the queue, in
 * its order, while their graphs may agree, as many as the plan says it pays for. One that stands behind another shape waits for its turn.
 */
import { JOB_FIELDS } from "../../job/fields.ts";
import type { Engine, GenerateJob, PlanJob, PlanReport } from "../../job/types.ts";
import type { Assets } from "../pictures/assets.ts";
import type { Claim, Claims, NextJob } from "../queue/claims.ts";
import type { Wanted } from "../queue/next-job.ts";
import { withPictures } from "./served-job.ts";

/** Whoever comes with a higher priority waits for so many pictures at most. */
const MOST_TOGETHER = 8;
/** Shapes whose plans are remembered. */
const SHAPES_KEPT = 64;

export class SharedPasses {
  readonly #engine: Pick<Engine, "plan">;
  readonly #assets: Assets;
  /** How many are drawn side by side, by shape. */
  readonly #lanes = new Map<string, number>();

  constructor(engine: Pick<Engine, "plan">, assets: Assets) {
    this.#engine = engine;
    this.#assets = assets;
  }

  /** Claims the jobs that are drawn beside the first. */
  async *neighbours(
    claims: Claims,
    { record: { job, model, upscale }, suspect }: Claim,
    wanted: Wanted,
  ): AsyncGenerator<Claim, void, undefined> {
    if (suspect || upscale) return;
    const shape = shapeOf(job);
    const fits = ({ record, suspect }: NextJob) =>
      !suspect && !record.upscale && record.model === model && shapeOf(record.job) === shape;
    // No plan is made where nobody waits.
    const next = await claims.next(wanted);
    if (!next || !fits({ record: next, suspect: false })) return;
    const lanes = await this.#lanesOf(job, shape);
    for (let count = 1; count < lanes; count++) {
      const claim = await claims.claim(wanted, fits);
      if (!claim) return;
      yield claim;
    }
  }

  async #lanesOf(job: GenerateJob, shape: string): Promise<number> {
    const known = this.#lanes.get(shape);
    if (known !== undefined) return known;
    // What is wrong with the job is told when it is drawn.
    const plan = await planned(this.#engine, job, this.#assets).catch(() => undefined);
    const lanes = plan?.lanes ?? 1;
    if (this.#lanes.size >= SHAPES_KEPT) this.#lanes.clear();
    this.#lanes.set(shape, lanes);
    return lanes;
  }
}

/** Names of the fields that a plan depends on. */
const PLANNED = Object.entries(JOB_FIELDS).flatMap(([name, field]) =>
  "shapesPlan" in field ? [name as keyof PlanJob] : [],
);
/** Of these, what may differ: prompts (how many chunks they fill is seen by the engine, which draws others after them), and the file's format. */
const FREE: readonly (keyof PlanJob)[] = [
  ...(["prompt", "negativePrompt", "prompt2", "negativePrompt2"] as const),
  ...(["format", "lossless"] as const),
];

/** Equal for jobs that can be drawn side by side, but for how long their prompts are. */
function shapeOf(job: GenerateJob): string {
  const { guidance = JOB_FIELDS.guidance.default } = job;
  return JSON.stringify([
    // How strong it is changes no graph.
    guidance > 1,
    PLANNED.map((name) => (FREE.includes(name) || name === "guidance" ? null : (job[name] ?? null))),
  ]);
}

async function planned(engine: Pick<Engine, "plan">, job: GenerateJob, assets: Assets): Promise<PlanReport> {
  const full = await withPictures(job, assets);
  const asked = Object.fromEntries(PLANNED.flatMap((name) => (full[name] === undefined ? [] : [[name, full[name]]])));
  return await engine.plan(asked as PlanJob, { count: MOST_TOGETHER });
}
