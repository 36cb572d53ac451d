/** @file The published words: jobs, options, events and the engine. Types only; runs nowhere. */
export type { Budget } from "../ledger/budget.ts";
export type { PassReport, PhaseReport, PlanReport } from "../plan/report.ts";
export type { LoadTotals, PassTotals, ResidencySample, SegmentTotals } from "../stream/telemetry.ts";
export type { CutText, CutTexts } from "../tokenizer/cut-text.ts";
export type { BackendName, ComputeName } from "./backends.ts";
export type {
  Engine,
  EngineInfo,
  GenerateOptions,
  GenerateRequest,
  PlanOptions,
  SeriesEvent,
  SeriesOptions,
  TokenIds,
  WatchOptions,
} from "./engine.ts";
export type { DrawnState, GenerateEvent, LoadEvent, ResidencyEvent } from "./events.ts";
export type { FullJob, GenerateJob, PlanJob } from "./job.ts";
export type {
  Amount,
  BudgetOptions,
  OpenEngineOptions,
  PrecisionName,
} from "./open.ts";
export type { UpscaledPicture, UpscaleEvent, UpscaleJob, UpscaleOptions } from "./upscale.ts";
