/** @file The plan for a job that nobody draws yet, here or on a machine that is described. */
import type { Budgets } from "../job/checked.ts";
import type { PlanJob } from "../job/types.ts";
import type { JobShape, PreviewerShape } from "../models/job-shape.ts";
import { jobShape } from "../pipeline/route.ts";
import type { Runtime } from "../pipeline/runtime.ts";
import type { DeviceSizes } from "../plan/device-sizes.ts";
import type { Machine } from "../plan/machine.ts";
import type { PlanBudgets } from "../plan/plan-input.ts";
import { makePlan } from "../plan/planner.ts";
import { type PlanReport, reportPlan } from "../plan/report.ts";
import { planSideBySide } from "../plan/side-by-side.ts";
import { type EmbeddingFiles, learnedJob } from "./embedding-files.ts";
import { detailSizesOf, type ImageContext } from "./image-job.ts";
import { type JobReaders, readJob } from "./read-job.ts";

interface PlanHost extends Omit<JobReaders, "runtime"> {
  readonly embeddings?: EmbeddingFiles | undefined;
  readonly resolveBudgets: (budgets: Budgets, machine: Machine) => PlanBudgets;
}

/** `machine`: one that is described, in place of this one. */
export async function planJob(
  runtime: Runtime,
  job: PlanJob,
  {
    host,
    provide,
    previewer,
    ...files
  }: Pick<ImageContext, "upscalers" | "loraFiles" | "controlFiles" | "imagePromptFiles"> & {
    readonly host: PlanHost;
    /** Counted as if previews were asked for. */
    readonly previewer: PreviewerShape | undefined;
    readonly provide: (shape: JobShape) => Promise<void>;
  },
  other: {
    readonly machine: { readonly machine: Machine; readonly device: DeviceSizes } | undefined;
    readonly budgets: Budgets;
    readonly count: number | undefined;
  },
): Promise<PlanReport> {
  const { checkpoint } = runtime;
  const read = await readJob({ ...host, runtime }, { prompt: "", ...job });
  const { full, words } = await learnedJob(checkpoint, read.full, host.embeddings);
  const { adapters, hiresAdapters } = (await files.loraFiles.ofJob(full)) ?? {};
  const upscaler = await files.upscalers.ofJob(full);
  const steering = await files.controlFiles.ofJob(full);
  const images = await files.imagePromptFiles.ofJob(full, host.readPicture);
  const opened = {
    upscaler,
    adapters,
    hiresAdapters,
    steering: steering?.controls,
    imagePrompts: images?.adapters,
    detailSizes: detailSizesOf(read.pictures),
    words,
  };
  const shape = jobShape(checkpoint, { ...full, ...opened, preview: previewer });
  await provide(shape);
  const { input } = runtime.planInput(shape, other.machine?.device);
  const machine = other.machine?.machine ?? input.machine;
  const asked = { ...input, machine, budgets: host.resolveBudgets(other.budgets, machine) };
  const plan = planSideBySide(asked, other.count ?? 1);
  return reportPlan(plan, input.phases, plan.lanes > 1 ? makePlan(asked) : undefined);
}
