/** @file `solvay bench --report FILE`: one step after the other, each figure on disk as soon as it is known, until the time is up. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { SOLVAY_VERSION } from "../../version.ts";
import { endChildren } from "./child.ts";
import { SolvayCommand } from "./command.ts";
import { ReportRecord } from "./record.ts";
import { FULL, type Outcome, QUICK, type Step } from "./step.ts";
import { stepsOf } from "./steps.ts";

export interface ReportRequest {
  /** Absolute. JSON lines: what was run, then a line a step. */
  readonly file: string;
  /** How long all of it may take. */
  readonly seconds: number;
  readonly adapter?: string;
  /** What steps of full size are timed with; in a dry run, all pictures. */
  readonly model?: string;
  readonly quick: boolean;
  /** The command line's main file, and the environment that commands get. */
  readonly main: string;
  readonly env: NodeJS.ProcessEnv;
}

/** With less, a step isn't begun. */
const LEAST_SECONDS = 5;
/** Of any step of a dry run: a CPU compiles kernels for half a minute, and may be busy. */
const QUICK_LIMIT_SECONDS = 120;

/**
 * Gives the number of steps that failed; `say` gets a line a step. On abort what runs is ended, and it rejects with the signal's reason.
 * Rejects with what `node:fs` throws where the file can't be made.
 */
export async function writeReport(
  { file, seconds, adapter, model, quick, main, env }: ReportRequest,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<number> {
  const startedMs = performance.now();
  const elapsedSeconds = () => (performance.now() - startedMs) / 1000;
  const secondsLeft = () => seconds - elapsedSeconds();
  const named = adapter === undefined ? [] : ["--adapter", adapter];
  const words = ["solvay", "bench", "--report", path.basename(file), ...named, ...(quick ? ["--quick"] : [])];
  const record = new ReportRecord(
    file,
    { version: SOLVAY_VERSION, node: process.version, command: words.join(" ") },
    say,
  );
  const work = mkdtempSync(path.join(os.tmpdir(), "solvay-report-"));
  signal.addEventListener("abort", endChildren, { once: true });
  let failed = 0;
  try {
    const solvay = new SolvayCommand(main, env);
    for (const step of stepsOf({ solvay, work, model, quick, sizes: quick ? QUICK : FULL, adapterArgs: named })) {
      const before = elapsedSeconds();
      const { figures, error, summary } = await perform(step, quick, secondsLeft());
      signal.throwIfAborted();
      if (error !== undefined) failed++;
      const times = { atSeconds: before, elapsedSeconds: elapsedSeconds() - before };
      record.add({ step: step.name, ok: error === undefined, ...times, figures, error }, summary);
    }
  } finally {
    signal.removeEventListener("abort", endChildren);
    rmSync(work, { recursive: true, force: true });
  }
  return failed;
}

async function perform({ limitSeconds, run }: Step, quick: boolean, secondsLeft: number): Promise<Outcome> {
  if (secondsLeft < LEAST_SECONDS) return { summary: "", error: "not begun: the time is up" };
  try {
    return await run(Math.min(quick ? QUICK_LIMIT_SECONDS : limitSeconds, secondsLeft) * 1000);
  } catch (error) {
    return { summary: "", error: String(error) };
  }
}
