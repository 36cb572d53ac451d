/** @file What can compute. */
/** What can be asked for; "auto" chooses. */
export declare const BACKENDS: readonly ["auto", "webgpu", "cpu", "reference"];
export type BackendName = (typeof BACKENDS)[number];
/** A backend that "auto" may have come to. */
export type ComputeName = Exclude<BackendName, "auto">;
