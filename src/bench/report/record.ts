/** @file What a report has found so far: JSON lines in its file, each on disk as soon as it is known, and the same for people. */
import { appendFileSync, writeFileSync } from "node:fs";

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

export class ReportRecord {
  readonly #file: string;
  readonly #say: (line: string) => void;

  /** `head`: what was run, and by what. Throws what `node:fs` throws where the file can't be made. */
  constructor(file: string, head: object, say: (line: string) => void) {
    this.#file = file;
    this.#say = say;
    writeFileSync(file, `${JSON.stringify(head)}\n`);
  }

  /** On disk before it returns: what comes next may take the machine down. `summary`: one line for people. */
  add(result: StepResult, summary: string): void {
    appendFileSync(this.#file, `${JSON.stringify(result)}\n`);
    const { step, ok, atSeconds, elapsedSeconds, error } = result;
    const time = `${atSeconds.toFixed(0).padStart(4)} s ${elapsedSeconds.toFixed(1).padStart(6)} s`;
    this.#say(
      `${time}  ${ok ? "ok    " : "FAILED"}  ${step}: ${error === undefined ? summary : `${error} ${summary}`}`,
    );
  }
}
