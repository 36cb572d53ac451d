import type { Engine, OpenEngineOptions } from "./job/types.js";
export * from "./index.js";
/**
 * Opens a model; reads headers and configs (and a whole LZR2 artifact), no other weights. Rejects with ArtifactError
 * (missing or damaged files), UsageError, DeviceError (no backend), or the signal's reason.
 */
export declare function openEngine(options?: OpenEngineOptions): Promise<Engine>;
