/** @file What can compute. */

/** What can be asked for; "auto" chooses. */
export const BACKENDS = ["auto", "webgpu", "cpu", "reference"] as const;

export type BackendName = (typeof BACKENDS)[number];

/** A backend that "auto" may have come to. */
export type ComputeName = Exclude<BackendName, "auto">;
