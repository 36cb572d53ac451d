/** @file The published words: jobs, options, events and the engine. Types only; runs nowhere. */
export type { Budget } from "../ledger/budget.js";
export type { PassReport, PhaseReport, PlanReport } from "../plan/report.js";
export type { LoadTotals, PassTotals, ResidencySample, SegmentTotals } from "../stream/telemetry.js";
export type { BackendName, ComputeName } from "./backends.js";
export type { Engine, EngineInfo, GenerateOptions, PlanOptions, TokenIds } from "./engine.js";
export type { GenerateEvent, LoadEvent } from "./events.js";
export type { FullJob, GenerateJob, PlanJob } from "./job.js";
export type { Amount, BudgetOptions, OpenEngineOptions, PrecisionName, } from "./open.js";
