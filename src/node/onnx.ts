/** @file The `cpu` backend on this machine: the package onnxruntime-node, and as many threads as there are cores. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { createOnnxBackend, defaultThreads, type OnnxBackend, type OnnxRuntime } from "../backend/onnx/backend.ts";
import { DeviceError } from "../errors.ts";
import { installAdvice } from "./installation.ts";
import { requireSilence, silenceOnnxRuntime } from "./no-telemetry.ts";

/** Rejects with DeviceError `E_NO_ONNXRUNTIME` where the package's library can't be loaded, `E_TELEMETRY` where it would report. */
export async function openOnnxBackend(threads = defaultThreads(availableParallelism())): Promise<OnnxBackend> {
  return createOnnxBackend(await loadOnnxRuntime(), threads);
}

/** Rejects as openOnnxBackend does. */
export async function loadOnnxRuntime(): Promise<OnnxRuntime> {
  silenceOnnxRuntime();
  requireSilence();
  try {
    const ort = await importRuntime();
    keepHalvesAsBits(ort);
    return ort;
  } catch (cause) {
    throw new DeviceError({
      code: "E_NO_ONNXRUNTIME",
      problem: `the package onnxruntime-node can't be loaded (${cause instanceof Error ? cause.message.split("\n")[0] : "unknown reason"})`,
      next: `${installAdvice("onnxruntime-node --ignore-scripts")}, or use --backend reference`,
      cause,
    });
  }
}

async function importRuntime(): Promise<OnnxRuntime> {
  try {
    return await import("onnxruntime-node");
  } catch (error) {
    const copy = bundledRuntime();
    if (!copy) throw error;
    return copy;
  }
}

/**
 * The same version out of our own package, which has it for Linux x64 alone: there onnxruntime-node's install script fetches CUDA
 * libraries, and where it can't, npm leaves that package out without a word. The clone has none.
 */
function bundledRuntime(): OnnxRuntime | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  const entry = fileURLToPath(new URL("../vendor/onnxruntime-node/dist/index.js", import.meta.url));
  return existsSync(entry) ? (createRequire(import.meta.url)(entry) as OnnxRuntime) : undefined;
}

/**
 * onnxruntime-common asks once, at its first tensor, whether Float16Array exists, and then hands only those on; the native
 * part of onnxruntime-node 1.30 reads them as empty. So Float16Array is out of sight while it asks.
 */
function keepHalvesAsBits(ort: Pick<OnnxRuntime, "Tensor">): void {
  const hidden = Object.getOwnPropertyDescriptor(globalThis, "Float16Array");
  if (hidden) Reflect.deleteProperty(globalThis, "Float16Array");
  try {
    new ort.Tensor("bool", [true]);
  } finally {
    if (hidden) Object.defineProperty(globalThis, "Float16Array", hidden);
  }
}
