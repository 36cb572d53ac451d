/** @file What run.sh starts: one step after the other, each figure on disk as soon as it is known, until the time is up. */
import { mkdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { endChildren } from "./child.ts";
import { Report } from "./report.ts";
import type { Outcome } from "./solvay.ts";
import { FULL, QUICK, type Step } from "./step.ts";
import { stepsOf } from "./steps.ts";

const { values } = parseArgs({
  options: {
    out: { type: "string", default: "." },
    work: { type: "string", default: "." },
    seconds: { type: "string", default: "540" },
    adapter: { type: "string" },
    quick: { type: "boolean", default: false },
  },
});
const { out, work, adapter, quick } = values;
const startedMs = performance.now();
const elapsedSeconds = () => (performance.now() - startedMs) / 1000;
const secondsLeft = () => Number(values.seconds) - elapsedSeconds();

/** With less, a step isn't begun. */
const LEAST_SECONDS = 5;
/** Of any step: a CPU compiles kernels for half a minute, and may be busy. */
const QUICK_LIMIT_SECONDS = 120;

// What still runs (weights in the making) ends with this, also when run.sh ends it.
process.on("exit", endChildren);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

mkdirSync(out, { recursive: true });
const report = new Report(out);
const adapterArgs = adapter === undefined ? [] : ["--adapter", adapter];

let failed = 0;
for (const step of stepsOf({ work, quick, sizes: quick ? QUICK : FULL, adapterArgs })) {
  const before = elapsedSeconds();
  const outcome = await perform(step);
  if (outcome.error !== undefined) failed++;
  const { figures, error, summary } = outcome;
  const times = { atSeconds: before, elapsedSeconds: elapsedSeconds() - before };
  report.add({ step: step.name, ok: error === undefined, ...times, figures, error }, summary);
}
report.say(`done in ${elapsedSeconds().toFixed(0)} s, ${failed} steps failed`);
process.exit(failed > 0 ? 1 : 0);

async function perform({ limitSeconds, run }: Step): Promise<Outcome> {
  if (secondsLeft() < LEAST_SECONDS) return { summary: "", error: "not begun: the time is up" };
  const limitMs = Math.min(quick ? QUICK_LIMIT_SECONDS : limitSeconds, secondsLeft()) * 1000;
  try {
    return await withTime(run(limitMs), limitMs + 2000);
  } catch (error) {
    return { summary: "", error: String(error) };
  }
}

/** For steps that wait for something else than a program of their own. */
async function withTime(outcome: Promise<Outcome>, limitMs: number): Promise<Outcome> {
  const timer = Promise.withResolvers<Outcome>();
  const timeout = setTimeout(() => timer.resolve({ summary: "", error: "stopped: its time is up" }), limitMs);
  try {
    return await Promise.race([outcome, timer.promise]);
  } finally {
    clearTimeout(timeout);
  }
}
