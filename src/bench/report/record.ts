/** @file What a run has found so far: one JSON line a step in results.jsonl, and the same for people in run.log and on stdout. */
import { appendFileSync } from "node:fs";
import path from "node:path";

export interface StepResult {
  readonly step: string;
  readonly ok: boolean;
  /** Since the start of all. */
  readonly atSeconds: number;
  readonly elapsedSeconds: number;
  /** Kept where a step failed half-way, as far as it came. */
  readonly figures?: unknown;
  readonly error?: string;
}

/** One line for people. */
export type Summary = string;

export class Report {
  readonly #results: string;
  readonly #log: string;

  constructor(folder: string) {
    this.#results = path.join(folder, "results.jsonl");
    this.#log = path.join(folder, "run.log");
  }

  /** On disk before it returns: what comes next may take the machine down. */
  add(result: StepResult, summary: Summary): void {
    appendFileSync(this.#results, `${JSON.stringify(result)}\n`);
    const { step, ok, atSeconds, elapsedSeconds, error } = result;
    const time = `${atSeconds.toFixed(0).padStart(4)} s ${elapsedSeconds.toFixed(1).padStart(6)} s`;
    this.say(`${time}  ${ok ? "ok    " : "FAILED"}  ${step}: ${error === undefined ? summary : `${error} ${summary}`}`);
  }

  say(line: string): void {
    appendFileSync(this.#log, `${line}\n`);
    process.stdout.write(`${line}\n`);
  }
}
