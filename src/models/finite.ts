/** @file A NaN never becomes a picture: results of a model are looked at before they are used. */
import { DeviceError } from "../errors.ts";

/** Throws DeviceError `E_NAN` naming the place. */
export function requireFiniteValues(values: Float32Array, what: string): void {
  const index = firstNotFinite(values);
  if (index !== undefined) throw notFinite(what, values, index);
}

/**
 * The same, naming the first segment that computed such a value too: `again` computes the values once more and shows each segment's
 * results. Rejects with DeviceError `E_NAN`, or the signal's reason if it was aborted meanwhile.
 */
export async function requireFiniteResult(
  values: Float32Array,
  what: string,
  again: (onSegment: (segment: string, values: Float32Array) => void) => Promise<unknown>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const index = firstNotFinite(values);
  if (index === undefined) return;
  let found: string | undefined;
  try {
    await again((segment, results) => {
      if (firstNotFinite(results) === undefined) return;
      found = segment;
      throw new Error("found");
    });
  } catch {
    // Also where RAM is too short to look, or the device breaks now: the values are what is told.
    signal?.throwIfAborted();
  }
  throw notFinite(what, values, index, found);
}

/** What only another arithmetic may help against. */
export function isNotFinite(error: unknown): error is DeviceError {
  return error instanceof DeviceError && error.code === "E_NAN";
}

/** Index of the first NaN or infinity. */
function firstNotFinite(values: Float32Array): number | undefined {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) return i;
  return undefined;
}

function notFinite(what: string, { length }: Float32Array, index: number, segment?: string): DeviceError {
  const where = segment === undefined ? "" : `, first in ${segment}`;
  return new DeviceError({
    code: "E_NAN",
    problem: `${what} is not a number at element ${index} of ${length}${where}`,
    next: "check the weights with: solvay verify MODEL; or draw without LoRAs and other files beside the model, one of which may overflow",
  });
}
