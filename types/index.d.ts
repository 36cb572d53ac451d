/** @file The public names that run anywhere, a browser included. */
export type * from "./engine-types.js";
export { ArtifactError, BudgetError, DeviceError, SolvayError, type SolvayErrorFields, UsageError } from "./errors.js";
export { SOLVAY_VERSION } from "./version.js";
