/**
 * @file Errors for the person who reads them.
 * One line: `E_CODE subject: what is wrong (found X, allowed Y) at byte N. Next: one action.`
 * One subclass per reaction a caller can have, not per sentence.
 */

export interface SolvayErrorFields {
  /** Stable machine name, e.g. `E_LZR_DP`. */
  readonly code: string;
  /** File or thing that is wrong (basename or user-given path); may be empty. */
  readonly subject?: string;
  /** What is wrong, with numbers, no trailing full stop. */
  readonly problem: string;
  /** One action that helps, imperative, no trailing full stop. */
  readonly next: string;
  readonly cause?: unknown;
}

/** Base of all errors that Solvay raises on purpose. `message` is the full line. */
export class SolvayError extends Error {
  readonly code: string;
  readonly subject: string;
  readonly problem: string;
  readonly next: string;

  constructor(fields: SolvayErrorFields) {
    const subject = fields.subject ? ` ${oneLine(fields.subject)}:` : ":";
    super(`${fields.code}${subject} ${oneLine(fields.problem)}. Next: ${oneLine(fields.next)}.`, {
      cause: fields.cause,
    });
    this.name = new.target.name;
    this.code = fields.code;
    this.subject = fields.subject ?? "";
    this.problem = fields.problem;
    this.next = fields.next;
  }
}

/** The caller asked for something that can't be: change the request. Exit code 2. */
export class UsageError extends SolvayError {}

/** A file, folder or download is damaged, foreign or missing: replace it. Exit code 3. */
export class ArtifactError extends SolvayError {}

/** Memory or disk budget can't hold the work: raise the budget or shrink the job. Exit code 4. */
export class BudgetError extends SolvayError {}

/** Hardware, runtime or network refused: fix the machine or retry. Exit code 5. */
export class DeviceError extends SolvayError {}

/** What failed first: giving things back after a failure may fail too, and then stands before its cause. */
export function firstFailure(error: unknown): unknown {
  let first = error;
  while (first instanceof SuppressedError) first = first.suppressed;
  return first;
}

/** Text without control characters, line separators and marks that turn what follows around: those of hostile names never reach a terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: stripping them is the point
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]+/g, " ");
}

function oneLine(text: string): string {
  return printable(text).trim();
}
