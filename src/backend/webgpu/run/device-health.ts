/** @file Errors of the graphics device, and the record of whether it still works. */
import { DeviceError, type SolvayError } from "../../../errors.ts";
import { DeviceMemoryError } from "../../device.ts";

/**
 * The first thing that went wrong with a device; everything after it is refused. WebGPU reports failures late and
 * elsewhere (`lost`, `uncapturederror`), so each await is followed by `check`.
 */
export class DeviceHealth {
  readonly #patienceMs: number;
  #failure: SolvayError | undefined;
  readonly #onFailure: (failure: SolvayError) => void;
  /** Of those who wait now. */
  readonly #waiting = new Set<(failure: SolvayError) => void>();

  /** `patienceMs`: how long the device may leave a question without an answer. */
  constructor(patienceMs = PATIENCE_MS, onFailure: (failure: SolvayError) => void = () => undefined) {
    this.#patienceMs = patienceMs;
    this.#onFailure = onFailure;
  }

  get failure(): SolvayError | undefined {
    return this.#failure;
  }

  fail(failure: SolvayError): void {
    if (this.#failure) return;
    this.#failure = failure;
    this.#onFailure(failure);
    for (const reject of this.#waiting) reject(failure);
  }

  /** Throws the failure. */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /** What the device answers, or its failure; no answer for `patienceMs` counts as one. */
  async answer<T>(promise: Promise<T>): Promise<T> {
    let looks = 0;
    // In several ticks: a computer that slept meanwhile counts as one of them, however long it slept.
    const watch = setInterval(() => {
      if (++looks >= PATIENT_LOOKS) this.fail(silentError(this.#patienceMs));
    }, this.#patienceMs / PATIENT_LOOKS);
    try {
      return await this.guard(promise);
    } finally {
      clearInterval(watch);
    }
  }

  /** The promise's value while the device works; else the failure, also when the promise would never settle. */
  async guard<T>(promise: Promise<T>): Promise<T> {
    let reject: (failure: SolvayError) => void = () => undefined;
    // One promise a call: a race against one that lives as long as the device would keep every loser as long.
    const failed = new Promise<never>((_, refuse) => {
      reject = refuse;
    });
    if (this.#failure) reject(this.#failure);
    this.#waiting.add(reject);
    try {
      const value = await Promise.race([promise, failed]);
      this.check();
      return value;
    } catch (error) {
      // A loss may be reported after the refusals that it causes.
      for (let turn = 0; turn < REPORT_TURNS && !this.#failure; turn++) await new Promise((next) => setTimeout(next));
      this.check();
      throw error;
    } finally {
      this.#waiting.delete(reject);
    }
  }
}

/** Work is handed over in pieces of a second at most, and a kernel compiles in seconds, on the slowest software adapter. */
const PATIENCE_MS = 180_000;
const PATIENT_LOOKS = 10;

/** Turns of the event loop in which Dawn reports what it knows. */
const REPORT_TURNS = 2;

export function lostError(reason: string, message: string): DeviceError {
  return new DeviceError({
    code: "E_GPU_LOST",
    problem: `the graphics device was lost (${reason || "unknown"}: ${message || "no message"})`,
    next: "try again; if it happens often, update the graphics driver or use --backend cpu",
  });
}

/** Windows takes a silent GPU away by itself; elsewhere nobody may. */
function silentError(waitedMs: number): DeviceError {
  return new DeviceError({
    code: "E_GPU_SILENT",
    problem: `the graphics device gave no answer for ${Math.round(waitedMs / 1000)} s`,
    next: "try again; if it happens often, update the graphics driver or use --backend cpu",
  });
}

export function gpuError(subject: string, message: string, cause?: unknown): DeviceError {
  return new DeviceError({
    code: "E_GPU",
    subject,
    problem: `the graphics device refused work (${message})`,
    next: "report this line; --backend cpu computes without the graphics card",
    cause,
  });
}

const MB = 1e6;

/** `takenBytes`: what this device has given so far. */
export function outOfMemory(label: string, neededBytes: number, takenBytes: number): DeviceMemoryError {
  const mb = (bytes: number) => `${Math.ceil(bytes / MB)} MB`;
  return new DeviceMemoryError({
    code: "E_VRAM",
    subject: label,
    problem: `the graphics card has not enough free memory (needs ${mb(neededBytes)} more, ${mb(takenBytes)} are taken by Solvay)`,
    next: "close other programs that use the graphics card, or lower --vram",
  });
}

/** An error that WebGPU reports by itself, because nobody asked at the call that caused it: what follows can't be trusted. */
export function uncapturedError(subject: string, error: GPUError): SolvayError {
  // The package has no global classes to test with.
  if (error.constructor.name !== "GPUOutOfMemoryError") return gpuError(subject, error.message);
  return new DeviceMemoryError({
    code: "E_VRAM",
    subject,
    problem: `the graphics card ran out of memory (${error.message})`,
    next: "close other programs that use the graphics card, or lower --vram",
  });
}

/** Bit pattern that results hold before they are computed: a NaN that no arithmetic makes. */
export const POISON = 0x7fc0dead;

export function staleError(subject: string): DeviceError {
  return new DeviceError({
    code: "E_GPU_STALE",
    subject,
    problem: "the graphics device left a result unwritten",
    next: "try again; if it happens again, update the graphics driver or use --backend cpu",
  });
}
