/** @file Starts the engine's thread. */
import { Worker } from "node:worker_threads";
import type { FromEngine } from "../engine/messages.ts";
import type { EngineThread } from "../engine/thread.ts";
import { siblingModule } from "./installation.ts";

const YOUNG_GENERATION_MB = 6;

export function startEngineThread(): EngineThread {
  const worker = new Worker(siblingModule(import.meta.url, "./engine-worker"), {
    name: "solvay-engine",
    // A program on Node's command line says what it is there; a thread that is a file would refuse that.
    ...(process.execArgv.some((option) => option.startsWith("--input-type")) ? { execArgv: [] } : {}),
    // Short-lived buffers are collected early: with V8's own choice they come to 100 MB and more.
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
  return {
    post: (message) => worker.postMessage(message),
    listen(onMessage, onEnd) {
      worker.on("message", (message: FromEngine) => onMessage(message));
      worker.on("error", (error) => onEnd({ kind: "other", message: error.message, stack: error.stack ?? "" }));
      worker.on("exit", (code) => {
        const problem = `the engine's thread has ended (exit code ${code})`;
        const next = "open the engine again; if memory ran out, choose a smaller size";
        onEnd({ kind: "solvay", name: "DeviceError", fields: { code: "E_ENGINE_ENDED", problem, next } });
      });
    },
    keepAlive: (on) => (on ? worker.ref() : worker.unref()),
    async terminate() {
      await worker.terminate();
    },
  };
}
