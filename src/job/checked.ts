/** @file What crosses to the thread that computes: requests that schema.ts has checked and read, and the engine that takes them. */
import type { PlanReport } from "../plan/report.ts";
import type { Engine } from "./engine.ts";
import type { ValuesOf } from "./field-type.ts";
import type { BUDGET_FIELDS, OPEN_FIELDS } from "./fields.ts";
import type { PlanJob } from "./job.ts";

/** Budgets as read once, where they were written. */
export type Budgets = ValuesOf<typeof BUDGET_FIELDS>;

/** Plain JSON. */
export type OpenRequest = ValuesOf<typeof OPEN_FIELDS> & { readonly budgets?: Budgets };

/** An engine behind the checks: its jobs and budgets are not checked again. */
export interface CheckedEngine extends Omit<Engine, "plan" | "setBudgets"> {
  plan(
    job: PlanJob,
    options?: { readonly as?: string; readonly budgets?: Budgets; readonly count?: number },
  ): Promise<PlanReport>;
  setBudgets(budgets: Budgets): Promise<void>;
}
