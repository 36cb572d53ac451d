/**
 * @file What earlier runs say of a machine's rates, and what a run says of them. Rates depend on how large the pieces of work
 * are, so they are kept by the size of a model's heaviest pass. Pure.
 */
import type { Machine } from "./machine.ts";
import type { Plan } from "./plan.ts";
import { type PlanPass, type PlanPhaseInput, wholePassId } from "./plan-input.ts";
import { predictPlan } from "./predict.ts";

/** Measured, in the units of `Machine`. */
export interface MachineRates {
  readonly gflops: number;
  readonly memoryGBps: number;
  /** Undefined where reading did not set the pace. */
  readonly diskGBps?: number;
}

/** By size of work. */
export type RatesTable = Readonly<Record<string, MachineRates>>;

/** A pass as it went, all its runs together. */
export interface MeasuredPass {
  /** Bands count together: see `wholePassId`. */
  readonly pass: string;
  readonly runs: number;
  readonly totalMs: number;
  readonly waitMs: number;
  readonly diskBytes: number;
}

/** Shorter runs are mostly start-up. */
const LEAST_COMPUTE_MS = 1000;
const LEAST_DISK_BYTES = 256 * 1024 ** 2;
/** Where compute waits for at least this share, reading sets the pace; else its rate stays hidden behind compute. */
const DISK_BOUND_SHARE = 0.25;

/** The decade of the heaviest pass's operations in one run, such as "1e12". */
export function workSize(phases: readonly PlanPhaseInput[]): string {
  return `1e${Math.floor(Math.log10(Math.max(1, passFlops(heaviestPass(phases)))))}`;
}

/** The machine with measured rates in place of assumed ones, if there are any for work of this size. */
export function ratedMachine(machine: Machine, table: RatesTable, phases: readonly PlanPhaseInput[]): Machine {
  const rates = table[workSize(phases)];
  if (!rates) return machine;
  const { gflops, memoryGBps, diskGBps = machine.diskGBps } = rates;
  const text = [
    `${gflops.toFixed(0)} GFLOP/s`,
    `${memoryGBps.toFixed(1)} GB/s memory`,
    `${diskGBps.toFixed(1)} GB/s disk`,
  ];
  return {
    ...machine,
    gflops,
    memoryGBps,
    diskGBps,
    linkGBps: machine.kind === "host" ? memoryGBps : machine.linkGBps,
    basis: `${machine.hardware}, as measured here: ${text.join(", ")}`,
  };
}

/**
 * Rates under which the heaviest pass would have been predicted as it went; undefined if it was too short to tell. Where its
 * first runs compiled kernels as well, the rates come out a little low.
 */
export function measuredRates(
  plan: Plan,
  phases: readonly PlanPhaseInput[],
  measured: readonly MeasuredPass[],
): MachineRates | undefined {
  const { machine } = plan;
  const heaviest = heaviestPass(phases);
  const id = heaviest && wholePassId(heaviest.id);
  const pass = measured.find((other) => other.pass === id);
  if (!pass || pass.totalMs - pass.waitMs < LEAST_COMPUTE_MS) return undefined;
  const predicted = predictPlan(plan, phases).filter((other) => wholePassId(other.id) === id);
  const runs = predicted.reduce((sum, { repeats }) => sum + repeats, 0);
  const runMs = predicted.reduce((sum, { computeMs, repeats }) => sum + computeMs * repeats, 0) / runs;
  // All compute times are inversely proportional to these two rates.
  const factor = (runMs * pass.runs) / (pass.totalMs - pass.waitMs);
  const diskBound = pass.diskBytes >= LEAST_DISK_BYTES && pass.waitMs >= DISK_BOUND_SHARE * pass.totalMs;
  return {
    gflops: machine.gflops * factor,
    memoryGBps: machine.memoryGBps * factor,
    diskGBps: diskBound ? pass.diskBytes / pass.totalMs / 1e6 : undefined,
  };
}

function heaviestPass(phases: readonly PlanPhaseInput[]): PlanPass | undefined {
  const passes = phases.flatMap((phase) => phase.passes);
  return passes.toSorted((a, b) => passFlops(b) * b.repeats - passFlops(a) * a.repeats)[0];
}

function passFlops(pass: PlanPass | undefined): number {
  return pass?.segments.reduce((sum, { flops }) => sum + flops, 0) ?? 0;
}
