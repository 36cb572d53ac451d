/** @file The public names that run anywhere, a browser included. */
export { ArtifactError, BudgetError, DeviceError, SolvayError, type SolvayErrorFields, UsageError } from "./errors.js";
export type * from "./job/types.js";
export { SOLVAY_VERSION } from "./version.js";
