/**
 * @file Solvay on Node: everything of index.ts, and `openEngine` with disk files, the Hugging Face cache and a worker thread
 * for compute, so that the caller's event loop stays free.
 *
 * @example
 * import { openEngine } from "solvay";
 * await using engine = await openEngine({ model: "path/to/sdxl" });
 * for await (const event of engine.generate({ prompt: "a lake at dawn" })) {
 *   if (event.type === "image") await writeFile("lake.png", event.bytes);
 * }
 */
import "./node/disposal.ts";
import { EngineClient } from "./engine/client.ts";
import type { Engine, OpenEngineOptions } from "./job/types.ts";
import { startEngineThread } from "./node/engine-thread.ts";
import { requireInstalled } from "./node/installation.ts";
import { silenceOnnxRuntime } from "./node/no-telemetry.ts";

export * from "./index.ts";

/**
 * Opens a model; reads headers and configs (and a whole LZR2 artifact), no other weights. Rejects with ArtifactError
 * (missing or damaged files), UsageError, DeviceError (no backend), or the signal's reason.
 */
export async function openEngine(options: OpenEngineOptions = {}): Promise<Engine> {
  // What is none is said by the check.
  if (options?.signal instanceof AbortSignal) options.signal.throwIfAborted();
  requireInstalled();
  silenceOnnxRuntime();
  return await EngineClient.open(startEngineThread(), options);
}
