/** @file The public names that run anywhere, a browser included. */

export { ArtifactError, BudgetError, DeviceError, SolvayError, type SolvayErrorFields, UsageError } from "./errors.ts";
export type * from "./job/types.ts";
export { SOLVAY_VERSION } from "./version.ts";
