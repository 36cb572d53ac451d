/** @file The public names that run anywhere, a browser included. */
export type * from "./engine-types.ts";
export { ArtifactError, BudgetError, DeviceError, SolvayError, type SolvayErrorFields, UsageError } from "./errors.ts";
export { SOLVAY_VERSION } from "./version.ts";
