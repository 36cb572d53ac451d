/** @file The `cpu` backend on this machine: the package onnxruntime-node, and as many threads as there are cores. */
import { availableParallelism } from "node:os";
import { createOnnxBackend, defaultThreads, type OnnxBackend, type OnnxRuntime } from "../backend/onnx/backend.ts";
import { DeviceError } from "../errors.ts";

/** Rejects with DeviceError `E_NO_ONNXRUNTIME` where the package's library can't be loaded. */
export async function openOnnxBackend(threads = defaultThreads(availableParallelism())): Promise<OnnxBackend> {
  return createOnnxBackend(await loadRuntime(), threads);
}

async function loadRuntime(): Promise<OnnxRuntime> {
  try {
    const ort = await import("onnxruntime-node");
    keepHalvesAsBits(ort);
    return ort;
  } catch (cause) {
    throw new DeviceError({
      code: "E_NO_ONNXRUNTIME",
      problem: `the package onnxruntime-node can't be loaded (${cause instanceof Error ? cause.message.split("\n")[0] : "unknown reason"})`,
      next: "install it with ONNXRUNTIME_NODE_INSTALL=skip npm install onnxruntime-node, or use --backend reference",
      cause,
    });
  }
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
