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
export declare class SolvayError extends Error {
    readonly code: string;
    readonly subject: string;
    readonly problem: string;
    readonly next: string;
    constructor(fields: SolvayErrorFields);
}
/** The caller asked for something that can't be: change the request. Exit code 2. */
export declare class UsageError extends SolvayError {
}
/** A file, folder or download is damaged, foreign or missing: replace it. Exit code 3. */
export declare class ArtifactError extends SolvayError {
}
/** Memory or disk budget can't hold the work: raise the budget or shrink the job. Exit code 4. */
export declare class BudgetError extends SolvayError {
}
/** Hardware, runtime or network refused: fix the machine or retry. Exit code 5. */
export declare class DeviceError extends SolvayError {
}
/** What failed first: giving things back after a failure may fail too, and then stands before its cause. */
export declare function firstFailure(error: unknown): unknown;
/** Text without control characters: those of hostile names never reach a terminal. */
export declare function printable(text: string): string;
