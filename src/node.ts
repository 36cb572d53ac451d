/**
 * @file Solvay on Node: everything of index.ts, and `openEngine` with disk files, the Hugging Face cache and a worker thread
 * for compute, so that the caller's event loop stays free.
 *
 * @example
 * import { openEngine } from "solvay";
 * await using engine = await openEngine({ model: "path/to/sdxl" });
 * for await (const event of engine.generate({ prompt: "a lake at dawn" })) {
 *   if (event.type === "image") await writeFile("lake.png", event.png);
 * }
 */
import { Worker } from "node:worker_threads";
import { EngineClient } from "./engine-client.ts";
import type { Engine, OpenEngineOptions } from "./engine-types.ts";

export * from "./index.ts";

const YOUNG_GENERATION_MB = 6;

/**
 * Opens a model; reads headers and configs (and a whole LZR2 artifact), no other weights. Rejects with ArtifactError
 * (missing or damaged files), UsageError, DeviceError (no backend), or the signal's reason.
 */
export async function openEngine(options: OpenEngineOptions = {}): Promise<Engine> {
  options.signal?.throwIfAborted();
  const worker = new Worker(new URL("./engine-worker.ts", import.meta.url), {
    name: "solvay-engine",
    workerData: { cwd: process.cwd() },
    // A program on Node's command line says what it is there; a thread that is a file would refuse that.
    ...(process.execArgv.some((option) => option.startsWith("--input-type")) ? { execArgv: [] } : {}),
    // Short-lived buffers are collected early: with V8's own choice they come to 100 MB and more.
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
  return await EngineClient.open(worker, options);
}
