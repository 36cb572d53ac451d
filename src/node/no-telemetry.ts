/** @file ONNX Runtime 1.30 reports to its maker unless the process's environment forbids it: docs/decisions/no-telemetry.md. */
import { isMainThread } from "node:worker_threads";
import { DeviceError } from "../errors.ts";

const SWITCH = "ORT_DISABLE_TELEMETRY";

/** For the whole process, before the library is loaded; can be done in the main thread only: `process.env` of others is a copy. */
export function silenceOnnxRuntime(): void {
  if (isMainThread) process.env[SWITCH] = "1";
}

/** Throws DeviceError `E_TELEMETRY` in a thread of a process that isn't silenced. */
export function requireSilence(): void {
  if (process.env[SWITCH] === "1") return;
  throw new DeviceError({
    code: "E_TELEMETRY",
    problem: "ONNX Runtime would report to its maker, and a worker thread can't forbid it",
    next: `set process.env.${SWITCH} = "1" in the main thread before it starts threads, or use another backend`,
  });
}
