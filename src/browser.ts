/**
 * @file What runs in a browser: everything of index.ts, and the parts of an engine without Node. A worker of the page opens a model (a
 * Folder over OPFS or HTTP) and a GPU (`navigator.gpu`), composes the engine and serves it to the page's `EngineClient`, which checks jobs.
 */

export { HostDevice } from "./backend/host-device.ts";
export { createReferenceBackend } from "./backend/reference/backend.ts";
export { createWebGpuDevice } from "./backend/webgpu/run/device.ts";
export { EngineClient } from "./engine/client.ts";
export { composeEngine } from "./engine/engine.ts";
export { serveEngine } from "./engine/serve-port.ts";
export * from "./index.ts";
export { openModelFolder } from "./models/families.ts";
export { memorySource } from "./source/memory.ts";
